"""The screens of searches: all of them with a form for another one, and one with its trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Template

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.pipelines.search.model import Study, Trial
from mainspring.pipelines.search.service import Searches

_READ = {"permission": "pipelines:read"}
_WRITE = {"permission": "pipelines:write"}
_ROWS = 100
_AXES = 8
_LINES = 500
Axis = float | str | None


@get("/searches", opt=_READ, sync_to_thread=True, include_in_schema=False)
def searches_page(searches: Searches, pipeline: str = "", before: int = 0) -> Template:
    """Searches, newest first."""
    studies = searches.studies(pipeline, before=before, limit=_ROWS)
    following = studies[-1].created_at if len(studies) == _ROWS else 0
    rows = [(study, searches.best(study)) for study in studies]
    known = [*searches.sections(), *dict.fromkeys(study.target for study in studies)]
    context = {"rows": rows, "pipeline": pipeline, "following": following, "known": known}
    return Template("pipelines/page/searches.html", context=context)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person filled in; what is left empty is as declared."""

    target: str
    trials: str = ""
    parallel: str = ""


@post("/searches", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def start_page(
    searches: Searches, data: Annotated[Wanted, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    """Start a search, and show it."""
    changes = {"trials": _count(data.trials, "trials"), "parallel": _count(data.parallel, "parallel")}
    said = {name: value for name, value in changes.items() if value is not None}
    study = searches.start(data.target.strip(), said, queue=True, confined=True)
    return Redirect(f"/searches/{study.id}", status_code=303)


@get("/searches/{study:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def search_page(searches: Searches, study: str) -> Template:
    """One search: how it went, which parameters gave what, and every trial."""
    found = searches.get(study)
    context = {
        "study": found,
        "best": searches.best(found),
        "histories": [(name, history(found, name)) for name in found.search.objective],
        "axes": axes_of(found),
        "front": front(found),
    }
    return Template("pipelines/page/search.html", context=context)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a search, on its page."""

    do: str
    reason: str = ""
    trials: str = ""


@post("/searches/{study:str}", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def steer_page(
    searches: Searches, study: str, data: Annotated[Wish, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    """Stop a search and its trials, or go on with it, and show it."""
    if data.do == "cancel":
        searches.cancel(study, reason=data.reason)
    elif data.do == "resume":
        searches.resume(study, trials=_count(data.trials, "trials") or 0, queue=True)
    else:
        raise Invalid(f"{data.do!r} is nothing to do with a search", where="do", hint="use cancel or resume")
    return Redirect(f"/searches/{study}", status_code=303)


def _count(text: str, where: str) -> int | None:
    """A number that was typed in; None for an empty field."""
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise Invalid(f"{text!r} is no whole number", where=where, hint="write one like 20") from None


def history(study: Study, metric: str) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The value of each trial by its number, and the best value so far."""
    points = [(float(trial.number), trial.values[metric]) for trial in study.trials if metric in trial.values]
    pick = max if study.search.objective[metric] == "maximize" else min
    best: list[tuple[float, float]] = []
    for number, value in points:
        best.append((number, pick(value, best[-1][1]) if best else value))
    return points, best


def axes_of(study: Study) -> tuple[list[str], list[list[Axis]]]:
    """The axes of parallel coordinates, searched parameters and then the first metric, and a line for each trial."""
    metric = next(iter(study.search.objective))
    names = [*study.search.space][:_AXES]
    done = [trial for trial in study.trials if metric in trial.values][-_LINES:]
    return [*names, metric], [[*(_axis(trial, name) for name in names), trial.values[metric]] for trial in done]


def front(study: Study) -> Sequence[tuple[float, float, str]]:
    """Trials by their first two objectives; none when there is one objective."""
    if len(study.search.objective) < 2:
        return []
    one, two = [*study.search.objective][:2]
    done = [trial for trial in study.trials if {one, two} <= set(trial.values)]
    return [(trial.values[one], trial.values[two], str(trial.number)) for trial in done]


def _axis(trial: Trial, name: str) -> Axis:
    value = trial.params.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
        return str(value)
    return value


handlers = [searches_page, start_page, search_page, steer_page]
