"""Decisions about searches: what a declaration means, what the value of a run is, and which trials are best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import cast

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.pipelines.model import Json
from mainspring.pipelines.search.model import Choice, Range, Search, Space, Trial, TrialState

_TYPES: Mapping[str, type] = {
    "trials": int,
    "parallel": int,
    "retries": int,
    "seed": int,
    "sampler": str,
    "prune": str,
}
_WHOLE = 2**53
"""The largest whole number that samplers tell from its neighbours."""
_RANGE = ("low", "high", "log", "step")
_SCALARS = (str, int, float, bool, type(None))


def search_of(plain: Mapping[str, object], *, where: str) -> Search:
    """A search as it is declared.

    Raises:
        Invalid: A name is unknown, or a value is none that can be searched.

    >>> search_of({"space": {"n": [1, 2]}, "objective": {"loss": "minimize"}}, where="search").space["n"]
    Choice(values=(1, 2))
    """
    known = [entry.name for entry in fields(Search)]
    for name in plain:
        if name not in known:
            hint = did_you_mean(name, known) or "known are " + ", ".join(known)
            raise Invalid(f"unknown setting {name!r}", where=where, hint=hint)
    space, objective = plain.get("space", {}), plain.get("objective", {})
    if not isinstance(space, Mapping):
        raise Invalid("the space is no table", where=f"{where}.space", hint="write parameter = [..] or { low, high }")
    if isinstance(objective, str):
        raise Invalid(
            "the objective has no direction", where=f"{where}.objective", hint=f'{{ {objective} = "maximize" }}'
        )
    if not isinstance(objective, Mapping):
        raise Invalid("the objective is no table", where=f"{where}.objective", hint='{ roc_auc = "maximize" }')
    for name, kind in _TYPES.items():
        value = plain.get(name, kind())
        if type(value) is not kind:
            raise Invalid(f"{value!r} is no {kind.__name__}", where=f"{where}.{name}", hint=f"see {where}")
    for name in ("params", "winner"):
        if not isinstance(plain.get(name, {}), Mapping):
            raise Invalid(f"{name} is no table", where=f"{where}.{name}", hint="write { name = value }")
    parted = {str(name): _dimension(value, f"{where}.space.{name}") for name, value in space.items()}
    aims = {str(name): str(way) for name, way in objective.items()}
    try:
        return Search(**{**plain, "space": parted, "objective": aims})  # type: ignore[arg-type]
    except Invalid as reason:
        raise Invalid(reason.what, where=f"{where}.{reason.where.removeprefix('search ')}", hint=reason.hint) from None


def to_plain(search: Search) -> dict[str, object]:
    """A search as JSON values, which `of_plain` reads.

    >>> made = search_of({"space": {"n": [1, 2]}, "objective": {"loss": "minimize"}}, where="search")
    >>> of_plain(to_plain(made)) == made
    True
    """
    return {**asdict(search), "space": {name: asdict(each) for name, each in search.space.items()}}


def of_plain(plain: Mapping[str, object]) -> Search:
    """The search that `to_plain` wrote."""
    space = cast("Mapping[str, dict[str, object]]", plain["space"])
    parted = {name: _parted(each) for name, each in space.items()}
    return Search(**{**plain, "space": parted})  # type: ignore[arg-type]


def _parted(plain: dict[str, object]) -> Range | Choice:
    if "values" in plain:
        return Choice(tuple(cast("Sequence[str]", plain["values"])))
    return Range(**plain)  # type: ignore[arg-type]


def _dimension(value: object, where: str) -> Range | Choice:
    if isinstance(value, (Range, Choice)):
        return value
    if isinstance(value, (list, tuple)):
        return _choice(value, where)
    if not isinstance(value, Mapping):
        raise Invalid(f"{value!r} is no range and no list", where=where, hint="write { low = 1, high = 9 } or [1, 2]")
    for name in value:
        if name not in _RANGE:
            hint = did_you_mean(str(name), _RANGE) or "known are " + ", ".join(_RANGE)
            raise Invalid(f"unknown setting {name!r}", where=where, hint=hint)
    low, high, log, step = value.get("low"), value.get("high"), value.get("log", False), value.get("step")
    if not (_is_number(low) and _is_number(high)) or not (step is None or _is_number(step)) or type(log) is not bool:
        hint = "write { low = 0.01, high = 0.3, log = true }; whole numbers go up to 2**53"
        raise Invalid("a range has numbers", where=where, hint=hint)
    return check_range(Range(low, high, log, step), where)  # type: ignore[arg-type]


def _choice(values: Sequence[object], where: str) -> Choice:
    if not values or not all(isinstance(each, _SCALARS) for each in values):
        raise Invalid("a list has one or more plain values", where=where, hint='write ["a", "b"] or [1, 2]')
    return Choice(tuple(values))  # type: ignore[arg-type]


def check_range(found: Range, where: str) -> Range:
    """Return a range that can be drawn from.

    Raises:
        Invalid: Its ends are the wrong way round, or log and step do not fit it.
    """
    if not found.low < found.high:
        raise Invalid(f"low {found.low:g} is not below high {found.high:g}", where=where, hint="turn them round")
    if found.log and found.low <= 0:
        raise Invalid(f"a logarithm of {found.low:g}", where=where, hint="use low above 0, or take out log")
    if found.step is not None and (found.log or not 0 < found.step <= found.high - found.low):
        hint = "use a step above 0 that fits between low and high, without log"
        raise Invalid(f"a step of {found.step:g}", where=where, hint=hint)
    return found


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= _WHOLE


def corners(space: Space) -> list[tuple[str, Json]]:
    """A value from each end of every range and each entry of every list, with its parameter: to try whether they fit.

    >>> corners({"n": Range(1, 9)})
    [('n', 1), ('n', 9)]
    """
    found: list[tuple[str, Json]] = []
    for name, each in space.items():
        found += [(name, value) for value in (each.values if isinstance(each, Choice) else (each.low, each.high))]
    return found


def value_in(result: Json, metric: str) -> float | None:
    """A metric in what a pipeline returned: under its name, a path with dots, or below "metrics".

    >>> value_in({"metrics": {"auc": 0.9}, "size": 3}, "auc"), value_in(0.5, "loss"), value_in({"size": 3}, "auc")
    (0.9, 0.5, None)
    """
    if _is_number(result):
        return float(result)  # type: ignore[arg-type]
    if not isinstance(result, Mapping):
        return None
    for path in ([metric], metric.split("."), ["metrics", metric]):
        found: Json = result
        for part in path:
            found = found.get(part) if isinstance(found, Mapping) else None
        if _is_number(found):
            return float(found)  # type: ignore[arg-type]
    return None


def best_of(trials: Sequence[Trial], objective: Mapping[str, str]) -> list[Trial]:
    """The trials that no other is better than: one, the earliest of equals; of several objectives the Pareto front.

    >>> made = [Trial(number=n, state=TrialState.FINISHED, params={}, values={"a": a}) for n, a in enumerate((1, 3, 2))]
    >>> [trial.number for trial in best_of(made, {"a": "maximize"})]
    [1]
    """
    done = [trial for trial in trials if trial.state is TrialState.FINISHED and set(objective) <= set(trial.values)]
    signs = {name: -1.0 if way == "maximize" else 1.0 for name, way in objective.items()}
    costs = {trial.number: tuple(signs[name] * trial.values[name] for name in objective) for trial in done}
    if len(objective) == 1:
        return sorted(done, key=lambda trial: (costs[trial.number], trial.number))[:1]
    return [trial for trial in done if not any(_dominates(other, costs[trial.number]) for other in costs.values())]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
