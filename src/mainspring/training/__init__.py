"""Training: many families of models on the same folds of the same rows, and a leaderboard of what came of it.

Nouns: leaderboard, candidate, family. Invariants: every candidate of a leaderboard is measured on the same folds, on
rows that it was not trained on; sealed rows are opened only when that was asked for, and each time is counted; a
measured candidate is stored before the next one starts, so a leaderboard that is killed goes on where it was.

The families are in `families/`, one file each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.training.model import Candidate, CandidateState, Leaderboard, LeaderboardState, TrainRequest

if TYPE_CHECKING:
    from mainspring.training.service import Training

__all__ = ["Candidate", "CandidateState", "Leaderboard", "LeaderboardState", "TrainRequest", "Training"]


def __getattr__(name: str) -> object:
    if name != "Training":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mainspring.training.service import Training

    return Training
