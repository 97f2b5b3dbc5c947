"""Decisions about graphs, keys and retries. No I/O, no clock."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mainspring.core.errors import Conflict, Failed, Invalid, MainspringError, NoRoom, error_codes
from mainspring.pipelines.model import (
    Artifact,
    Change,
    Json,
    KeyParts,
    Measured,
    Resources,
    Size,
    StepRun,
    StepState,
    size_text,
)


def order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Steps in an order in which each comes after all that it needs; otherwise in the order given.

    Raises:
        Invalid: A step needs itself by some way (the way is named), or needs a step that is not there.

    >>> order({"b": ["a"], "a": []})
    ['a', 'b']
    """
    done: dict[str, None] = {}
    for first in needs:
        path: dict[str, Iterator[str]] = {}  # the steps under way, each with what is left to look at
        step = first
        while step not in done or path:
            if step not in done and step in path:
                way = [*path][[*path].index(step) :]
                what = f"the steps need each other: {' -> '.join((*way, step))}"
                raise Invalid(what, where="pipeline", hint="cut one of these arrows")
            if step not in done:
                path[step] = iter(needs[step])
            while path:
                last = next(reversed(path))
                following = next((other for other in path[last] if other not in done), None)
                if following is not None:
                    break
                done[last] = None
                del path[last]
            else:
                break
            if following not in needs:
                raise Invalid(f"step {last} needs {following}, which is not in the pipeline", where=f"step {last}")
            step = following
    return list(done)


