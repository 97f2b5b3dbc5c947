"""Searches over HTTP. A worker of the server drives what is started here."""

from __future__ import annotations

from dataclasses import field

from litestar import get, post

from mainspring.core.values import dataclass
from mainspring.pipelines.search.model import Study
from mainspring.pipelines.search.service import Searches

_READ = {"permission": "pipelines:read"}
_WRITE = {"permission": "pipelines:write"}


@dataclass(frozen=True, slots=True)
class StartSearch:
    """A pipeline to search: "path/to/file.py:function", "package.module:function" or the name of a `[search.NAME]`.

    `search` says what is other than declared, such as `{"trials": 50, "parallel": 4}`: `space`, `objective`, `trials`,
    `sampler`, `prune`, `parallel`, `retries`, `params`, `winner` and `seed`. `key` makes the request idempotent: the
    same key is the same search.
    """

    target: str
    search: dict[str, object] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True)
class ResumeSearch:
    """How many trials a search gets on top of those it has."""

    trials: int = 0


@dataclass(frozen=True, slots=True)
class StopSearch:
    """Why a search is cancelled."""

    reason: str = ""


@get("/api/v1/searches", opt=_READ, sync_to_thread=True)
def list_searches(searches: Searches, pipeline: str = "", before: int = 0, limit: int = 100) -> list[Study]:
    """Searches, newest first; for the next page pass the last one's `created_at` as `before`."""
    return searches.studies(pipeline, before=before, limit=limit)


@post("/api/v1/searches", opt=_WRITE, sync_to_thread=True)
def start_search(searches: Searches, data: StartSearch) -> Study:
    """Look at a pipeline and how it is to be searched, and put the search on the queue."""
    return searches.start(data.target, data.search, key=data.key, queue=True, confined=True)


@get("/api/v1/searches/{study:str}", opt=_READ, sync_to_thread=True)
def show_search(searches: Searches, study: str) -> Study:
    """One search with its trials."""
    return searches.get(study)


@post("/api/v1/searches/{study:str}/cancel", opt=_WRITE, sync_to_thread=True, status_code=200)
def cancel_search(searches: Searches, study: str, data: StopSearch) -> Study:
    """Stop a search and its trials; one that has ended stays as it is."""
    searches.cancel(study, reason=data.reason)
    return searches.get(study)


@post("/api/v1/searches/{study:str}/resume", opt=_WRITE, sync_to_thread=True, status_code=200)
def resume_search(searches: Searches, study: str, data: ResumeSearch) -> Study:
    """Go on with a search that failed, was cancelled, lost its process, or is to have more trials."""
    return searches.resume(study, trials=data.trials, queue=True)


handlers = [list_searches, start_search, show_search, cancel_search, resume_search]
