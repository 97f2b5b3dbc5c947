"""Pipelines beside those of other tools, one after the other by turns: see `flows` for where they come from.

Each contestant counts with the CPU seconds of its whole process tree, servers and children with it: medians of turns.
What the clock says stands beside it. A bar is held against CPU seconds, which other work on the machine changes least.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from figure import Figure, LeftOut
from flow_programs import SERVED, WHOLE
from flows import CannotRun, Contestant, Turn, run_whole
from place import folder

from mainspring.testing.postgres import NoPostgres, PostgresServer

OURS = "mainspring"
ROUNDS, WHOLE_ROUNDS, WIDE_ROUNDS, DURABLE_ROUNDS = 5, 3, 3, 5
RUNS: Mapping[str, int] = {OURS: 20, "kedro": 50, "dagster": 5, "dbos": 20, "kfp": 1}
"""How often a turn does four steps: what a kernel counts is in hundredths of a second."""
LONG: Mapping[str, int] = {"kfp": 1, "metaflow": 1, "zenml": 1}
"""Who takes minutes for a hundred steps, so that fewer turns have to do."""
CACHED, IN_PROCESS, WIDE = ("prefect", "zenml"), ("prefect", "zenml", "dagster", "kedro", "dbos"), 100
AT_ONCE: Mapping[str, float] = {"prefect": 1 / 50, "zenml": 1 / 50}
FROM_START: Mapping[str, float] = {"metaflow": 1 / 5, "dagster": 1 / 3}
SIDE_BY_SIDE: Mapping[str, float] = {"metaflow": 1 / 20, "zenml": 1 / 10, "kfp": 1 / 5}
FEW, MANY = 20, 220
RESULTS: Mapping[str, object] = {"zenml": ["completed"] * WIDE}
METAFLOW_WIDE = ("PYTHON", "wide.py", "run")
Said = Figure | LeftOut
Take = Callable[[], Turn]


def measure() -> Iterator[Said]:
    with folder() as root:
        yield from _in_process(root / "in-process")
        yield from _whole(root / "whole")
        yield from _wide(root / "wide")
        yield from _durable(root / "sqlite", "SQLite")
        yield from _on_postgres(root / "postgres")


def _in_process(root: Path) -> Iterator[Said]:
    with ExitStack() as stack:
        there, left_out = _started([OURS, *IN_PROCESS], root, stack)
        yield from left_out
        cached = {name: _cached(each) for name, each in there.items() if name in (OURS, *CACHED)}
        turns, left_out = _by_turns(cached, ROUNDS)
        yield from left_out
        yield from _figures("four cached steps in process", turns, 1000, "ms", AT_ONCE)
        first = {name: _first(each) for name, each in there.items()}
        turns, left_out = _by_turns(first, ROUNDS)
        yield from left_out
        yield from _figures("four steps in process, none cached", turns, 1000, "ms", {})


def _cached(contestant: Contestant) -> Take:
    def take() -> Turn:
        turn = contestant.turn("cached", runs=RUNS.get(contestant.name, 2))
        said = [str(state).lower() for state in _list(turn.said)]
        if said != ["cached"] * 4:
            raise CannotRun(f"its steps are {said}, not taken from the cache")
        return turn

    return take


def _first(contestant: Contestant) -> Take:
    def take() -> Turn:
        turn = contestant.turn("first", runs=RUNS.get(contestant.name, 1))
        said = [str(state).lower() for state in _list(turn.said)]
        if len(said) != 4 or not set(said) <= {"finished", "completed"}:
            raise CannotRun(f"its steps are {said}, not done")
        return turn

    return take


def _whole(root: Path) -> Iterator[Said]:
    def first(name: str) -> Take:
        folders = iter(range(100))
        return lambda: _turn(name, root / "first" / str(next(folders)), 1)

    def again(name: str) -> Take:
        numbers = iter(range(10, 10**6, 10))
        return lambda: _turn(name, root / "again", next(numbers))

    turns, left_out = _by_turns({name: first(name) for name in WHOLE}, WHOLE_ROUNDS)
    yield from left_out
    yield from _figures("four steps, whole process, first run in an empty folder", turns, 1, "s", FROM_START)
    turns, left_out = _by_turns({name: again(name) for name in WHOLE if name in turns}, WHOLE_ROUNDS, warm=True)
    yield from left_out
    yield from _figures("four steps, whole process, run once more", turns, 1, "s", FROM_START)


def _turn(name: str, root: Path, number: int) -> Turn:
    found = run_whole(name, root, number)
    return Turn(found.cpu_s, found.wall_s, None)


def _wide(root: Path) -> Iterator[Said]:
    """A hundred steps side by side; ours in processes of their own, and in one process."""

    def wide(contestant: Contestant, work: str = "wide") -> Take:
        def take() -> Turn:
            turn = contestant.turn(work)
            wanted = RESULTS.get(contestant.name, list(range(WIDE)))
            if turn.said != wanted:
                raise CannotRun(f"it gives {str(turn.said)[:100]}, not what {WIDE} steps give")
            return turn

        return take

    def metaflow() -> Turn:
        found = run_whole("metaflow", root, 0, command=METAFLOW_WIDE, done=f"it makes {sum(range(WIDE))}")
        return Turn(found.cpu_s, found.wall_s, None)

    with ExitStack() as stack:
        there, left_out = _started([OURS, "pool", "prefect", "zenml", "dagster", "kedro", "kfp"], root, stack)
        yield from left_out
        works: dict[str, Take] = {name: wide(each) for name, each in there.items()}
        if OURS in there:
            works["mainspring in one process"] = wide(there[OURS], "here")
        turns, left_out = _by_turns({**works, "metaflow": metaflow}, WIDE_ROUNDS, most=LONG)
        yield from left_out
        yield from _figures(f"{WIDE} steps side by side", turns, 1, "s", SIDE_BY_SIDE)
        here = turns.pop("mainspring in one process", None)
        if here and OURS in turns:
            yield from _overhead("a step in process, beside what it does", here, 10)
            yield from _overhead("a step in processes of their own, their start with it", turns[OURS], 25)


def _overhead(what: str, turns: list[Turn], limit: float) -> Iterator[Figure]:
    yield Figure(what, 1000 * _cpu(turns) / WIDE, "ms CPU", limit)
    yield Figure(f"{what}, by the clock", 1000 * _wall(turns) / WIDE, "ms", limit)


def _durable(
    root: Path, where: str, env: Mapping[str, Mapping[str, str]] | None = None, beside: int = 0
) -> Iterator[Said]:
    """A durable step more in a row, of ours and DBOS's, with equal sync."""

    def step(contestant: Contestant) -> Take:
        def take() -> Turn:
            few, many = contestant.turn("long", FEW), contestant.turn("long", MANY)
            if (few.said, many.said) != (2 * FEW + 1, 2 * MANY + 1):
                raise CannotRun(f"it gives {few.said} and {many.said}")
            return Turn((many.cpu_s - few.cpu_s) / (MANY - FEW), (many.wall_s - few.wall_s) / (MANY - FEW), None)

        return take

    with ExitStack() as stack:
        there, left_out = _started([OURS, "dbos"], root, stack, env or {}, beside)
        yield from left_out
        turns, left_out = _by_turns({name: step(each) for name, each in there.items()}, DURABLE_ROUNDS, warm=True)
        yield from left_out
        yield from _figures(f"a durable step on {where}", turns, 1000, "ms", {"dbos": 1}, clock=True)


