"""Runs beside each other: what differs in params, data, code and environment, and their curves over one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import get
from litestar.params import Parameter
from litestar.response import Template

from mainspring.core.errors import Invalid
from mainspring.tracking.comparing import compared
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


@get("/runs/compare", opt=READ, sync_to_thread=True, include_in_schema=False)
def compare_page(
    tracking: Tracking,
    run: Annotated[list[str] | None, Parameter(required=False)] = None,
    metric: str = "",
    smooth: str = "0",
    scale: str = "linear",
    against: str = "step",
) -> Template:
    """Some runs beside each other: what differs."""
    ids = list(dict.fromkeys(run or ()))
    if not ids:
        return Template("tracking/page/nothing.html")
    if not 2 <= len(ids) <= MOST:
        hint = "tick runs in the table of runs and compare them"
        raise Invalid(f"{len(ids)} runs were named", where="run", hint=f"{hint}; 2 to {MOST} at a time")
    runs = [tracking.get(run_id) for run_id in ids]
    look, found = Look.of(smooth, scale, against), compared(runs)
    metrics = sorted({key for one in runs for key in one.metrics})
    aim = metric if metric in metrics else next(iter(metrics), "")
    context = {
        "runs": runs,
        "parts": found.sections(),
        "changes": [_cut(change) for change in found.changes],
        "charts": _charts(tracking, runs, metrics, look),
        "metrics": metrics,
        "aim": aim,
        "axes": axes_of(runs, aim),
        "look": look,
        "smoothing": SMOOTHING,
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


def _cut(change: str) -> str:
    lines = change.splitlines()
    return change if len(lines) <= _DIFF_LINES else "\n".join([*lines[:_DIFF_LINES], "and more"])


def _charts(tracking: Tracking, runs: Sequence[Run], metrics: Sequence[str], look: Look) -> list[dict[str, object]]:
    charts: list[dict[str, object]] = []
    for key in metrics:
        if len(charts) == _CHARTS:
            break
        found = [tracking.curve(one.id, key) for one in runs]
        if max(len(curve.values) for curve in found) > 1:
            drawn = [look.drawn(curve, one.started_at) for one, curve in zip(runs, found, strict=True)]
            charts.append({"key": key, "curves": drawn})
    return charts
