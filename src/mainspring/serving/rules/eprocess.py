"""Anytime-valid evidence on the ratio of two risks, from bad events alone.

Given that a bad event happened at a canary share of rho, it sits on the canary with probability
q(theta) = theta rho / (theta rho + 1 - rho), theta being the risk of the canary over the risk of the champion. So two
counters for every share are all the evidence there is, and the base rate drops out. A mixture of likelihood ratios over
a grid of theta is a supermartingale under the null: it may be looked at after every event, and stopped at will.

The weights of a mixture decide what is found soon, never how often a harmless version is rolled back. They are centred
where a decision is most often needed: on twice the risk for harm, on no difference for its absence. A tenth of those
for harm is spread wide, so that other ratios are found too.

Ville's inequality counts every crossing as if it just reached the limit. With events one after the other it overshoots,
by a third at a share of 10 %, so a limit of 1 / alpha wastes a fourth of alpha. `limit` takes it back where the law of
the crossing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil, exp, log

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

GRID_POINTS = 64
WIDEST_RATIO = 32.0
_CANARY_EVENTS, _LEAST_EVENTS, _MOST_EVENTS = 60, 200, 4000  # how far the law of a crossing is followed event by event
_MOST_GAIN, _HALVINGS = 0.7, 6  # a limit is sought up to that far below log(1 / alpha), so many times halved


@dataclass(frozen=True, slots=True)
class BadEvents:
    """How many bad events each arm had while the canary's share was constant."""

    share: float
    canary: int
    champion: int

    def __post_init__(self) -> None:
        """Raises: Invalid: The share is not in (0, 1) or a count is negative."""
        if not 0.0 < self.share < 1.0 or self.canary < 0 or self.champion < 0:
            raise Invalid(f"{self} is no count of bad events", where="serving.rules.eprocess", hint="0 < share < 1")


def _q(theta: float, share: float) -> float:
    return theta * share / (theta * share + 1.0 - share)


def _log_ratio(theta: float, null: float, counts: Iterable[BadEvents]) -> float:
    """Log likelihood ratio of risk ratio `theta` against `null`."""
    total = 0.0
    for step in counts:
        ours, theirs = _q(theta, step.share), _q(null, step.share)
        total += step.canary * log(ours / theirs) + step.champion * log((1.0 - ours) / (1.0 - theirs))
    return total


@dataclass(frozen=True, slots=True)
class _Likely:
    """Weights over risk ratios: normal in the logarithm, around `centre` times the null."""

    part: float
    centre: float
    spread: float

    def weigh(self, thetas: Sequence[float], null: float) -> list[float]:
        found = [exp(-0.5 * (log(theta / (self.centre * null)) / self.spread) ** 2) for theta in thetas]
        return [self.part * weight / sum(found) for weight in found]


_HARM = (_Likely(0.9, 1.95, 0.1), _Likely(0.1, 2.0, 0.6))
_PEER = (_Likely(1.0, 0.8, 0.3),)  # with a harmful ratio of 1.25: around no difference


def _weights(thetas: Sequence[float], null: float, likely: Sequence[_Likely]) -> list[float]:
    return [sum(parts) for parts in zip(*(one.weigh(thetas, null) for one in likely), strict=True)]


def _mixture(thetas: Sequence[float], null: float, counts: Sequence[BadEvents], likely: Sequence[_Likely]) -> float:
    """Log of the weighted mean likelihood ratio over `thetas`, safe against overflow."""
    logs = [_log_ratio(theta, null, counts) for theta in thetas]
    weights, top = _weights(thetas, null, likely), max(logs)
    return top + log(sum(weight * exp(value - top) for weight, value in zip(weights, logs, strict=True)))


def _grid(low: float, high: float) -> list[float]:
    """`GRID_POINTS` ratios, evenly spaced on the log scale, strictly between the ends."""
    step = (log(high) - log(low)) / (GRID_POINTS + 1)
    return [low * exp(step * (i + 1)) for i in range(GRID_POINTS)]


def harm(counts: Sequence[BadEvents], *, ratio: float = 1.0) -> float:
    """Log e-value against "the canary's risk is at most `ratio` times the champion's".

    Roll back when it reaches log(1 / alpha): by Ville's inequality a harmless version is ever rolled back with
    probability at most alpha, whatever the looking and stopping.

    Args:
        counts: Bad events of both arms, one entry per canary share (order does not matter).
        ratio: Largest risk ratio that counts as harmless, > 0.
    Returns: Natural logarithm of the e-value; 0 without events.
    Source: Mixture sequential probability ratio test, Robbins (1970); Lindon and Malek (2022), conditional on events.

    >>> harm([BadEvents(0.25, 30, 30)]) > 3.9 > harm([BadEvents(0.25, 10, 30)])
    True
    """
    return _mixture(_grid(ratio, ratio * WIDEST_RATIO), ratio, counts, _HARM)