def levels(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Steps by their distance from the start: what is in one level needs only earlier levels. For drawing.

    >>> levels({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})
    [['a'], ['b', 'c'], ['d']]
    """
    depth: dict[str, int] = {}
    for step in order(needs):
        depth[step] = 1 + max((depth[other] for other in needs[step]), default=-1)
    return [[step for step in needs if depth[step] == level] for level in range(max(depth.values(), default=-1) + 1)]


def same_code(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The digests of a run's code, when what ran and what is there now are the same.

    Raises:
        Conflict: A step's code changed since the run began.

    >>> same_code({}, {"flow:train": "ab"})
    {'flow:train': 'ab'}
    """
    changed = [name.rpartition(":")[2] for name, digest in before.items() if now.get(name, digest) != digest]
    if changed:
        what = f"the code of {', '.join(changed)} changed since the run began"
        hint = "run the pipeline anew: what did not change is taken from the cache"
        raise Conflict(what, where="pipeline", hint=hint)
    return {**now, **before}


def check_resources(steps: Mapping[str, Resources], has: Resources) -> None:
    """Refuse steps that ask for more than the machine has.

    Raises:
        NoRoom: One does.
    """
    for step, wanted in steps.items():
        lacks = has.lacks(wanted)
        if lacks:
            hint = "ask for less, or start a worker on a larger machine"
            raise NoRoom(f"step {step} asks for {lacks}", where=f"step {step}", hint=hint)


def check_nodes(steps: Mapping[str, Resources], nodes: Sequence[Resources]) -> None:
    """Refuse steps that ask for more than any node of a cluster has.

    Raises:
        NoRoom: One does.
    """
    for step, wanted in steps.items():
        lacks = [node.lacks(wanted) for node in nodes]
        if all(lacks):
            least = min(lacks, key=lambda text: (text.count(";"), text)) if lacks else "a node, there are none"
            hint = "ask for less, or add a node that has it"
            raise NoRoom(
                f"step {step} asks for {least} on the node that comes nearest", where=f"step {step}", hint=hint
            )


def told_again(text: str, code: str = "") -> MainspringError:
    """The error that was stored as its three lines and its code.

    >>> told_again("it broke\nwhere: here\ntry: again").hint
    'again'
    """
    what, *rest = text.splitlines() or ["it failed"]
    where = next((line.removeprefix("where: ") for line in rest if line.startswith("where: ")), "")
    hint = next((line.removeprefix("try: ") for line in rest if line.startswith("try: ")), "")
    return error_codes().get(code, Failed)(what, where=where, hint=hint)


def is_true(op: str, left: Json, right: Json) -> bool:
    """The answer to a comparison of two JSON values.

    Raises:
        Invalid: They cannot be compared.

    >>> is_true(">", 0.9, 0.8), is_true("==", [1], [1])
    (True, True)
    """
    try:
        return bool(_COMPARE[op](left, right))
    except TypeError:
        what = f"{left!r} {op} {right!r}: a {type(left).__name__} and a {type(right).__name__}"
        raise Invalid(what, where="condition", hint="compare numbers with numbers and texts with texts") from None


_COMPARE: Mapping[str, Callable[[Any, Any], object]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def pick(artifact: Artifact, path: Sequence[str | int], step: str) -> Artifact:
    """The part of a stored result at `path`, for example `("train",)` of a dict of frames.

    Raises:
        Invalid: There is no such part.
    """
    for part in path:
        found = dict(artifact.items).get(str(part))
        if found is None:
            known = ", ".join(key for key, _ in artifact.items) or "no parts that are stored on their own"
            raise Invalid(f"the result of {step} has no part {part!r}", where=f"step {step}", hint=f"it has {known}")
        artifact = found
    return artifact


def changes(before: KeyParts, after: KeyParts) -> tuple[Change, ...]:
    """What differs between two keys, part by part.

    >>> changes(KeyParts(function="a:f", params={"n": 1}), KeyParts(function="a:f", params={"n": 2}))
    (Change(part='params', name='n', before='1', after='2'),)
    """
    found: list[Change] = []
    for part in ("function", "code", "params", "inputs", "datasets", "files", "env", "lock", "barrier"):
        old, new = _named(getattr(before, part)), _named(getattr(after, part))
        found.extend(
            Change(part, name, _text(old.get(name, _ABSENT)), _text(new.get(name, _ABSENT)))
            for name in {**old, **new}
            if old.get(name, _ABSENT) != new.get(name, _ABSENT)
        )
    return tuple(found)


_ABSENT = object()


def _named(part: Json) -> dict[str, Json]:
    return dict(part) if isinstance(part, Mapping) else {"": part}


def _text(value: Json) -> str:
    if value is _ABSENT:
        return "absent"
    return value if isinstance(value, str) else repr(value)


def why_it_ran(step: StepRun, earlier: StepRun | None, found: Sequence[Change], *, may_reuse: bool) -> str:
    """One sentence: why the step ran, or where its result came from."""
    if step.state is StepState.CACHED:
        return f"it did not run: nothing it depends on changed since run {step.source}"
    if step.parts is not None and step.parts.barrier:
        return f"it always runs: {step.parts.barrier}"
    if not may_reuse:
        return "it always runs: its cache is off or it has side effects"
    if earlier is None:
        return "it ran for the first time"
    if not found:
        return "nothing it depends on changed, but no stored result was there"
    return "changed: " + ", ".join(dict.fromkeys(_name(change) for change in found))


def _name(change: Change) -> str:
    return f"{change.part} {change.name}".strip()


def table_diff(before: Sequence[str], after: Sequence[str]) -> tuple[Change, ...]:
    """What differs between two lists of installed packages, written "name==version".

    >>> table_diff(["numpy==2.3"], ["numpy==2.4"])
    (Change(part='lock', name='numpy', before='2.3', after='2.4'),)
    """
    old, new = (dict(line.split("==", 1) for line in lines) for lines in (before, after))
    names = sorted({**old, **new})
    return tuple(
        Change("lock", name, old.get(name, "absent"), new.get(name, "absent"))
        for name in names
        if old.get(name) != new.get(name)
    )


def sizes(found: Sequence[Measured]) -> list[Size]:
    """What would do for each step, by what it took: a quarter more memory, and as many cores as it kept busy."""
    by_step: dict[str, list[Measured]] = {}
    for each in found:
        by_step.setdefault(each.step, []).append(each)
    return [_size(step, rows) for step, rows in sorted(by_step.items())]


def _size(step: str, rows: Sequence[Measured]) -> Size:
    asks = rows[-1].asks
    busy = max((row.cpu_s / row.seconds for row in rows if row.seconds >= 1.0), default=0.0)
    took = Resources(round(busy, 2), max(row.memory for row in rows))
    enough = Resources(float(math.ceil(busy - 0.1)), math.ceil(took.memory * 1.25 / 2**26) * 2**26, asks.gpu)
    hints = []
    if asks.memory and not took.memory <= asks.memory <= 2 * enough.memory:
        hints.append(f'memory="{size_text(enough.memory)}" would do, it asks for {size_text(asks.memory)}')
    if asks.cpu and (asks.cpu > enough.cpu + 1 or asks.cpu < busy - 0.5):
        hints.append(f"cpu={enough.cpu:g} would do, it asks for {asks.cpu:g}")
    return Size(step=step, runs=len(rows), asks=asks, took=took, enough=enough, hint="; ".join(hints))
