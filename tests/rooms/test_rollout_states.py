"""Rollouts as a machine of states, against a plain dict, and what the model server itself says about a version."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sklearn.linear_model import LinearRegression

from mainspring.core.clock import ManualClock
from mainspring.core.errors import Conflict
from mainspring.registry import Registry
from mainspring.serving import RolloutSpec, Serving, Traffic
from mainspring.serving.frames import frame_of
from mainspring.serving.log import table_of
from mainspring.serving.model import Route
from mainspring.serving.modelserver.plan import DEATHS, Applied, note_death, read_plan, write_applied, write_plan
from mainspring.serving.modelserver.spool import COLUMNS
from mainspring.storage import open_tables
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Delta, Journal

START = 1_364_774_400_000_000
FRAME = pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 1.0, 0.0]})
SPEC = RolloutSpec(judges=("errors",), promote_on="errors", min_duration_us=0, consecutive_errors=500, then=(0.5,))
VERSIONS = (1, 2, 3)
SIGNATURES = {version: [("a", "float"), ("b", "float")] for version in VERSIONS}

CELLS = [1.0, 0.0]


class House:
    """Serving over one folder, with three versions of one model and no model server."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.tables = ManualClock(START), open_tables("", folder)
        self.tables.migrate()
        self.journal: Journal = SqlJournal(self.tables)
        self.delta: Delta = open_delta("", folder)
        blobs = open_blobs("", folder)
        registry = Registry(
            tables=self.tables, journal=self.journal, blobs=blobs, clock=self.clock, folder=folder / "registry"
        )
        for weight in VERSIONS:
            fitted = LinearRegression().fit(FRAME.to_numpy(), FRAME["a"].to_numpy() * weight)
            registry.register("line", fitted, example=FRAME)
        self.serving = Serving(
            tables=self.tables,
            journal=self.journal,
            delta=self.delta,
            registry=registry,
            clock=self.clock,
            folder=folder / "serving",
        )
        self._batch = 0

    def log(self, name: str, *, canary: int, champion: int, status: int = 500) -> None:
        """Put answers of the rollout under way into the log: so many of each arm, all with this status."""
        found = self.serving.rollouts(name, open_only=True)[0]
        numbers, rows = [], []
        for arm, count, share in (
            ("canary", canary, found.share),
            ("champion", champion, found.weight * (1 - found.share)),
        ):
            for _ in range(count):
                self._batch += 1
                numbers.append(self._batch)
                about = (f"r{self._batch}", f"r{self._batch}", self.clock.now(), self.clock.now())
                said = {"prediction": 1.0} if status < 400 else None
                rows.append(
                    (
                        *about,
                        1,
                        arm,
                        share,
                        f"k{self._batch}",
                        found.id,
                        CELLS,
                        said,
                        10,
                        status,
                        "",
                        "",
                        0,
                        0,
                        (),
                        None,
                    )
                )
        frame = frame_of(name, turned(numbers, rows), SIGNATURES)
        self.delta.append(table_of(name), frame, app="test", batch=self._batch)


def turned(numbers: Iterable[int], rows: Iterable[Sequence[object]]) -> dict[str, Sequence[object]]:
    """Rows of the log by columns."""
    return {"seq": list(numbers), **dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))}


@contextmanager
def opened() -> Iterator[House]:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        try:
            yield house
        finally:
            house.tables.close()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with opened() as made:
        yield made


Live = tuple[dict[int, float], frozenset[int], frozenset[tuple[str, int]]]
"""Shares by version, shadows, and the version that each value of a header leads to."""


def live_of(traffic: Traffic) -> Live:
    routes = frozenset((route.value, route.version or 0) for route in traffic.routes)
    shares = {arm.version: arm.share for arm in traffic.arms}
    return shares, frozenset(shadow.version for shadow in traffic.shadows), routes