@lru_cache(maxsize=256)
def limit(share: float, alpha: float, *, ratio: float = 1.0) -> float:
    """Log of the least e-value of harm that rolls back at a share that never changes, so that alpha is kept exactly.

    Why the bound holds. Under the null the arm of each bad event, given those before, is the canary with probability at
    most q = `_q(ratio, share)`. Rolling back is crossing a line: the canary has at least b(m) events when the champion
    has m, and b never falls. Turning a champion's event into one of the canary keeps every crossing, so the chance to
    ever cross is largest when all probabilities are q, and looking less often only lowers it. For that walk the
    chance to cross within the first N events is summed exactly, path by path; after N the e-value E is still a
    nonnegative martingale, so from a state that has not crossed the limit c the chance is at most E / c (Ville). The
    limit is the least found for which both together are at most alpha. It is never above 1 / alpha, where Ville alone
    is enough; and which events are counted first does not matter, as long as it is not by their arms.

    Args:
        share: The canary's share, in (0, 1), the same from the first event to the last.
        alpha: Chance that a harmless version is ever rolled back, in (0, 1).
        ratio: As in `harm`.
    Returns: Natural logarithm of the e-value.
    Source: Overshoot and Wald's approximation: Siegmund (1985), Sequential Analysis, chapter 3; avoided otherwise by
        Fischer and Ramdas (2024). The sum over paths is that of exact group sequential tests.

    >>> round(exp(limit(0.1, 0.05)), 1), 1 / 0.05
    (16.2, 20.0)
    """
    safe, low = log(1.0 / alpha), log(1.0 / alpha) - _MOST_GAIN
    for _ in range(_HALVINGS):
        middle = (low + safe) / 2.0
        if _ever_crosses(share, middle, ratio) <= alpha:
            safe = middle
        else:
            low = middle
    return safe


def _ever_crosses(share: float, line: float, ratio: float) -> float:
    """At most how likely the e-value of harm ever reaches `line` (its logarithm) when the risk ratio is `ratio`."""
    import numpy as np

    events = min(max(ceil(_CANARY_EVENTS / share), _LEAST_EVENTS), _MOST_EVENTS)
    thetas, chance = _grid(ratio, ratio * WIDEST_RATIO), _q(ratio, share)
    ours = np.array([_log_ratio(theta, ratio, (BadEvents(share, 1, 0),)) for theta in thetas])
    theirs = np.array([_log_ratio(theta, ratio, (BadEvents(share, 0, 1),)) for theta in thetas])
    weights = np.log(np.maximum(_weights(thetas, ratio, _HARM), 1e-300))

    def value(canary: int, champion: int) -> float:
        logs = weights + canary * ours + champion * theirs
        return float(logs.max() + np.log(np.exp(logs - logs.max()).sum()))

    crossed, least = 0.0, 1  # of the canary's events there are at least so many at a crossing
    there = np.zeros(events + 2)  # how likely each count of the canary is, together with no crossing so far
    there[0] = 1.0
    for event in range(1, events + 1):
        there[1 : least + 1] = chance * there[:least] + (1.0 - chance) * there[1 : least + 1]
        there[0] *= 1.0 - chance
        while least <= event and value(least, event - least) < line:
            least += 1
        crossed += float(there[least:].sum())
        there[least:] = 0.0
    left = (there[count] * exp(min(value(count, events - count) - line, 0.0)) for count in range(least))
    return crossed + float(sum(left))


def no_harm(counts: Sequence[BadEvents], *, ratio: float = 1.25) -> float:
    """Log e-value against "the canary's risk is at least `ratio` times the champion's": the mirror of `harm`.

    Promote when it reaches log(1 / alpha); absence of harm is never inferred from missing evidence.

    Args:
        counts: Bad events of both arms, one entry per canary share.
        ratio: Smallest risk ratio that counts as harmful, > 0.
    Returns: Natural logarithm of the e-value; 0 without events.
    Source: As `harm`; the likelihood ratio falls in the count on the canary, so every ratio above `ratio` is covered.
    """
    return _mixture(_grid(ratio / 4.0, ratio), ratio, counts, _PEER)
