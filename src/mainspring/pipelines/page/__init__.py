"""The screens of pipelines: runs, one run with its graph, and the queues with their workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Template

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.pipelines.model import PipelineRun, StepRun, StepState
from mainspring.pipelines.page import searches
from mainspring.pipelines.page.dag import LONG, MOST_DRAWN, draw
from mainspring.pipelines.queues import Queues
from mainspring.pipelines.service import Pipelines

_READ = {"permission": "pipelines:read"}
_WRITE = {"permission": "pipelines:write"}
_APPROVE = {"permission": "approvals:write"}
_ROWS = 100
_LOG_SHOWN = 20_000
_URGENT = (StepState.FAILED, StepState.ASKED, StepState.RUNNING)


@get("/pipelines", opt=_READ, sync_to_thread=True, include_in_schema=False)
def pipelines_page(pipelines: NamedDependency[Pipelines], pipeline: str = "", before: int = 0) -> Template:
    """Runs of pipelines, newest first."""
    runs = pipelines.runs(pipeline, before=before, limit=_ROWS)
    following = runs[-1].created_at if len(runs) == _ROWS else 0
    sizes = pipelines.sizes(pipeline) if pipeline else []
    context = {"section": "pipelines", "runs": runs, "pipeline": pipeline, "following": following, "sizes": sizes}
    return Template("pipelines/page/list.html", context=context)


@get("/pipeline-runs/{run_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def run_page(
    pipelines: NamedDependency[Pipelines], run_id: str, step: str = "", only: str = "", first: int = 0
) -> Template:
    """One run: its graph, its result, and each step with its time, its reason and its log."""
    run = pipelines.outline(run_id)
    inner: dict[str, list[StepRun]] = {}
    for each in run.steps:
        inner.setdefault(each.parent, []).append(each)
    tops = inner.get("", [])
    shown = _shown(run.steps, step)
    if len(tops) > MOST_DRAWN or step:
        shown = [pipelines.step(run_id, each.id) for each in shown]
    steps = [
        {
            "step": each,
            "why": pipelines.explain(run, each) if each.parts else None,
            "log": pipelines.text(run, each)[-_LOG_SHOWN:],
            "metrics": pipelines.metrics(each.source) if each.source else {},
            "items": _in_reach(inner.get(each.id, []), 0),
            "states": Counter(item.state.value for item in inner.get(each.id, [])),
        }
        for each in shown
    ]
    context = {
        "section": "pipelines",
        "run": run,
        "steps": steps,
        "graph": draw(run.steps, run.pipeline),
        "hidden": len(tops) - len(shown),
        "rows": _in_reach([each for each in tops if only in ("", each.state)], first) if len(tops) > MOST_DRAWN else [],
        "states": Counter(each.state.value for each in tops),
        "only": only,
        "first": first,
        "size": _ROWS,
    }
    return Template("pipelines/page/run.html", context=context)


def _in_reach(steps: Sequence[StepRun], first: int) -> Sequence[StepRun]:
    """A page of a long list; from its start, those that want attention come first."""
    if first <= 0:
        steps = sorted(steps, key=lambda each: each.state not in _URGENT)
    return steps[max(first, 0) : max(first, 0) + _ROWS]


def _shown(steps: Sequence[StepRun], wanted: str) -> list[StepRun]:
    tops = [each for each in steps if not each.parent]
    if len(tops) > LONG:
        tops = [each for each in tops if each.state in _URGENT and each.id != wanted][: LONG - 1]
    named = [each for each in steps if each.id == wanted and each not in tops]
    return [*named, *tops]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a run, on its page."""

    do: str
    step: str = ""
    comment: str = ""


@post("/pipeline-runs/{run_id:str}", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def steer_page(
    pipelines: NamedDependency[Pipelines],
    run_id: str,
    data: Annotated[Wish, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Redirect:
    """Cancel, pause or resume a run, and show it."""
    _steer(pipelines, pipelines.get(run_id), data)
    return Redirect(f"/pipeline-runs/{run_id}", status_code=303)


@post("/pipeline-runs/{run_id:str}/answer", opt=_APPROVE, sync_to_thread=True, include_in_schema=False)
def answer_page(
    pipelines: NamedDependency[Pipelines],
    run_id: str,
    data: Annotated[Wish, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Redirect:
    """Answer what a run asks, and show it."""
    if data.do not in ("approve", "refuse"):
        raise Invalid(f"{data.do!r} is no answer", where="do", hint="use approve or refuse")
    run = pipelines.get(run_id)
    pipelines.steering.answer(run, data.step, approve=data.do == "approve", comment=data.comment)
    return Redirect(f"/pipeline-runs/{run_id}", status_code=303)


@get("/queues", opt=_READ, sync_to_thread=True, include_in_schema=False)
def queues_page(queues: NamedDependency[Queues]) -> Template:
    """Queues with their modes, limits and dead letters, and the workers that take jobs."""
    context = {"section": "pipelines", "queues": queues.all(), "workers": queues.workers()}
    return Template("pipelines/page/queues.html", context=context)


@dataclass(frozen=True, slots=True)
class QueueWish:
    """What somebody wants of a queue, on the page."""

    mode: str = ""
    revive: str = ""


@post("/queues/{name:str}", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def queue_page(
    queues: NamedDependency[Queues],
    name: str,
    data: Annotated[QueueWish, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Redirect:
    """Stop or open a queue, or give a dead letter another chance, and show the queues."""
    if data.revive:
        queues.revive(data.revive)
    else:
        queues.set_mode(name, data.mode)
    return Redirect("/queues", status_code=303)


def _steer(pipelines: Pipelines, run: PipelineRun, wish: Wish) -> None:
    if wish.do == "cancel":
        pipelines.steering.cancel(run, reason=wish.comment)
    elif wish.do == "pause":
        pipelines.steering.pause(run)
    elif wish.do == "resume":
        pipelines.steering.resume(run)
    else:
        raise Invalid(f"{wish.do!r} is nothing to do with a run", where="do", hint="use cancel, pause or resume")


handlers = [pipelines_page, run_page, steer_page, answer_page, queues_page, queue_page, *searches.handlers]
