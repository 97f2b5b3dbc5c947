"""The registry on real storage: registering, aliases and their history, packages that were tampered with."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sklearn.linear_model import LinearRegression, LogisticRegression

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Corrupt, Invalid, NotFound, Refused
from mainspring.registry import ModelVersion, Registry
from mainspring.registry.packages import load_folder
from mainspring.registry.records.tables import model_version
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables

FRAME = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "c": ["x", "y", "x", "y"]})
LEVELS = {"c": ["x", "y"]}
MATRIX = np.array([[0.0, 0], [1, 1], [2, 0], [3, 1]])


def line(slope: float = 1.0) -> LinearRegression:
    return LinearRegression().fit(MATRIX, slope * MATRIX[:, 0])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000)


@pytest.fixture
def journal(tables: Tables, clock: ManualClock) -> SqlJournal:
    return SqlJournal(tables, clock)


@pytest.fixture
def registry(tables: Tables, journal: SqlJournal, clock: ManualClock, tmp_path: Path) -> Registry:
    blobs = FileBlobs(tmp_path / "blobs")
    return Registry(tables=tables, journal=journal, blobs=blobs, clock=clock, folder=tmp_path / "data")


def register(registry: Registry, slope: float = 1.0, key: str = "") -> ModelVersion:
    return registry.register("flights", line(slope), example=FRAME, encoding=LEVELS, key=key)


def test_a_version_comes_back_as_it_was_registered(registry: Registry) -> None:
    made = registry.register(
        "flights",
        LogisticRegression().fit(MATRIX, ["ok", "ok", "late", "late"]),
        example=FRAME,
        encoding=LEVELS,
        run_id="r" * 32,
        datasets=["datasets/flights/1", "datasets/flights/2"],
        reference="datasets/flights/1",
        metrics={"auc": 0.75},
    )
    assert registry.get("flights", 1) == made
    assert (made.ref, made.task, made.classes) == ("models/flights/1", "binary", ("late", "ok"))
    assert made.inputs[1].levels == ("x", "y")
    assert made.created_by == "owner"


def test_numbers_count_up_for_each_model(registry: Registry) -> None:
    assert [register(registry).number for _ in range(3)] == [1, 2, 3]
    assert registry.register("other", line(), example=FRAME, encoding=LEVELS).number == 1
    assert [version.number for version in registry.versions("flights", limit=2)] == [3, 2]
    assert [version.number for version in registry.versions("flights", before=2)] == [1]


def test_the_same_key_is_the_same_version_even_for_another_model(registry: Registry, journal: SqlJournal) -> None:
    first = register(registry, 1.0, key="train-7")
    assert register(registry, 2.0, key="train-7") == first
    assert register(registry, 2.0, key="train-8").number == 2
    assert len(journal.read(kinds=["registry.version_registered"])) == 2


def test_one_key_from_many_threads_is_one_version_and_no_number_is_lost(registry: Registry) -> None:
    found: list[int] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        found.append(register(registry, key="same").number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1, 1]
    assert register(registry).number == 2


def test_registering_is_on_record_with_lineage(registry: Registry, journal: SqlJournal) -> None:
    registry.register("flights", line(), example=FRAME, encoding=LEVELS, run_id="1" * 32, reference="datasets/f/1")
    (event,) = journal.read(subject="models/flights/1")
    assert event.subject == "models/flights/1"
    assert event.payload["run_id"] == "1" * 32
    assert event.payload["reference"] == "datasets/f/1"


def test_what_cannot_be_kept_leaves_nothing_behind(registry: Registry, journal: SqlJournal, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(Refused):
        registry.register("flights", tmp_path / "model.pkl", example=FRAME)
    assert registry.models() == []
    assert journal.last() == 0


def test_a_loaded_version_predicts_as_the_model_did(registry: Registry) -> None:
    register(registry, 2.0)
    for _ in range(2):
        answer = registry.load("flights", 1).predict(FRAME)["prediction"]
        assert answer.tolist() == pytest.approx([0.0, 2.0, 4.0, 6.0], abs=1e-9)


def test_an_unpacked_package_can_be_loaded_elsewhere_with_the_public_key(registry: Registry, tmp_path: Path) -> None:
    version = register(registry)
    folder = registry.materialize("flights", 1, tmp_path / "out" / "flights")
    predictor = load_folder(folder, public_key=registry.public_key, expected=version.digest)
    assert predictor.signature == version.signature


def test_a_tampered_unpacked_file_is_noticed_at_the_next_load(registry: Registry, tmp_path: Path) -> None:
    register(registry)
    registry.load("flights", 1)
    (file,) = (tmp_path / "data" / "models").glob("*/model.skops")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(Corrupt, match="changed after it was registered"):
        registry.load("flights", 1)


def test_a_tampered_blob_is_noticed(registry: Registry, tmp_path: Path) -> None:
    version = register(registry)
    for file in (tmp_path / "blobs").rglob("*"):
        if file.is_file() and b"schema.json" in file.read_bytes():
            file.chmod(0o644)
            file.write_bytes(b"x")
    with pytest.raises(Corrupt):
        registry.verify("flights", version.number)


def test_a_row_that_points_to_another_package_is_noticed(registry: Registry, tables: Tables) -> None:
    register(registry, 1.0)
    register(registry, 2.0)
    with tables.write() as conn:
        second = conn.execute(sa.select(model_version).where(model_version.c.number == 2)).mappings().one()
        stolen = {name: second[name] for name in ("digest", "manifest", "seal")}
        conn.execute(sa.update(model_version).where(model_version.c.number == 1).values(**stolen))
    with pytest.raises(Corrupt, match="manifest was changed"):
        registry.load("flights", 1)


def test_verify_tells_that_a_version_is_whole(registry: Registry) -> None:
    assert registry.verify("flights", register(registry).number).number == 1


def test_an_alias_is_a_name_for_a_version(registry: Registry) -> None:
    register(registry)
    register(registry)
    registry.set_alias("flights", "champion", 1, "first")
    assert registry.get("flights", "champion").number == 1
    assert registry.get("flights", "latest").number == 2
    assert registry.get("flights", "v2").number == 2
    assert registry.models()[0].aliases == {"champion": 1}


def test_where_an_alias_pointed_at_any_time_is_known(registry: Registry, clock: ManualClock) -> None:
    for _ in range(3):
        register(registry)
    for version in (1, 3, 2):
        clock.advance(100)
        registry.set_alias("flights", "champion", version)
    clock.advance(100)
    registry.remove_alias("flights", "champion", "retired")
    asked = [registry.alias_at("flights", "champion", at) for at in (1_099, 1_100, 1_250, 1_399, 1_400)]
    assert asked == [None, 1, 3, 2, None]
    with pytest.raises(NotFound):
        registry.alias("flights", "champion")
    assert [change.version for change in registry.alias_history("flights", "champion")] == [None, 2, 3, 1]


def test_moving_an_alias_is_on_record_and_standing_still_is_not(registry: Registry, journal: SqlJournal) -> None:
    register(registry)
    with calling(Caller(actor="ana")):
        registry.set_alias("flights", "champion", 1, "gate passed")
        registry.set_alias("flights", "champion", 1, "again")
    (event,) = journal.read(kinds=["registry.alias_moved"])
    assert (event.actor, event.subject, event.payload["reason"]) == ("ana", "models/flights/1", "gate passed")


def test_an_alias_points_only_to_versions_that_are_there(registry: Registry) -> None:
    register(registry)
    with pytest.raises(NotFound, match="versions 1 to 1 are there"):
        registry.set_alias("flights", "champion", 2)
    with pytest.raises(Invalid):
        registry.set_alias("flights", "latest", 1)


def test_a_misspelt_model_or_alias_is_answered_with_the_near_name(registry: Registry) -> None:
    register(registry)
    registry.set_alias("flights", "champion", 1)
    with pytest.raises(NotFound, match='did you mean "flights"'):
        registry.get("fligths", 1)
    with pytest.raises(NotFound, match='did you mean "champion"'):
        registry.get("flights", "champoin")


def test_projects_do_not_see_each_other(registry: Registry) -> None:
    register(registry)
    with calling(Caller(project="other")):
        assert registry.models() == []
        assert register(registry).number == 1
        with pytest.raises(NotFound):
            registry.alias("flights", "champion")


def test_models_come_in_pages_by_name(registry: Registry) -> None:
    for name in ("b", "a", "c"):
        registry.register(name, line(), example=FRAME, encoding=LEVELS)
    assert [model.name for model in registry.models(limit=2)] == ["a", "b"]
    assert [model.name for model in registry.models(after="b")] == ["c"]


def test_files_can_be_fetched_one_by_one(registry: Registry) -> None:
    register(registry)
    assert [entry.path for entry in registry.files("flights", 1)] == ["manifest.json", "example.json", "model.skops"]
    assert json.loads(registry.file("flights", 1, "example.json"))["inputs"]["c"] == ["x", "y", "x", "y"]
    with pytest.raises(NotFound, match=r"model\.skops"):
        registry.file("flights", 1, "model.skop")


class Aliases(RuleBasedStateMachine):
    """Any sequence of moves of two aliases agrees with a plain list of (time, version)."""

    make: Callable[[], str]
    registry: Registry
    clock: ManualClock

    @initialize()
    def start(self) -> None:
        self.name = type(self).make()
        self.moves: dict[str, list[tuple[int, int | None]]] = {"champion": [], "challenger": []}

    @rule(alias=st.sampled_from(["champion", "challenger"]), version=st.integers(1, 3), wait=st.integers(0, 2))
    def move(self, alias: str, version: int, wait: int) -> None:
        self.clock.advance(wait)
        self.registry.set_alias(self.name, alias, version)
        self.moves[alias].append((self.clock.now(), version))

    @rule(alias=st.sampled_from(["champion", "challenger"]))
    def remove(self, alias: str) -> None:
        if self.moves[alias] and self.moves[alias][-1][1] is not None:
            self.registry.remove_alias(self.name, alias)
            self.moves[alias].append((self.clock.now(), None))

    @invariant()
    def every_moment_agrees(self) -> None:
        for alias, moves in getattr(self, "moves", {}).items():
            now = self.clock.now()
            for at in {now, *(at for at, _ in moves), *(at - 1 for at, _ in moves)}:
                expected = [version for moved, version in moves if moved <= at]
                assert self.registry.alias_at(self.name, alias, at) == (expected[-1] if expected else None)


def test_any_sequence_of_alias_moves_agrees_with_a_plain_list(
    sqlite_database: Callable[[], Tables], tmp_path: Path
) -> None:
    clock = ManualClock(1_000)
    tables = sqlite_database()
    parts = {"tables": tables, "journal": SqlJournal(tables, clock), "blobs": FileBlobs(tmp_path / "b"), "clock": clock}
    registry = Registry(**parts, folder=tmp_path / "data")  # type: ignore[arg-type]
    numbers = iter(range(1000))

    def fresh() -> str:
        name = f"flights-{next(numbers)}"
        for _ in range(3):
            registry.register(name, line(), example=FRAME, encoding=LEVELS)
        return name

    machine = type("Machine", (Aliases,), {"make": staticmethod(fresh), "registry": registry, "clock": clock})
    run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=12, deadline=None))
    tables.close()
