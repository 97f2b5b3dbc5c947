"""Where runs differ, and runs as plain values. Nothing here reads."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.tracking.grammar.tree import ATTRIBUTES, Field
from mainspring.tracking.model import CodeState, InputDataset, Metric, Run
from mainspring.tracking.rules import differences
from mainspring.tracking.wire import number_or_word

Differences = dict[str, tuple[object, ...]]
MAX_COMPARED = 100
_PLAIN = ("id", "experiment", "experiment_id", "name", "parent", "status", "started_at", "ended_at", "seed")
_OF_RUN = (*_PLAIN, "created_by", "user_id")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where runs differ: for each thing that does, what it is in each of `runs`, None where it is missing.

    `changes` are unified diffs from the uncommitted changes of the first run to those of each other one.
    """

    runs: tuple[str, ...]
    attributes: Differences
    params: Differences
    metrics: Differences
    tags: Differences
    data: Differences
    code: Differences
    environment: Differences
    changes: tuple[str, ...]

    def sections(self) -> dict[str, Differences]:
        """The differences by what they are about, in the order to be read in."""
        names = ("attributes", "params", "metrics", "data", "code", "environment", "tags")
        return {name: found for name in names if (found := getattr(self, name))}


def compared(runs: Sequence[Run]) -> Comparison:
    """Where runs differ.

    Raises:
        Invalid: None, or too many.
    """
    if not 1 <= len(runs) <= MAX_COMPARED:
        raise Invalid(f"{len(runs)} runs", where="compare", hint=f"name 1 to {MAX_COMPARED} of them")
    return Comparison(
        runs=tuple(run.id for run in runs),
        attributes=differences(
            [{name: getattr(run, name) for name in ("experiment", "status", "seed")} for run in runs]
        ),
        params=differences([run.params for run in runs]),
        metrics=differences([{key: number_or_word(p.value) for key, p in run.metrics.items()} for run in runs]),
        tags=differences([run.tags for run in runs]),
        data=differences([_data(run) for run in runs]),
        code=_recorded([_code(run) for run in runs]),
        environment=_recorded([_environment(run) for run in runs]),
        changes=tuple(_change(runs[0], run) for run in runs[1:]),
    )


def _recorded(sides: Sequence[dict[str, object]]) -> Differences:
    """Differences of what is recorded whole or not at all: a run of which nothing is known makes nothing different."""
    differing = differences([side for side in sides if side])
    return {key: tuple(side.get(key) for side in sides) for key in differing}


def plain_run(run: Run, fields: Sequence[Field] = ()) -> dict[str, object]:
    """A run as plain JSON values: all of it but code and environment, or its id and the fields that are asked for."""
    if not fields:
        own: dict[str, object] = {name: getattr(run, name) for name in _OF_RUN}
        return {**own, "params": run.params, "tags": run.tags, "metrics": _points(run), "inputs": _inputs(run)}
    shown: dict[str, object] = {"id": run.id}
    for field in fields:
        name = field.key if field.entity == ATTRIBUTES else field.entity
        shown[name] = _part(run, field)
    return shown


def cell(run: Run, field: Field) -> object:
    """What a run has of a field, as one value: the number of a metric, the text of a param."""
    if field.entity == "metrics" and field.key:
        return run.metrics[field.key].value if field.key in run.metrics else None
    if field.entity in ("params", "tags") and field.key:
        return getattr(run, field.entity).get(field.key)
    found = _part(run, field)
    return " ".join(f"{key}={value}" for key, value in found.items()) if isinstance(found, dict) else found


def _part(run: Run, field: Field) -> object:
    if field.entity == ATTRIBUTES:
        return _attribute(run, field.key)
    if field.entity == "metrics":
        return _points(run)
    if field.entity == "inputs":
        return _inputs(run)
    found = getattr(run, field.entity)
    return asdict(found) if field.entity in ("code", "environment") and found is not None else found


def _attribute(run: Run, name: str) -> object:
    if name == "duration":
        return None if run.ended_at is None else (run.ended_at - run.started_at) / 1e6
    if name == "artifact_uri":
        return f"{run.location}/{run.id}/artifacts"
    return getattr(run, name)


def _points(run: Run) -> dict[str, dict[str, object]]:
    return {key: _point(point) for key, point in run.metrics.items()}


def _point(point: Metric) -> dict[str, object]:
    return {"key": point.key, "value": number_or_word(point.value), "step": point.step, "at": point.at}


def _inputs(run: Run) -> list[dict[str, str]]:
    return [{"dataset": entry.dataset, "context": entry.context} for entry in run.inputs]


def _data(run: Run) -> dict[str, object]:
    found: dict[str, list[str]] = {}
    for entry in run.inputs:
        purpose = f" ({entry.context})" if entry.context else ""
        found.setdefault(InputDataset.of(entry.dataset).name + purpose, []).append(entry.dataset)
    return {name: ", ".join(refs) for name, refs in found.items()}


def _code(run: Run) -> dict[str, object]:
    plain = {} if run.code is None else asdict(run.code)
    return {name: value for name, value in plain.items() if name not in ("diff", "diff_cut")}


def _environment(run: Run) -> dict[str, object]:
    if run.environment is None:
        return {}
    plain = asdict(run.environment)
    packages = plain.pop("packages")
    return {**plain, **{f"package {name}": version for name, version in packages.items()}}


def _change(first: Run, other: Run) -> str:
    before, after = ((run.code or CodeState()).diff.splitlines() for run in (first, other))
    return "\n".join(difflib.unified_diff(before, after, first.id, other.id, lineterm=""))
