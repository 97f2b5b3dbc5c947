"""The screens of tracking."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.tracking.page.run import file_page, run_page
from mainspring.tracking.service import Tracking

_READ = {"permission": "runs:read"}
_ROWS = 100
_COLUMNS = 6


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


handlers = [runs_page, run_page, file_page]