def _on_postgres(root: Path) -> Iterator[Said]:
    try:
        server = PostgresServer(durable=True)
    except NoPostgres as reason:
        yield LeftOut("a durable step on Postgres", str(reason))
        return
    try:
        ours, theirs = (server.url(server.make_database()) for _ in range(2))
        theirs = theirs.replace("postgresql://", "postgresql+psycopg://")
        env = {OURS: {"MAINSPRING_STORAGE_DB": ours}, "dbos": {"DBOS_URL": theirs}}
        yield from _durable(root, "Postgres, the server's CPU with it", env, server.pid)
    finally:
        server.stop()


def _started(
    names: list[str],
    root: Path,
    stack: ExitStack,
    env: Mapping[str, Mapping[str, str]] | None = None,
    beside: int = 0,
) -> tuple[dict[str, Contestant], list[LeftOut]]:
    found: dict[str, Contestant] = {}
    left_out: list[LeftOut] = []
    for name in names:
        assert name in SERVED
        try:
            found[name] = Contestant(name, root, (env or {}).get(name), beside)
            stack.callback(found[name].close)
        except CannotRun as reason:
            left_out.append(LeftOut(name, str(reason)))
    return found, left_out


def _by_turns(
    works: Mapping[str, Take], rounds: int, *, warm: bool = False, most: Mapping[str, int] = MappingProxyType({})
) -> tuple[dict[str, list[Turn]], list[LeftOut]]:
    """What each said in turns; one that fails once is out. A first round that only warms up is not counted."""
    found: dict[str, list[Turn]] = {name: [] for name in works}
    left_out: list[LeftOut] = []
    for number in range(rounds + warm):
        for name in [name for name in found if number < most.get(name, rounds + warm)]:
            try:
                turn = works[name]()
            except CannotRun as reason:
                left_out.append(LeftOut(name, str(reason)))
                del found[name]
                continue
            print(f"  {name}: {turn.cpu_s:.4g} s CPU, {turn.wall_s:.4g} s", file=sys.stderr, flush=True)
            if number or not warm:
                found[name].append(turn)
    return found, left_out


def _figures(
    what: str,
    turns: Mapping[str, list[Turn]],
    scale: float,
    unit: str,
    limits: Mapping[str, float],
    *,
    clock: bool = False,
) -> Iterator[Figure]:
    """Each contestant's median, and ours beside each other one's; `clock` holds the clock's ratio to the bar too."""
    for name, taken in turns.items():
        yield Figure(f"{name}: {what}", scale * _cpu(taken), f"{unit} CPU")
        yield Figure(f"{name}: {what}, by the clock", scale * _wall(taken), unit)
    ours = turns.get(OURS)
    for name, taken in turns.items():
        if ours and not name.startswith(OURS):
            limit = limits.get(name)
            yield Figure(f"{what}: ours / {name}", _cpu(ours) / max(_cpu(taken), 1e-9), "x CPU", limit)
            shown = limit if clock else None
            yield Figure(f"{what}: ours / {name}, by the clock", _wall(ours) / _wall(taken), "x", shown)


def _cpu(turns: list[Turn]) -> float:
    return statistics.median(turn.cpu_s for turn in turns)


def _wall(turns: list[Turn]) -> float:
    return statistics.median(turn.wall_s for turn in turns)


def _list(said: object) -> list[object]:
    return said if isinstance(said, list) else [said]
