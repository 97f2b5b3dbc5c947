"""Decisions of training: what is tried, who goes on, what fits into the budget. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.training.model import HIGHER, METRICS, Candidate, CandidateState, Estimate

FEW_ROWS = 4_000
"""With so many training rows or fewer every configuration is measured in full; with more there is a round on few."""
ROUND_SHARE = 6
"""The first round has one row in so many, of one fold."""
LEAST_ROWS = 50


def check_metric(metric: str, task: str) -> str:
    """The metric a leaderboard of this task is ordered by; the usual one when none is named.

    Raises:
        Invalid: It is no metric of the task.

    >>> check_metric("", "regression")
    'rmse'
    """
    known = METRICS[task]
    if metric and metric not in known:
        hint = did_you_mean(metric, known) or "use " + ", ".join(known)
        raise Invalid(f"{metric!r} is no metric of a {task} task", where="metric", hint=hint)
    return metric or known[0]


def is_better(value: float, other: float, metric: str) -> bool:
    """Whether one score is better than another.

    >>> is_better(0.9, 0.8, "roc_auc"), is_better(0.9, 0.8, "rmse")
    (True, False)
    """
    return value > other if HIGHER[metric] else value < other


def ranked(candidates: Sequence[Candidate], metric: str) -> tuple[Candidate, ...]:
    """Measured candidates by score, the best first; then those under way, and those that were not measured."""
    sign = -1.0 if HIGHER[metric] else 1.0
    last = {state: place for place, state in enumerate(_AFTER)}

    def key(candidate: Candidate) -> tuple[int, float, int]:
        score = candidate.score.value * sign if candidate.score else 0.0
        return (last[candidate.state], score, candidate.position)

    return tuple(sorted(candidates, key=key))


_AFTER = (
    CandidateState.MEASURED,
    CandidateState.RUNNING,
    CandidateState.WAITING,
    CandidateState.STOPPED,
    CandidateState.SKIPPED,
    CandidateState.FAILED,
)


def survivors(early: Mapping[str, float], families: Mapping[str, str], metric: str) -> list[str]:
    """Who goes on after a round on few rows: the better half, and the best of each family.

    Args:
        early: Scores of that round by candidate.
        families: The family of each.
        metric: What the scores are.
    Returns: Their names, the best first.
    Source: One round of successive halving (Jamieson and Talwalkar, 2016), with a seat kept for each family.

    >>> survivors({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}, {"a": "x", "b": "x", "c": "x", "d": "y"}, "roc_auc")
    ['a', 'b', 'd']
    """
    order = sorted(early, key=lambda name: (-early[name] if HIGHER[metric] else early[name], name))
    half = set(order[: (len(order) + 1) // 2])
    seats: dict[str, str] = {}
    for name in order:
        seats.setdefault(families[name], name)
    return [name for name in order if name in half or name in seats.values()]


def fits(expected_s: float, left_s: float) -> bool:
    """Whether work that is expected to take so long may be begun; what is expected of it is only a guess.

    >>> fits(5.0, 6.0), fits(9.0, 6.0)
    (True, False)
    """
    return expected_s <= left_s


def behind(difference: Estimate, metric: str) -> Estimate:
    """A difference "candidate minus best" in the metric as how far the candidate is behind: larger is worse.

    >>> behind(Estimate(-0.02, -0.03, -0.01), "roc_auc")
    Estimate(value=0.02, low=0.01, high=0.03)
    """
    if not HIGHER[metric]:
        return difference
    low, high = (None if end is None else 0.0 - end for end in (difference.high, difference.low))
    return Estimate(0.0 - difference.value, low, high)
