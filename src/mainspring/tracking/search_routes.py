"""Searches, comparisons and saved views over HTTP."""

from __future__ import annotations

from dataclasses import field

from litestar import delete, get, put

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.tracking.comparing import MAX_COMPARED, Comparison, compared, plain_run
from mainspring.tracking.grammar import RUNS, read_fields
from mainspring.tracking.model import Completion, KnownKeys, RunGroups, View
from mainspring.tracking.searching import MORE, Search
from mainspring.tracking.service import Tracking
from mainspring.tracking.views import Views

_READ = {"permission": "runs:read"}
_WRITE = {"permission": "runs:write"}


@dataclass(frozen=True, slots=True)
class FoundRuns:
    """A page of runs; `next_page_token` asks for the next page and is "" on the last."""

    runs: list[dict[str, object]]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class NewView:
    """What a view is."""

    experiment: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    columns: tuple[str, ...] = field(default_factory=tuple)


@get("/api/v1/runs", opt=_READ, sync_to_thread=True)
def list_runs(
    search: Search,
    experiment: list[str] | None = None,
    filter: str = "",
    order_by: str = "",
    fields: str = "",
    view: str = "active",
    limit: int = 100,
    page_token: str = "",
) -> FoundRuns:
    """Search runs by a filter such as `metrics.loss < 0.1`; without an order the newest come first."""
    page = search.runs(
        search.named(experiment) if experiment else None,
        filter,
        view=view,
        order_by=[order_by] if order_by else [],
        limit=limit,
        page_token=page_token,
        fields=fields,
    )
    asked = read_fields(fields, RUNS, MORE)
    return FoundRuns([plain_run(run, asked) for run in page.items], page.next_token)


@get("/api/v1/runs/groups", opt=_READ, sync_to_thread=True)
def group_runs(
    search: Search,
    by: str,
    experiment: list[str] | None = None,
    filter: str = "",
    view: str = "active",
    metric: list[str] | None = None,
) -> RunGroups:
    """Count runs by their value of a field such as `params.depth`, with the means of the metrics that are named."""
    ids = search.named(experiment) if experiment else None
    return search.groups(ids, by, filter, view=view, metrics=metric or ())


@get("/api/v1/runs/compare", opt=_READ, sync_to_thread=True)
def compare_runs(tracking: Tracking, run: list[str] | None = None) -> Comparison:
    """Where runs differ in params, metrics, data, code and environment; name each with `run=ID`."""
    if len(run or ()) > MAX_COMPARED:
        raise Invalid(f"{len(run or ())} runs", where="run", hint=f"name at most {MAX_COMPARED} of them")
    return compared([tracking.get(run_id) for run_id in run or ()])


@get("/api/v1/search-keys", opt=_READ, sync_to_thread=True)
def list_keys(search: Search, experiment: list[str] | None = None) -> KnownKeys:
    """The names of metrics, params and tags that runs logged, to complete a filter with."""
    return search.keys(search.named(experiment) if experiment else None)


@get("/api/v1/search-completions", opt=_READ, sync_to_thread=True)
def complete_filter(search: Search, filter: str = "", experiment: list[str] | None = None) -> list[Completion]:
    """How a filter that is being written may go on: names, operators, and values that there are."""
    return search.completions(search.named(experiment) if experiment else None, filter)


@get("/api/v1/views", opt=_READ, sync_to_thread=True)
def list_views(views: Views) -> list[View]:
    """Saved views by name."""
    return views.list()


@get("/api/v1/views/{name:str}", opt=_READ, sync_to_thread=True)
def show_view(views: Views, name: str) -> View:
    """One saved view."""
    return views.get(name)


@put("/api/v1/views/{name:str}", opt=_WRITE, sync_to_thread=True)
def save_view(views: Views, name: str, data: NewView) -> View:
    """Keep a search of runs under a name; the same name again replaces it."""
    return views.save(View(name, data.experiment, data.filter, data.order_by, data.columns))


@delete("/api/v1/views/{name:str}", opt=_WRITE, sync_to_thread=True)
def remove_view(views: Views, name: str) -> None:
    """Delete a saved view."""
    views.remove(name)


handlers = [
    list_runs,
    group_runs,
    compare_runs,
    list_keys,
    complete_filter,
    list_views,
    show_view,
    save_view,
    remove_view,
]
