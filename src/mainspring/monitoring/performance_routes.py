"""Performance over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from mainspring.core.values import dataclass
from mainspring.data import DatasetVersion
from mainspring.monitoring.performances import FeedbackWindow, Performance, SegmentPerformance, WorstSlices
from mainspring.monitoring.performing import Performing

_READ = {"permission": "monitors:read"}
_WRITE = {"permission": "monitors:write"}


@dataclass(frozen=True, slots=True)
class Export:
    """Where labelled predictions go: the name of a dataset, and the earliest event time (0: all)."""

    dataset: str
    since: int = 0


@get("/api/v1/monitors/{deployment:str}/performance", opt=_READ, sync_to_thread=True)
def show_performance(
    performing: NamedDependency[Performing],
    deployment: str,
    by: str = "day",
    segment: str = "",
    version: int = 0,
    since: int = 0,
    until: int = 0,
    windows: Annotated[int, QueryParameter(ge=1, le=400)] = 60,
) -> Performance:
    """Realized and estimated performance of a version (0: the live one), in all rows or a segment."""
    return performing.performance(
        deployment, by=by, segment=segment, version=version, since=since, until=until, windows=windows
    )


@get("/api/v1/monitors/{deployment:str}/segments", opt=_READ, sync_to_thread=True)
def list_segments(
    performing: NamedDependency[Performing], deployment: str, version: int = 0, since: int = 0
) -> list[SegmentPerformance]:
    """Performance of each declared segment."""
    return performing.segments(deployment, version=version, since=since)


@get("/api/v1/monitors/{deployment:str}/slices", opt=_READ, sync_to_thread=True)
def worst_slices(
    performing: NamedDependency[Performing],
    deployment: str,
    version: int = 0,
    days: Annotated[int, QueryParameter(ge=1, le=3660)] = 30,
) -> WorstSlices:
    """Where a version is worst, with the false discoveries under control."""
    return performing.worst(deployment, version=version, days=days)


@get("/api/v1/monitors/{deployment:str}/feedback", opt=_READ, sync_to_thread=True)
def list_feedback_windows(
    performing: NamedDependency[Performing], deployment: str, by: str = "day", since: int = 0
) -> list[FeedbackWindow]:
    """What people said of predictions besides labels: how many, how often, and the mean of what is a number."""
    return performing.feedback(deployment, by=by, since=since)


@post("/api/v1/monitors/{deployment:str}/export", opt=_WRITE, sync_to_thread=True, status_code=201)
def export_labelled(performing: NamedDependency[Performing], deployment: str, data: Export) -> DatasetVersion:
    """Store labelled and corrected predictions as a version of a dataset."""
    return performing.export(deployment, data.dataset, since=data.since or None)


handlers = [show_performance, list_segments, worst_slices, list_feedback_windows, export_labelled]
