"""The gates on real databases, with real models from the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from sklearn.linear_model import LinearRegression, LogisticRegression

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Conflict, Failed, Invalid, NotFound
from mainspring.core.events import Fact
from mainspring.gates import Gates, GateSpec, Verdict, parse_gate
from mainspring.registry import ModelVersion, Registry
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables

INPUTS = ["distance", "wind"]
SECTIONS: dict[str, dict[str, object]] = {
    "promote": {
        "label": "late",
        "checks": [
            {"metric": "roc_auc", "compare": "non_inferior", "margin": 0.02},
            {"metric": "log_loss", "compare": "non_inferior", "margin": 0.05},
            {"metric": "accuracy", "floor": 0.6},
            {"size_mb": 1},
            {"signature": "backward_compatible"},
            {"leakage": True},
        ],
    }
}


def rows(n: int, seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    distance, wind = generator.normal(0, 1, n), generator.normal(0, 1, n)
    late = generator.uniform(0, 1, n) < 1 / (1 + np.exp(-(1.5 * distance + 0.5 * wind)))
    return pl.DataFrame({"distance": distance, "wind": wind, "late": late.astype(np.int64)})


@dataclass(frozen=True, slots=True)
class Room:
    """The gates with two good versions and a bad one, and rows neither saw."""

    gates: Gates
    registry: Registry
    journal: Journal
    tables: Tables
    champion: ModelVersion
    candidate: ModelVersion
    bad: ModelVersion
    frame: pl.DataFrame

    def judge(self, gate: GateSpec, candidate: ModelVersion, **changes: object) -> Verdict:
        """Evaluates against the champion on the rows."""
        given: dict[str, object] = {"champion": self.champion, "frame": self.frame, "label": "late", **changes}
        return self.gates.evaluate(gate, candidate=candidate, data_ref="datasets/eval/1", **given)  # type: ignore[arg-type]


@cache
def fitted(seed: int, strength: float, shuffled: bool) -> LogisticRegression:
    frame = rows(800, seed)
    target = frame["late"].to_numpy()
    if shuffled:
        target = np.random.default_rng(seed).permutation(target)
    return LogisticRegression(C=strength).fit(frame.select(INPUTS).to_numpy(), target)


def train(registry: Registry, seed: int, *, strength: float = 1.0, shuffled: bool = False) -> ModelVersion:
    example = rows(800, seed).select(INPUTS).head(3)
    return registry.register("late", fitted(seed, strength, shuffled), example=example)


@pytest.fixture
def room(tables: Tables, tmp_path: Path) -> Iterator[Room]:
    journal = SqlJournal(tables)
    clock = ManualClock(1_700_000_000_000_000)
    registry = Registry(
        tables=tables, journal=journal, blobs=FileBlobs(tmp_path / "blobs"), clock=clock, folder=tmp_path
    )
    champion, candidate = train(registry, 1), train(registry, 2, strength=0.5)
    bad = train(registry, 3, shuffled=True)
    registry.set_alias("late", "champion", champion.number, "first")
    gates = Gates(tables=tables, journal=journal, registry=registry, sections=SECTIONS, clock=clock)
    registry.tell_judges(gates.objections)
    yield Room(gates, registry, journal, tables, champion, candidate, bad, rows(3000, 9))


def gate(*checks: Mapping[str, object], undecided: str = "hold") -> GateSpec:
    return parse_gate("g", {"checks": list(checks), "undecided": undecided})


def judged(room: Room, version: ModelVersion | None = None, key: str = "") -> Verdict:
    """The usual evaluation: the checks of the settings, on the rows of the room."""
    spec = parse_gate("g", {"checks": SECTIONS["promote"]["checks"]})
    return room.judge(spec, version or room.candidate, key=key)


AUC = {"metric": "roc_auc", "compare": "non_inferior", "margin": 0.02}


def test_a_good_version_passes_with_its_evidence_on_record(room: Room) -> None:
    found = judged(room)
    assert found.outcome == "pass"
    assert (found.version, found.champion, found.n) == (2, 1, 3000)
    assert (found.candidate_digest, found.champion_digest) == (room.candidate.digest, room.champion.digest)
    assert found.data_ref == "datasets/eval/1"
    area = found.checks[0]
    assert area.low is not None and area.value is not None and area.high is not None and area.p is not None
    assert -0.02 < area.low < area.value < area.high
    assert area.p <= 0.05
    assert room.gates.verdict(found.id) == found


def test_the_event_is_in_the_log_with_the_verdict(room: Room) -> None:
    found = judged(room)
    (event,) = room.journal.read(kinds=["gates.verdict_reached"])
    assert event.subject == found.ref
    assert event.payload["outcome"] == "pass"
    assert (event.payload["model"], event.payload["version"], event.payload["gate"]) == ("late", 2, "g")


def test_a_version_trained_on_noise_fails(room: Room) -> None:
    found = judged(room, room.bad)
    assert found.outcome == "fail"
    assert found.reason.startswith("roc_auc non-inferior by 0.02 failed")


def test_few_rows_leave_it_undecided_and_say_how_many_would_do(room: Room) -> None:
    check = {"metric": "accuracy", "compare": "non_inferior", "margin": 0.01}
    found = room.judge(gate(check), room.candidate, frame=room.frame.head(100))
    assert found.outcome == "undecided"
    assert found.checks[0].rows_needed is None or found.checks[0].rows_needed > 100
    strict = room.judge(gate(check, undecided="fail"), room.candidate, frame=room.frame.head(100))
    assert strict.outcome == "fail"


def test_without_a_champion_the_comparisons_are_skipped(room: Room) -> None:
    found = room.judge(gate(AUC, {"metric": "accuracy", "floor": 0.6}), room.candidate, champion=None)
    assert found.outcome == "pass"
    assert (found.champion, found.champion_digest) == (None, "")
    assert [result.outcome for result in found.checks] == ["skipped", "pass"]


@pytest.mark.parametrize(
    ("frame", "note"),
    [
        (lambda good: good.head(3), "3 rows are too few"),
        (lambda good: good.with_columns(late=pl.lit(1)), "all 3000 rows have the label 1"),
        (
            lambda good: good.with_columns(late=pl.when(pl.col("wind") > 2).then(None).otherwise("late")),
            "have no label",
        ),
        (lambda good: good.with_columns(late=pl.lit(float("nan"))), "3000 of 3000 rows have no label"),
        (lambda good: good.drop("wind"), "wind"),
        (lambda good: good.with_columns(wind=pl.lit("strong")), "wind"),
    ],
    ids=["three rows", "one class", "missing labels", "NaN labels", "missing input", "wrong type"],
)
def test_rows_that_cannot_be_judged_give_an_error_verdict(
    room: Room, frame: Callable[[pl.DataFrame], pl.DataFrame], note: str
) -> None:
    found = room.judge(gate(AUC, {"leakage": True}), room.candidate, frame=frame(room.frame))
    assert found.outcome == "error"
    assert note in found.checks[0].note
    assert room.gates.verdict(found.id).outcome == "error"


def test_a_champion_of_another_task_gives_an_error_verdict(room: Room) -> None:
    frame = rows(200, 5)
    model = LinearRegression().fit(frame.select(INPUTS).to_numpy(), frame["distance"].to_numpy())
    other = room.registry.register("delay", model, example=frame.select(INPUTS).head(3))
    found = room.judge(gate(AUC), room.candidate, champion=other)
    assert found.outcome == "error"
    assert "regression" in found.reason


def test_a_regression_is_compared_by_the_bootstrap(room: Room) -> None:
    frame = rows(2000, 5).with_columns(minutes=pl.col("distance") * 10 + pl.col("wind"))
    noisy = frame["minutes"].to_numpy() + np.random.default_rng(1).normal(0, 5, 2000)
    first, second = (
        room.registry.register(
            "delay",
            LinearRegression().fit(frame.select(INPUTS).to_numpy()[part], noisy[part]),
            example=frame.select(INPUTS).head(3),
        )
        for part in (slice(0, 1000), slice(1000, 2000))
    )
    check = {"metric": "rmse", "compare": "non_inferior", "margin": "2%", "block": 10}
    held_out = rows(2000, 6)
    held_out = held_out.with_columns(
        minutes=pl.col("distance") * 10 + pl.col("wind") + np.random.default_rng(2).normal(0, 5, 2000)
    )
    found = room.judge(gate(check), second, champion=first, frame=held_out, label="minutes")
    assert found.outcome == "pass", found.reason
    assert found.checks[0].method == "paired bootstrap of blocks"


def test_a_label_column_that_is_not_there_is_refused(room: Room) -> None:
    with pytest.raises(Invalid, match="no column 'lat'"):
        room.judge(gate(AUC), room.candidate, label="lat")
    assert room.gates.verdicts() == []


def test_the_same_key_gives_the_stored_verdict(room: Room) -> None:
    first, again = judged(room, key="cycle-1"), judged(room, key="cycle-1")
    assert again == first
    assert len(room.gates.verdicts("late")) == 1
    assert len(room.journal.read(kinds=["gates.verdict_reached"])) == 1
    with pytest.raises(Conflict, match="another evaluation"):
        judged(room, room.bad, key="cycle-1")


def test_two_at_once_with_one_key_store_one_verdict(room: Room) -> None:
    with ThreadPoolExecutor(2) as pool:
        ids = {found.id for found in pool.map(lambda _: judged(room, key="cycle-2"), range(4))}
    assert len(ids) == 1
    assert len(room.journal.read(kinds=["gates.verdict_reached"])) == 1


def test_the_uses_of_a_data_version_are_counted(room: Room) -> None:
    spec = gate({"size_mb": 1})
    assert [room.judge(spec, room.candidate).use for _ in range(3)] == [1, 2, 3]
    assert room.gates.uses("datasets/eval/1") == 3
    assert room.gates.uses("datasets/eval/2") == 0


def test_the_same_evaluation_gives_the_same_numbers(room: Room) -> None:
    one, other = judged(room), judged(room)
    assert (one.checks, one.seed) == (other.checks, other.seed)
    assert one.id != other.id


def test_a_verdict_is_not_stored_when_its_event_cannot_be(room: Room) -> None:
    class Broken(SqlJournal):
        def append(self, conn: sa.Connection, *facts: Fact) -> int:
            raise Failed("the log is full")

    gates = Gates(tables=room.tables, journal=Broken(room.tables), registry=room.registry)
    with pytest.raises(Failed, match="full"):
        gates.evaluate(
            gate({"size_mb": 1}), candidate=room.candidate, champion=None, frame=room.frame, label="late", data_ref="d"
        )
    assert room.gates.verdicts() == []


def test_verdicts_are_listed_newest_first_and_by_page(room: Room) -> None:
    found = [room.judge(gate({"size_mb": 1}), one) for one in (room.candidate, room.bad, room.candidate)]
    listed = room.gates.verdicts("late")
    assert [one.id for one in listed] == [one.id for one in reversed(found)]
    assert [one.id for one in room.gates.verdicts("late", before=listed[0].id, limit=1)] == [listed[1].id]
    assert room.gates.verdicts("other") == []
    assert room.gates.verdicts(gate="other") == []


def test_gates_object_to_what_they_did_not_pass_under_any_name_of_its_model(room: Room) -> None:
    spec = room.gates.spec("promote")
    first = room.candidate.number
    assert room.judge(spec, room.candidate).outcome == "pass"
    room.registry.rename("late", "delays")
    later = train(room.registry, 4, strength=0.5)
    assert (later.model, room.registry.objections("delays", first)) == ("delays", [])
    assert room.registry.objections("delays", later.number) == ["gate promote has not judged it"]
    assert room.judge(spec, later).outcome == "pass"
    assert [room.registry.objections("late", number) for number in (first, later.number)] == [[], []]
    room.judge(spec, room.registry.get("delays", room.bad.number))
    assert room.registry.objections("delays", room.bad.number) == ["gate promote came to fail"]


def test_another_project_sees_none_of_it(room: Room) -> None:
    found = judged(room)
    with calling(Caller(project="other")):
        assert room.gates.verdicts() == []
        with pytest.raises(NotFound, match="no verdict"):
            room.gates.verdict(found.id)


def test_a_gate_that_is_not_declared_names_the_near_one(room: Room) -> None:
    assert [spec.name for spec in room.gates.specs()] == ["promote"]
    with pytest.raises(NotFound) as caught:
        room.gates.spec("promte")
    assert caught.value.hint == 'did you mean "promote"?'


def test_golden_requests_go_through_the_probe(room: Room) -> None:
    asked: list[tuple[str, list[str]]] = []

    def probe(version: ModelVersion, frame: pl.DataFrame) -> Mapping[str, list[float]]:
        asked.append((version.ref, frame.columns))
        said = room.registry.load(version.model, version.number).predict(frame)
        return {name: values.tolist() for name, values in said.items()}

    room.gates.answer_through(probe)
    found = room.judge(gate({"golden": 20}), room.candidate)
    assert found.outcome == "pass", found.reason
    assert asked == [("models/late/2", INPUTS)]


def test_a_server_that_breaks_gives_an_error_verdict(room: Room) -> None:
    def probe(version: ModelVersion, frame: pl.DataFrame) -> Mapping[str, list[float]]:
        raise OSError("no such port")

    room.gates.answer_through(probe)
    found = room.judge(gate({"golden": 20}), room.candidate)
    assert found.outcome == "error"
    assert "OSError: no such port" in found.reason
