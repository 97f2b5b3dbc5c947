from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.canonical import canonical_json, digest
from mainspring.core.clock import ManualClock, SystemClock, iso, micros
from mainspring.core.errors import Invalid, MainspringError, NotFound, did_you_mean, error_codes
from mainspring.core.events import Fact, fact_kinds
from mainspring.core.ids import check_name, is_id, new_id
from mainspring.core.later import later
from mainspring.core.wiring import Wiring


def test_ids_sort_by_the_order_they_were_made_in_and_never_repeat() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda _: new_id(), range(5_000)))
    assert len(set(many)) == 5_000
    assert all(is_id(one) and one[12] == "7" and one[16] in "89ab" for one in ids[:100])


def test_an_id_carries_the_time_it_was_made_at() -> None:
    before = SystemClock().now() // 1000
    assert before - 1000 <= int(new_id()[:12], 16) <= before + 5_000


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "../x", "a" * 101, "é", "a\n", "a."])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="can't name a model"):
        check_name(name, "model")


def test_an_error_is_three_lines_and_survives_a_process_border() -> None:
    error = NotFound("no model 'x'", where="models", hint="mainspring models ls")
    assert str(error).splitlines() == ["no model 'x'", "where: models", "try: mainspring models ls"]
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (NotFound, str(error))


def test_every_error_has_a_code_of_its_own() -> None:
    family = [kind for kind in MainspringError.__subclasses__() if kind.__module__ == "mainspring.core.errors"]
    assert len(error_codes()) == len(family)
    assert did_you_mean("zzz", ["churn"]) == ""


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))
def test_time_survives_the_round_trip(moment: datetime) -> None:
    at = micros(moment)
    assert micros(iso(at)) == at
    assert micros(moment.replace(tzinfo=UTC)) == at
    assert micros(at) == at


def test_a_text_that_is_no_time_is_refused() -> None:
    with pytest.raises(Invalid, match="is not a time"):
        micros("yesterday")


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5)
    clock.advance(3)
    assert clock.now() == 8


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_equal_values_have_one_byte_form(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert digest(canonical_json(value)) == digest(canonical_json(turned))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_is_not_plain_json_has_no_byte_form(value: object) -> None:
    with pytest.raises(Invalid, match="not plain JSON"):
        canonical_json(value)


def test_the_caller_is_the_owner_until_a_door_says_otherwise() -> None:
    assert caller() == Caller("owner", "default", "")
    with calling(Caller("ann", "flights", "r1")):
        assert caller().actor == "ann"
    assert caller().actor == "owner"


def test_a_fact_needs_an_event_kind_of_its_own() -> None:
    @dataclass(frozen=True, kw_only=True)
    class LampLit(Fact):
        kind: ClassVar[str] = "test.lamp_lit"
        watts: int

    assert fact_kinds()["test.lamp_lit"].kind == "test.lamp_lit"
    assert LampLit(subject="lamps/1", watts=5).payload() == {"watts": 5}
    with pytest.raises(TypeError, match="of its own"):

        @dataclass(frozen=True, kw_only=True)
        class LampLitAgain(Fact):
            kind: ClassVar[str] = "test.lamp_lit"


def test_wiring_builds_once_and_closes_in_the_opposite_order() -> None:
    closed: list[str] = []

    class Lamp:
        def close(self) -> None:
            closed.append("lamp")

    class House:
        def __init__(self, lamp: Lamp) -> None:
            self.lamp = lamp

        def close(self) -> None:
            closed.append("house")

    wiring = Wiring()
    wiring.add(Lamp, lambda _: Lamp())
    wiring.add(House, lambda w: House(w.get(Lamp)))
    assert wiring.get(House).lamp is wiring.get(Lamp)
    with pytest.raises(MainspringError, match="built already"):
        wiring.add(Lamp, lambda _: Lamp())
    wiring.close()
    assert closed == ["house", "lamp"]
    with pytest.raises(NotFound, match="nothing makes a str"):
        wiring.get(str)


def test_a_module_is_furnished_once_when_something_of_it_is_first_asked_for() -> None:
    asked: list[str] = []

    def furnish(module: str) -> None:
        asked.append(module)
        if module == "core.wiring":
            wiring.add(Wiring, lambda w: w)

    wiring = Wiring(furnish)
    assert wiring.get(Wiring) is wiring
    for _ in range(2):
        with pytest.raises(NotFound, match="nothing makes a Invalid"):
            wiring.get(Invalid)
    assert asked == ["core.wiring", "core.errors"]


def test_import_mainspring_stays_light() -> None:
    heavy = ["numpy", "polars", "pandas", "sqlalchemy", "litestar", "sklearn", "lightgbm", "uvicorn", "httpx"]
    program = f"import sys, mainspring; print([m for m in {heavy!r} if m in sys.modules], len(sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    found, count = out.rsplit(" ", 1)
    assert found == "[]"
    assert int(count) <= 150


def test_a_module_for_later_is_loaded_by_its_first_attribute_and_set_through(monkeypatch: pytest.MonkeyPatch) -> None:
    sys.modules.pop("colorsys", None)
    module = later("colorsys")
    assert "colorsys" not in sys.modules
    assert module.rgb_to_hsv(1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)
    before = module.ONE_SIXTH
    with monkeypatch.context() as patch:
        patch.setattr(module, "ONE_SIXTH", 7.0)
        assert sys.modules["colorsys"].ONE_SIXTH == 7.0
    assert before == sys.modules["colorsys"].ONE_SIXTH
    with pytest.raises(AttributeError):
        _ = module.nothing
    with pytest.raises(ModuleNotFoundError):
        _ = later("mainspring.nowhere").anything
