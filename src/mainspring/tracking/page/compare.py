"""Runs beside each other: what differs in params, data, code and environment, and their curves over one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Annotated

from litestar import get
from litestar.params import Parameter
from litestar.response import Template

from mainspring.core.errors import Invalid
from mainspring.tracking.model import Run
from mainspring.tracking.page.columns import number_of
from mainspring.tracking.page.run import READ, SMOOTHING, Look
from mainspring.tracking.rules import differences
from mainspring.tracking.service import Tracking

MOST = 20
"""How many runs are compared at once."""
_CHARTS = 12
_AXES = 8
_DIFF_LINES = 400
_RECORDED = ("Code", "Environment", "Packages")
"""What is recorded whole or not at all."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one kind: a name, and what each run has there (None: nothing)."""

    title: str
    rows: dict[str, tuple[object, ...]]
    same: int


@get("/runs/compare", opt=READ, sync_to_thread=True, include_in_schema=False)
def compare_page(
    tracking: Tracking,
    run: Annotated[list[str] | None, Parameter(required=False)] = None,
    everything: bool = False,
    metric: str = "",
    smooth: str = "0",
    scale: str = "linear",
    against: str = "step",
) -> Template:
    """Some runs beside each other; only what differs, unless `everything` is asked for."""
    ids = list(dict.fromkeys(run or ()))
    if not ids:
        return Template("tracking/page/nothing.html")
    if not 2 <= len(ids) <= MOST:
        hint = "tick runs in the table of runs and compare them"
        raise Invalid(f"{len(ids)} runs were named", where="run", hint=f"{hint}; 2 to {MOST} at a time")
    runs = [tracking.get(run_id) for run_id in ids]
    look = Look.of(smooth, scale, against)
    metrics = sorted({key for one in runs for key in one.metrics})
    aim = metric if metric in metrics else next(iter(metrics), "")
    context = {
        "runs": runs,
        "parts": [part for part in _parts(runs, everything=everything) if part.rows],
        "everything": everything,
        "charts": _charts(tracking, runs, metrics, look),
        "metrics": metrics,
        "aim": aim,
        "axes": axes_of(runs, aim),
        "look": look,
        "smoothing": SMOOTHING,
        "code": _code(runs),
    }
    return Template("tracking/page/compare.html", context=context)


def axes_of(runs: Sequence[Run], aim: str) -> tuple[list[str], list[list[float | str | None]]]:
    """The axes of parallel coordinates and each run's values: params in which the runs differ, then a metric.

    Params that are numbers in every run that has them are axes of numbers; none at all when nothing differs.
    """
    differing = list(differences([one.params for one in runs]))[:_AXES]
    if not aim or not differing:
        return [], []
    columns = [_column([one.params.get(key) for one in runs]) for key in differing]
    last: list[float | str | None] = [one.metrics[aim].value if aim in one.metrics else None for one in runs]
    return [*differing, aim], [list(row) for row in zip(*columns, last, strict=True)]


def _column(texts: Sequence[str | None]) -> list[float | str | None]:
    numbers = [number_of(text) for text in texts]
    return list(texts) if any(isinstance(entry, str) for entry in numbers) else numbers


def _parts(runs: Sequence[Run], *, everything: bool) -> list[Part]:
    sides: list[tuple[str, list[Mapping[str, object]]]] = [
        ("Metrics", [{key: point.value for key, point in one.metrics.items()} for one in runs]),
        ("Params", [one.params for one in runs]),
        ("Data", [{entry.context or "input": entry.dataset for entry in one.inputs} for one in runs]),
        ("Tags", [one.tags for one in runs]),
        ("Code", [_place(one) for one in runs]),
        ("Environment", [_machine(one) for one in runs]),
        ("Packages", [one.environment.packages if one.environment else {} for one in runs]),
    ]
    return [_part(title, found, everything=everything) for title, found in sides]


def _part(title: str, sides: Sequence[Mapping[str, object]], *, everything: bool) -> Part:
    """The rows of a kind. A run of which nothing of a recorded kind is known makes no row different."""
    differing = differences([side for side in sides if side or title not in _RECORDED])
    keys = sorted({key for side in sides for key in side})
    shown = keys if everything else [key for key in keys if key in differing]
    return Part(title, {key: tuple(side.get(key) for side in sides) for key in shown}, len(keys) - len(differing))


def _place(run: Run) -> dict[str, object]:
    if run.code is None:
        return {}
    found = {"commit": run.code.commit, "branch": run.code.branch, "entry": run.code.entry}
    return {**found, "uncommitted changes": "yes" if run.code.dirty else "no", "seed": run.seed}


def _machine(run: Run) -> dict[str, object]:
    if run.environment is None:
        return {}
    there = run.environment
    return {"python": there.python, "platform": there.platform, "CPUs": there.cpus, "GPUs": ", ".join(there.gpus)}


def _charts(tracking: Tracking, runs: Sequence[Run], metrics: Sequence[str], look: Look) -> list[dict[str, object]]:
    charts: list[dict[str, object]] = []
    for key in metrics:
        if len(charts) == _CHARTS:
            break
        histories = [tracking.history(one.id, key) if key in one.metrics else [] for one in runs]
        if max(len(points) for points in histories) > 1:
            drawn = [look.drawn(points, one.started_at) for one, points in zip(runs, histories, strict=True)]
            charts.append({"key": key, "curves": drawn})
    return charts


def _code(runs: Sequence[Run]) -> str:
    """How the uncommitted changes of the last run differ from those of the first, when both were kept."""
    first, last = runs[0].code, runs[-1].code
    if first is None or last is None or first.diff == last.diff:
        return ""
    lines = unified_diff(
        first.diff.splitlines(),
        last.diff.splitlines(),
        f"changes of {runs[0].name}",
        f"changes of {runs[-1].name}",
        lineterm="",
    )
    return "\n".join(line for line, _ in zip(lines, range(_DIFF_LINES), strict=False))
