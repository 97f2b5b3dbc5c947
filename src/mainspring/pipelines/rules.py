"""Decisions about graphs, keys and retries. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mainspring.core.errors import Invalid
from mainspring.pipelines.model import Artifact, Change, Json, KeyParts, StepRun, StepState

MAX_RETRY_S = 300.0
"""The longest wait before a step is tried again."""


def order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Steps in an order in which each comes after all that it needs; otherwise in the order given.

    Raises:
        Invalid: A step needs itself by some way (the way is named), or needs a step that is not there.

    >>> order({"b": ["a"], "a": []})
    ['a', 'b']
    """
    done: dict[str, None] = {}

    def visit(step: str, path: tuple[str, ...]) -> None:
        if step in done:
            return
        if step not in needs:
            raise Invalid(f"step {path[-1]} needs {step}, which is not in the pipeline", where=f"step {path[-1]}")
        if step in path:
            way = " -> ".join((*path[path.index(step) :], step))
            raise Invalid(f"the steps need each other: {way}", where="pipeline", hint="cut one of these arrows")
        for other in needs[step]:
            visit(other, (*path, step))
        done[step] = None

    for step in needs:
        visit(step, ())
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


def retry_delay_s(attempt: int, first_s: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): doubling, at most five minutes.

    >>> [retry_delay_s(n, 1.0) for n in (1, 2, 3)]
    [1.0, 2.0, 4.0]
    """
    return min(first_s * 2.0 ** min(attempt - 1, 60), MAX_RETRY_S)


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
