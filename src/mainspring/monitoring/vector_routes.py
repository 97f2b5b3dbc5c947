"""Comparisons of whole vectors over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from mainspring.core.values import dataclass
from mainspring.monitoring.comparisons import VectorComparison
from mainspring.monitoring.service import Monitoring

_READ = {"permission": "monitors:read"}
_WRITE = {"permission": "monitors:write"}


@dataclass(frozen=True, slots=True)
class VectorsAsked:
    """A comparison that is on its way: id and state of its job, "queued" or "running"."""

    job: str
    state: str


@get("/api/v1/monitors/{deployment:str}/vectors", opt=_READ, sync_to_thread=True)
def list_vector_comparisons(
    monitoring: NamedDependency[Monitoring], deployment: str, limit: Annotated[int, QueryParameter(ge=1, le=400)] = 20
) -> list[VectorComparison]:
    """Energy distance and classifier of the vectors of windows against the training data, the newest window first."""
    return monitoring.vectors.kept(deployment, limit=limit)


@post("/api/v1/monitors/{deployment:str}/vectors", opt=_WRITE, sync_to_thread=True, status_code=202)
def compare_vectors(monitoring: NamedDependency[Monitoring], deployment: str) -> VectorsAsked:
    """Have the vectors of the latest window compared. It takes seconds: look at the list for what was found."""
    job = monitoring.vectors.ask(deployment)
    return VectorsAsked(job.id, str(job.state))


handlers = [list_vector_comparisons, compare_vectors]
