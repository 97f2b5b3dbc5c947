"""Shadows: what was answered is handed over after the answer, within bounds, and is logged beside it."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from tests import spools
from tests.unit.serving.plane import Plane, plane

from mainspring.registry.manifests import Seal
from mainspring.registry.packages import build, write_folder
from mainspring.serving.modelserver import shadowing
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Input, Options, Plan, ShadowPlan, write_plan
from mainspring.serving.modelserver.shadowing import Companion, Copied, Handover, Inbox, Target
from mainspring.serving.modelserver.traffic import Endpoint, Table
from mainspring.serving.rules.humility import Rule
from mainspring.serving.shadows import ShadowDesk

INPUTS = [Input(name="x", dtype="float64"), Input(name="name", dtype="string")]


def shadow_plan(folder: str = "", *, share: float = 1.0, inputs: list[Input] | None = None) -> ShadowPlan:
    arm = ArmPlan(name="shadow", version=2, share=share, folder=folder)
    return ShadowPlan(arm=arm, inputs=INPUTS if inputs is None else inputs)


def copied(
    x: list[float | int | bool | str | None], *, request_id: str = "r", first: int = 0, count: int = 0
) -> Copied:
    rows = count or len(x)
    return Copied(1, "m", 2, 1.0, request_id, request_id, None, 1_000, first, rows, [x, [v and -v for v in x]])  # type: ignore[operator]


def through(
    folder: Path,
    act: Callable[[Plane, Callable[[], list[Copied]]], Coroutine[None, None, None]],
    *plans: ShadowPlan,
    redact: tuple[str, ...] = (),
) -> Handover:
    """A plane whose endpoint has these shadows, with the other end of the line to them."""
    kept: list[Handover] = []

    async def run() -> None:
        async with plane(folder) as made:
            before = made.app.served.table.endpoints["m"]
            shadows = tuple(Target(entry, 100) for entry in plans)
            endpoint = Endpoint("m", before.arms, "", "", replace(before.options, redact=redact), shadows)
            made.app.served.table = Table(made.app.served.table.plan, {"m": endpoint})
            mine, its = socket.socketpair()
            mine.setblocking(False)
            its.settimeout(0.0)
            handover = Handover(asyncio.get_running_loop())
            handover.attach(mine)
            made.app.served.shadows = handover
            kept.append(handover)
            inbox = Inbox()
            try:
                await act(made, lambda: inbox.feed(its.recv(1 << 20)))
            finally:
                handover.attach(None)
                its.close()

    asyncio.run(run())
    return kept[0]


async def handed(handover: Handover | None) -> None:
    """Wait until nothing waits to be handed over."""
    assert handover is not None
    while not handover.is_empty:
        await asyncio.sleep(0.002)


def test_a_shadow_gets_the_rows_of_an_answer_under_its_id(tmp_path: Path) -> None:
    async def act(made: Plane, come: Callable[[], list[Copied]]) -> None:
        reply = await made.ask([1.0, 2.0], routing_key="anna", event_time=7)
        assert reply is not None
        assert reply.body["model_version"] == "1"
        await handed(made.app.served.shadows)
        (one,) = come()
        assert (one.endpoint, one.version, one.key, one.event_at, one.columns) == (
            "m",
            2,
            "anna",
            7,
            [[1.0, 2.0], ["anna", "anna"]],
        )
        assert [one.id_of(row) for row in range(one.rows)] == [f"{reply.body['id']}.{i}" for i in range(2)]

    assert through(tmp_path, act, shadow_plan()).counts == {("m", 2, "sent"): 2}


def test_a_shadow_gets_what_the_model_failed_on_and_not_what_named_its_version(tmp_path: Path) -> None:
    async def act(made: Plane, come: Callable[[], list[Copied]]) -> None:
        assert (reply := await made.ask([13.0])) is not None
        assert reply.status == 500
        body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]},'
        body += b'{"name":"name","shape":[1],"datatype":"BYTES","data":["a"]}]}'
        assert (direct := await made.call("POST", "/v2/models/m/versions/1/infer", body)) is not None
        assert direct.status == 200
        await handed(made.app.served.shadows)
        assert [entry.columns[0] for entry in come()] == [[13.0]]

    through(tmp_path, act, shadow_plan())


def test_a_shadow_of_a_share_gets_the_same_part_of_the_ids_each_time() -> None:
    target = Target(shadow_plan(share=0.3), 100)
    taken = [number for number in range(4000) if target.takes(f"r{number}")]
    assert 1_050 < len(taken) < 1_350
    assert taken == [number for number in range(4000) if Target(shadow_plan(share=0.3), 10).takes(f"r{number}")]


def test_a_shadow_with_further_columns_gets_them_and_a_missing_one_as_missing(tmp_path: Path) -> None:
    async def act(made: Plane, come: Callable[[], list[Copied]]) -> None:
        assert await made.ask([5.0]) is not None
        await handed(made.app.served.shadows)
        assert [entry.columns for entry in come()] == [[[None], [5.0]]]

    through(tmp_path, act, shadow_plan(inputs=[Input(name="new", dtype="float64"), INPUTS[0]]))


def test_a_shadow_that_takes_another_type_gets_nothing_and_that_is_counted(tmp_path: Path) -> None:
    async def act(made: Plane, come: Callable[[], list[Copied]]) -> None:
        assert await made.ask([5.0]) is not None
        await handed(made.app.served.shadows)

    found = through(tmp_path, act, shadow_plan(inputs=[Input(name="name", dtype="float64")]))
    assert found.counts == {("m", 2, "unfit"): 1}


def test_what_a_slow_shadow_does_not_take_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadowing, "MAX_ROWS", 3)

    async def act(made: Plane, come: Callable[[], list[Copied]]) -> None:
        handover = made.app.served.shadows
        assert handover is not None
        monkeypatch.setattr(handover, "_turn", lambda: None)  # nothing is given away
        for _ in range(3):
            assert (reply := await made.ask([1.0, 2.0])) is not None
            assert reply.status == 200
        assert handover.waiting_rows == 2

    assert through(tmp_path, act, shadow_plan()).counts == {("m", 2, "dropped"): 4 + 2}


def test_a_shadow_that_is_gone_costs_no_answer(tmp_path: Path) -> None:
    async def act(made: Plane, come: Callable[[], list[Copied]]) -> None:
        handover = made.app.served.shadows
        assert handover is not None
        handover.attach(None)
        assert (reply := await made.ask([1.0])) is not None
        assert reply.status == 200
        assert (
            'mainspring_shadow_rows_total{deployment="m",version="2",fate="dropped"}' in handover.gauges().popitem()[0]
        )

    through(tmp_path, act, shadow_plan())


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=40),
)
def test_rows_arrive_whole_and_in_order_however_the_bytes_come(sizes: list[int], cuts: list[int]) -> None:
    sent = [copied([float(i)] * size, request_id=f"r{i}") for i, size in enumerate(sizes)]
    packed = [msgspec.msgpack.encode(entry) for entry in sent]
    data = b"".join(len(part).to_bytes(4, "big") + part for part in packed)
    inbox, found, turn = Inbox(), list[Copied](), 0
    while data:
        cut = cuts[turn % len(cuts)]
        turn += 1
        found += inbox.feed(data[:cut])
        data = data[cut:]
    assert found == sent


def test_a_large_request_goes_in_pieces_of_a_fraction_of_a_turn(tmp_path: Path) -> None:
    async def act(made: Plane, come: Callable[[], list[Copied]]) -> None:
        pieces: list[Copied] = []
        assert await made.ask([float(i) for i in range(100)]) is not None
        await handed(made.app.served.shadows)
        pieces = come()
        assert [(entry.first, entry.rows, entry.count) for entry in pieces] == [
            (0, 20, 100),
            (20, 20, 100),
            (40, 20, 100),
            (60, 20, 100),
            (80, 20, 100),
        ]
        assert [entry.id_of(0) for entry in pieces][1].endswith(".20")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shadowing, "_FRAME_VALUES", 40)
        through(tmp_path, act, shadow_plan())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that adds its two columns."""
    x = np.array([[0.0, 1.0], [2.0, 3.0], [5.0, 1.0]])
    made = build(LinearRegression().fit(x, x.sum(axis=1)), example=pl.DataFrame(x, schema=["x", "y"]))
    folder = tmp_path_factory.mktemp("package") / "sums"
    return write_folder(folder, made.manifest.to_bytes(), made.files, Seal("m", 2, made.digest, "", ""))


