"""Training over HTTP."""

from __future__ import annotations

from litestar import get, post

from mainspring.core.values import dataclass
from mainspring.training.model import Leaderboard, TrainRequest
from mainspring.training.service import Training

_READ = {"permission": "training:read"}
_WRITE = {"permission": "training:write"}


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Why a leaderboard is cancelled."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """How many seconds a leaderboard gets on top of its budget."""

    budget_s: float = 0.0


@get("/api/v1/leaderboards", opt=_READ, sync_to_thread=True)
def list_leaderboards(training: Training, dataset: str = "", before: int = 0, limit: int = 100) -> list[Leaderboard]:
    """Leaderboards, newest first; for the next page pass the last one's `created_at` as `before`."""
    return training.leaderboards(dataset, before=before, limit=limit)


@post("/api/v1/leaderboards", opt=_WRITE, sync_to_thread=True)
def start_leaderboard(training: Training, data: TrainRequest) -> Leaderboard:
    """Look at the rows and put a leaderboard on the queue."""
    return training.start(data)


@get("/api/v1/leaderboards/{leaderboard:str}", opt=_READ, sync_to_thread=True)
def show_leaderboard(training: Training, leaderboard: str) -> Leaderboard:
    """One leaderboard with its candidates, the best first."""
    return training.get(leaderboard)


@post("/api/v1/leaderboards/{leaderboard:str}/cancel", opt=_WRITE, sync_to_thread=True, status_code=200)
def cancel_leaderboard(training: Training, leaderboard: str, data: StopRequest) -> Leaderboard:
    """Stop a leaderboard; what was measured stays."""
    training.cancel(leaderboard, reason=data.reason)
    return training.get(leaderboard)


@post("/api/v1/leaderboards/{leaderboard:str}/resume", opt=_WRITE, sync_to_thread=True, status_code=200)
def resume_leaderboard(training: Training, leaderboard: str, data: ResumeRequest) -> Leaderboard:
    """Go on with a leaderboard that failed, was cancelled or ran out of time."""
    return training.resume(leaderboard, budget_s=data.budget_s)


handlers = [list_leaderboards, start_leaderboard, show_leaderboard, cancel_leaderboard, resume_leaderboard]