class Machine(RuleBasedStateMachine):
    """The model: who is champion, the rollout under way, shadows, routes, and every traffic there was, by its time."""

    house: ClassVar[House]
    names: ClassVar[Iterator[int]] = iter(range(10_000))

    @initialize(version=st.sampled_from(VERSIONS))
    def begin(self, version: int) -> None:
        self.name = f"line-{next(self.names)}"
        self.past: list[tuple[int, Live]] = []
        self.champions: list[int] = []
        self.shadows: set[int] = set()
        self.routes: dict[str, int] = {}
        self.trial: dict[str, object] | None = None
        self.house.serving.deploy(self.name, "line", version)
        self._is_live({version: 1.0})

    def _is_live(self, shares: dict[int, float]) -> None:
        self.champions.append(next(iter(shares)))
        self.shadows -= shares.keys()
        live = shares, frozenset(self.shadows), frozenset(self.routes.items())
        self.past.append((self.house.serving.get(self.name).updated_at, live))

    @property
    def champion(self) -> int:
        return self.champions[-1]

    @property
    def shares(self) -> dict[int, float]:
        return self.past[-1][1][0]

    @rule(version=st.sampled_from(VERSIONS))
    def shadow(self, version: int) -> None:
        if version in self.shares:
            with pytest.raises(Conflict, match="answers already"):
                self.house.serving.shadow(self.name, version)
        elif version in self.shadows:
            self.house.serving.unshadow(self.name, version)
            self.shadows.remove(version)
            self._is_live(self.shares)
        else:
            self.house.serving.shadow(self.name, version)
            self.shadows.add(version)
            self._is_live(self.shares)

    @rule(value=st.sampled_from(["a", "b"]), version=st.sampled_from(VERSIONS))
    def route(self, value: str, version: int) -> None:
        if self.routes.get(value) == version:
            self.house.serving.unroute(self.name, "x-who", value)
            del self.routes[value]
        else:
            self.house.serving.route(self.name, Route("x-who", value, version))
            self.routes[value] = version
        self._is_live(self.shares)

    @rule(champion=st.sampled_from(VERSIONS), other=st.sampled_from(VERSIONS))
    def weigh(self, champion: int, other: int) -> None:
        shares = {champion: 0.75, other: 0.25} if champion != other else {champion: 1.0}
        if self.trial:
            with pytest.raises(Conflict, match="under way"):
                self.house.serving.weigh(self.name, shares, champion=champion)
            return
        self.house.serving.weigh(self.name, shares, champion=champion)
        self._is_live(shares)

    @rule(seconds=st.sampled_from([0, 0, 60]))
    def time_passes(self, seconds: int) -> None:
        self.house.clock.advance(seconds * 1_000_000)

    @rule(version=st.sampled_from(VERSIONS))
    def deploy(self, version: int) -> None:
        if self.trial:
            with pytest.raises(Conflict, match="under way"):
                self.house.serving.deploy(self.name, "line", version)
            return
        self.house.serving.deploy(self.name, "line", version)
        self._is_live({version: 1.0})

    @rule(version=st.sampled_from(VERSIONS))
    def start(self, version: int) -> None:
        if self.trial["version"] != version if self.trial else version in self.shares:
            with pytest.raises(Conflict):
                self.house.serving.start_rollout(self.name, version, share=0.25, spec=SPEC)
            return
        made = self.house.serving.start_rollout(self.name, version, share=0.25, spec=SPEC)
        if self.trial is None:
            self.standing = dict(self.shares)
            self.trial = {"id": made.id, "version": version, "state": "running", "share": 0.25}
            self._is_beside(version, 0.25)

    @rule(verb=st.sampled_from(["pause", "resume"]))
    def hold_on(self, verb: str) -> None:
        if self.trial is None:
            with pytest.raises(Conflict, match="no rollout"):
                getattr(self.house.serving, verb)(self.name)
            return
        getattr(self.house.serving, verb)(self.name)
        self.trial["state"] = "paused" if verb == "pause" else "running"

    @rule()
    def promote(self) -> None:
        if self.trial is None:
            with pytest.raises(Conflict, match="no rollout"):
                self.house.serving.promote(self.name)
            return
        self.house.serving.promote(self.name)
        self._ends(int(str(self.trial["version"])))

    @rule()
    def roll_back(self) -> None:
        if self.trial is not None:
            self.house.serving.rollback(self.name)
            self._ends(self.champion)
            return
        before = next((version for version in reversed(self.champions) if version != self.champion), None)
        before = self.champion if len(self.shares) > 1 else before
        if before is None:
            with pytest.raises(Conflict, match="no other version"):
                self.house.serving.rollback(self.name)
            return
        self.house.serving.rollback(self.name)
        self._is_live({before: 1.0})

    @precondition(lambda self: self.trial)
    @rule()
    def the_canary_does_harm(self) -> None:
        assert self.trial is not None
        self.house.log(self.name, canary=600, champion=10)
        assert self.house.serving.advance(str(self.trial["id"])).state == "rolled_back"  # paused or not
        self._ends(self.champion)

    @precondition(lambda self: self.trial)
    @rule()
    def the_canary_is_proved_harmless(self) -> None:
        assert self.trial is not None
        self.house.log(self.name, canary=10, champion=400)
        done = self.house.serving.advance(str(self.trial["id"]))
        if self.trial["state"] == "paused":
            assert done.state == "paused"
        elif self.trial["share"] == 0.25:
            assert (done.state, done.share) == ("running", 0.5)
            self.trial["share"] = 0.5
            self._is_beside(int(str(self.trial["version"])), 0.5)
        else:
            assert done.state == "promoted"
            self._ends(int(str(self.trial["version"])))

    def _ends(self, champion: int) -> None:
        """Those that the canary took from have their shares again, in the champion's place the one that won."""
        self.trial = None
        before, *others = self.standing
        self._is_live({champion: self.standing[before]} | {number: self.standing[number] for number in others})

    def _is_beside(self, canary: int, share: float) -> None:
        self._is_live({number: part * (1 - share) for number, part in self.standing.items()} | {canary: share})

    @invariant()
    def what_is_stored_is_what_was_done(self) -> None:
        assert live_of(self.house.serving.get(self.name).traffic) == self.past[-1][1]
        under_way = self.house.serving.rollouts(self.name, open_only=True)
        assert [(entry.id, entry.state, entry.share) for entry in under_way] == (
            [(self.trial["id"], self.trial["state"], self.trial["share"])] if self.trial else []
        )
        plan = next(entry for entry in read_plan(self.house.serving.folder).endpoints if entry.name == self.name)
        assert {arm.version: arm.share for arm in plan.arms if arm.share} == self.shares
        assert {arm.version for arm in plan.arms} == {*self.shares, *self.routes.values()}
        assert {shadow.arm.version for shadow in plan.shadows} == self.shadows

    @invariant()
    def every_past_moment_is_known(self) -> None:
        for (at, live), until in zip(self.past, [*(at for at, _ in self.past[1:]), 0], strict=True):
            for moment in (at, until - 1 if until else at + 10**12):
                change = self.house.serving.live_at(self.name, moment)
                assert change is not None
                assert live_of(change.traffic) == live
                assert (change.at, change.until) == (at, until)
        assert self.house.serving.live_at(self.name, self.past[0][0] - 1) is None


