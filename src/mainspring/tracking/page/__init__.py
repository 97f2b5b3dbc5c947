"""The screens of tracking."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.tracking.rules import thinned
from mainspring.tracking.service import Tracking

_READ = {"permission": "runs:read"}
_ROWS = 100
_COLUMNS = 6
_POINTS = 400
_CURVES = 24
_DIFF_SHOWN = 20_000


@get("/runs", opt=_READ, sync_to_thread=True, include_in_schema=False)
def runs_page(tracking: Tracking, experiment: str = "", run_status: str = "", after: str = "") -> Template:
    """Runs with their latest metrics."""
    runs = tracking.search(experiment, status=run_status, limit=_ROWS, after=after)
    counts: dict[str, int] = {}
    for run in runs:
        for key in run.metrics:
            counts[key] = counts.get(key, 0) + 1
    context = {
        "runs": runs,
        "metrics": sorted(counts, key=lambda key: (-counts[key], key))[:_COLUMNS],
        "experiments": tracking.experiments(),
        "experiment": experiment,
        "following": runs[-1].id if len(runs) == _ROWS else "",
    }
    return Template("tracking/page/list.html", context=context)


@get("/runs/{run_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def run_page(tracking: Tracking, run_id: str) -> Template:
    """One run: curves, params, files, code, environment, data."""
    run = tracking.get(run_id)
    curves = []
    for key, last in list(run.metrics.items())[:_CURVES]:
        points = [(float(point.step), point.value) for point in tracking.history(run_id, key)]
        curves.append({"key": key, "last": last, "count": len(points), "points": thinned(points, _POINTS)})
    diff = run.code.diff if run.code else ""
    context = {
        "run": run,
        "curves": curves,
        "more": max(0, len(run.metrics) - _CURVES),
        "artifacts": tracking.artifacts(run_id),
        "diff": diff[:_DIFF_SHOWN],
        "diff_cut": len(diff) > _DIFF_SHOWN or bool(run.code and run.code.diff_cut),
    }
    return Template("tracking/page/run.html", context=context)


handlers = [runs_page, run_page]