def logged(
    tmp_path: Path, plan: ShadowPlan, *groups: list[Copied], options: Options | None = None
) -> list[dict[str, object]]:
    """What a shadow says to rows that come at these times."""
    entry = EndpointPlan(name="m", arms=[], shadows=[plan], options=options or Options())
    write_plan(tmp_path, Plan(generation=1, endpoints=[entry]))
    desk = ShadowDesk(tmp_path, tmp_path / "shadow.sqlite")
    for group in groups:
        desk.answer(group)
    desk.close()
    return spools.read(tmp_path / "shadow.sqlite", "shadows/m")


def test_redacted_inputs_come_to_a_shadow_and_never_to_a_file(tmp_path: Path, package: Path) -> None:
    redact, secret = ("x", "y", "name"), 0.123456789
    options = Options(redact=redact)

    async def act(made: Plane, come: Callable[[], list[Copied]]) -> None:
        assert await made.ask([secret]) is not None
        await handed(made.app.served.shadows)
        (one,) = come()
        assert one.columns == [[secret], ["anna"]]

    through(tmp_path / "plane", act, shadow_plan(), redact=redact)
    plan = shadow_plan(str(package), inputs=[Input(name="x", dtype="float64"), Input(name="y", dtype="float64")])
    (row,) = logged(tmp_path / "desk", plan, [copied([secret], request_id="a")], options=options)
    assert row["outputs"] == {"prediction": pytest.approx(0.0)}
    bad = msgspec.structs.replace(copied([secret], request_id="b"), columns=[["anna"], [secret]])
    assert [row["status"] for row in logged(tmp_path / "bad", plan, [bad], options=options)] == [422]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for trace in (b"anna", struct.pack(">d", secret), struct.pack("<d", secret)):
        assert trace not in written


