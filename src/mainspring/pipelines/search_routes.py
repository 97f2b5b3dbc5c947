"""Searches over HTTP. They are started where the pipeline is: by the command line."""

from __future__ import annotations

from dataclasses import dataclass

from litestar import get, post

from mainspring.pipelines.search.model import Study
from mainspring.pipelines.search.service import Searches

_READ = {"permission": "pipelines:read"}
_WRITE = {"permission": "pipelines:write"}


@dataclass(frozen=True, slots=True)
class StopSearch:
    """Why a search is cancelled."""

    reason: str = ""


@get("/api/v1/searches", opt=_READ, sync_to_thread=True)
def list_searches(searches: Searches, pipeline: str = "", before: int = 0, limit: int = 100) -> list[Study]:
    """Searches, newest first; for the next page pass the last one's `created_at` as `before`."""
    return searches.studies(pipeline, before=before, limit=limit)


@get("/api/v1/searches/{study:str}", opt=_READ, sync_to_thread=True)
def show_search(searches: Searches, study: str) -> Study:
    """One search with its trials."""
    return searches.get(study)


@post("/api/v1/searches/{study:str}/cancel", opt=_WRITE, sync_to_thread=True, status_code=200)
def cancel_search(searches: Searches, study: str, data: StopSearch) -> Study:
    """Stop a search and its trials; one that has ended stays as it is."""
    searches.cancel(study, reason=data.reason)
    return searches.get(study)


handlers = [list_searches, show_search, cancel_search]
