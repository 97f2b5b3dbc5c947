"""The screens of pipelines."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.pipelines.page.dag import draw
from mainspring.pipelines.service import Pipelines

_READ = {"permission": "pipelines:read"}
_ROWS = 100
_LOG_SHOWN = 20_000


@get("/pipelines", opt=_READ, sync_to_thread=True, include_in_schema=False)
def pipelines_page(pipelines: Pipelines, pipeline: str = "", before: int = 0) -> Template:
    """Runs of pipelines, newest first."""
    runs = pipelines.runs(pipeline, before=before, limit=_ROWS)
    following = runs[-1].created_at if len(runs) == _ROWS else 0
    context = {"section": "pipelines", "runs": runs, "pipeline": pipeline, "following": following}
    return Template("pipelines/page/list.html", context=context)


@get("/pipeline-runs/{run_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def run_page(pipelines: Pipelines, run_id: str) -> Template:
    """One run: its graph, its result, and each step with its time, its reason and its log."""
    run = pipelines.get(run_id)
    steps = [
        {
            "step": step,
            "why": pipelines.why(run_id, step.id) if step.parts else None,
            "log": pipelines.log(run_id, step.id)[-_LOG_SHOWN:],
        }
        for step in run.steps
    ]
    context = {"section": "pipelines", "run": run, "steps": steps, "graph": draw(run.steps, run.pipeline)}
    return Template("pipelines/page/run.html", context=context)


handlers = [pipelines_page, run_page]