def test_what_a_shadow_says_is_logged_under_the_id_of_the_prediction(tmp_path: Path, package: Path) -> None:
    one, two = copied([1.0], request_id="a"), copied([4.0, None], request_id="b")
    rows = logged(tmp_path, shadow_plan(str(package)), [one, two], [copied([9.0], request_id="c")])
    assert [(row["seq"], row["id"], row["version"], row["arm"], row["propensity"]) for row in rows] == [
        (1, "a", 2, "shadow", 1.0),
        (2, "b.0", 2, "shadow", 1.0),
        (3, "b.1", 2, "shadow", 1.0),
        (4, "c", 2, "shadow", 1.0),
    ]
    assert all(row["inputs"] == [] for row in rows)
    assert rows[0]["outputs"] == {"prediction": pytest.approx(0.0)}
    assert (rows[2]["status"], rows[2]["outputs"]) == (422, None)
    assert "input 'x' has a missing value" in str(rows[2]["error"])
    assert rows[3]["status"] == 200


def test_the_rules_of_the_endpoint_hold_for_its_shadows(tmp_path: Path, package: Path) -> None:
    rule = Rule(name="none", when="missing", then="default", value=3.0)
    (row,) = logged(tmp_path, shadow_plan(str(package)), [copied([None])], options=Options(rules=(rule,)))
    assert (row["status"], row["marks"]) == (200, ["none:default"])


def test_a_shadow_that_cannot_be_loaded_says_so_in_its_rows(tmp_path: Path) -> None:
    rows = logged(tmp_path, shadow_plan(str(tmp_path / "nowhere")), [copied([1.0])])
    assert [(row["status"], row["outputs"]) for row in rows] == [(500, None)]
    assert "could not be loaded: there is no model package" in str(rows[0]["error"])


def test_rows_for_what_is_no_shadow_any_more_are_let_go(tmp_path: Path, package: Path) -> None:
    gone = Copied(1, "other", 2, 1.0, "r", "r", None, 1, 0, 1, [[1.0], [1.0]])
    assert logged(tmp_path, shadow_plan(str(package)), [gone]) == []


class Cats(Companion):
    """Starts a program that ends with its input, in place of the shadow process."""

    def _started(self, its: socket.socket) -> subprocess.Popen[bytes]:
        with its:
            return subprocess.Popen(["/bin/cat"], stdin=its.fileno(), stdout=subprocess.DEVNULL)


async def tended(cats: Cats, *, wanted: bool) -> subprocess.Popen[bytes] | None:
    await cats.tend(wanted=wanted)
    return cats.process


def test_the_shadow_process_is_there_while_it_is_wanted_and_again_after_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadowing, "_BACKOFF_S", (0.0,))

    async def run() -> None:
        cats = Cats(tmp_path, Handover(asyncio.get_running_loop()))
        assert await tended(cats, wanted=False) is None
        first = await tended(cats, wanted=True)
        assert first is not None
        first.kill()
        first.wait()
        second = await tended(cats, wanted=True)
        assert second is not None
        assert (second.pid == first.pid, cats.restarts) == (False, 1)
        await tended(cats, wanted=False)
        assert await asyncio.to_thread(second.wait) == 0
        assert await tended(cats, wanted=False) is None
        assert cats.restarts == 1
        third = await tended(cats, wanted=True)
        await cats.close()
        assert third is not None
        assert third.returncode == 0

    asyncio.run(run())