@pytest.mark.slow
def test_rollouts_are_what_a_dict_says_whatever_is_done_to_them(house: House) -> None:
    Machine.house = house
    rules = settings(max_examples=8, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(Machine, settings=rules)


def test_changes_at_one_tick_of_the_clock_keep_their_order(house: House) -> None:
    for version in (1, 2, 3):
        house.serving.deploy("ticks", "line", version)
    history = house.serving.history("ticks")
    assert [change.traffic.champion for change in history] == [3, 2, 1]
    assert [change.at - history[-1].at for change in history] == [2, 1, 0]


def test_a_version_that_cannot_be_loaded_goes_back_at_once(house: House) -> None:
    house.serving.deploy("broken", "line", 1)
    made = house.serving.start_rollout("broken", 2, spec=SPEC)
    folder = house.serving.folder
    said = Applied(
        generation=read_plan(folder).generation,
        worker="w",
        pid=os.getpid(),
        port=0,
        problems={"broken": "it is torn"},
    )
    write_applied(folder, said)
    try:
        moved = {entry.id: entry for entry in house.serving.settle()}
    finally:
        (folder / "applied-w.json").unlink()
    assert moved[made.id].state == "rolled_back"
    assert moved[made.id].reason == "it could not be loaded: it is torn"


def test_a_version_that_takes_too_much_memory_goes_back_at_once(house: House) -> None:
    house.serving.deploy("fat", "line", 1)
    made = house.serving.start_rollout("fat", 2, spec=RolloutSpec(max_memory_mb=1))
    write_applied(house.serving.folder, Applied(generation=0, worker="w", pid=os.getpid(), port=0))
    try:
        assert "memory" in house.serving.advance(made.id).reason
    finally:
        (house.serving.folder / "applied-w.json").unlink()


def test_a_model_server_that_dies_again_and_again_ends_the_rollout(house: House) -> None:
    house.serving.deploy("deadly", "line", 1)
    note_death(house.serving.folder)  # before: of no account
    house.clock.advance(time.time_ns() // 1000 - house.clock.now() + 1)
    made = house.serving.start_rollout("deadly", 2, spec=SPEC)
    for _ in range(3):
        note_death(house.serving.folder)
    assert "died" in house.serving.advance(made.id).reason
    (house.serving.folder / DEATHS).unlink()  # the other tests' clocks stand before these deaths


def test_an_answer_without_a_value_is_an_error_where_others_have_one(house: House) -> None:
    house.serving.deploy("empty", "line", 1)
    made = house.serving.start_rollout("empty", 2, spec=SPEC)
    house.log("empty", canary=5, champion=200, status=200)
    found = house.serving.rollouts("empty")[0]
    said = (found.id, CELLS, None, 9, 200, "", "", 0, 0, (), None)
    rows = [(f"e{i}", f"e{i}", START, START, 2, "canary", 0.25, f"k{10**6 + i}", *said) for i in range(40)]
    frame = frame_of("empty", turned(range(10**6, 10**6 + 40), rows), SIGNATURES)
    house.delta.append(table_of("empty"), frame, app="test", batch=10**6)
    assert house.serving.judge(made.id).evidence.counts["errors"][0].canary == 40
    assert house.serving.judge(made.id).action == "rollback"


def test_a_rollout_held_when_its_time_was_up_gets_it_once_more(house: House) -> None:
    house.serving.deploy("slow", "line", 1)
    spec = RolloutSpec(judges=("errors",), promote_on="errors", min_duration_us=0, max_duration_us=1000)
    made = house.serving.start_rollout("slow", 2, spec=spec)
    house.log("slow", canary=1, champion=1, status=200)
    house.clock.advance(2000)
    house.log("slow", canary=1, champion=1, status=200)
    assert house.serving.advance(made.id).state == "held"
    assert house.serving.resume("slow", "patience").spec.max_duration_us == 3000
    assert house.serving.advance(made.id).state == "running"
    house.clock.advance(2000)
    house.log("slow", canary=1, champion=1, status=200)
    assert house.serving.advance(made.id).state == "held"


def test_whoever_was_killed_before_the_plan_was_written_is_made_up_for(house: House) -> None:
    house.serving.deploy("cut", "line", 1)
    house.serving.settle()
    plan = read_plan(house.serving.folder)
    house.serving.deploy("cut", "line", 2)
    write_plan(house.serving.folder, plan)
    house.serving.settle()
    served = {entry.name: entry.arms[0].version for entry in read_plan(house.serving.folder).endpoints}
    assert served["cut"] == 2
