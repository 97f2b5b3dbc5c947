"""Anytime-valid evidence on the ratio of two risks, from bad events alone.

Given that a bad event happened at a canary share of rho, it sits on the canary with probability
q(theta) = theta rho / (theta rho + 1 - rho), theta being the risk of the canary over the risk of the champion. So two
counters for every share are all the evidence there is, and the base rate drops out. A mixture of likelihood ratios over
a grid of theta is a supermartingale under the null: it may be looked at after every event, and stopped at will.

The weights of a mixture decide what is found soon, never how often a harmless version is rolled back. They are centred
where a decision is most often needed: on twice the risk for harm, on no difference for its absence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log

from mainspring.core.errors import Invalid

GRID_POINTS = 64
WIDEST_RATIO = 32.0
_LIKELY_HARM, _HARM_SPREAD = 2.0, 0.35  # times the ratio that is harmless; spread of the logarithm
_LIKELY_PEER, _PEER_SPREAD = 0.8, 0.3  # times the ratio that is harmful: with 1.25, no difference


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

    centre: float
    spread: float

    def weigh(self, thetas: Sequence[float], null: float) -> list[float]:
        found = [exp(-0.5 * (log(theta / (self.centre * null)) / self.spread) ** 2) for theta in thetas]
        return [weight / sum(found) for weight in found]


def _mixture(thetas: Sequence[float], null: float, counts: Sequence[BadEvents], likely: _Likely) -> float:
    """Log of the weighted mean likelihood ratio over `thetas`, safe against overflow."""
    logs = [_log_ratio(theta, null, counts) for theta in thetas]
    weights, top = likely.weigh(thetas, null), max(logs)
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
    return _mixture(_grid(ratio, ratio * WIDEST_RATIO), ratio, counts, _Likely(_LIKELY_HARM, _HARM_SPREAD))


def no_harm(counts: Sequence[BadEvents], *, ratio: float = 1.25) -> float:
    """Log e-value against "the canary's risk is at least `ratio` times the champion's": the mirror of `harm`.

    Promote when it reaches log(1 / alpha); absence of harm is never inferred from missing evidence.

    Args:
        counts: Bad events of both arms, one entry per canary share.
        ratio: Smallest risk ratio that counts as harmful, > 0.
    Returns: Natural logarithm of the e-value; 0 without events.
    Source: As `harm`; the likelihood ratio falls in the count on the canary, so every ratio above `ratio` is covered.
    """
    return _mixture(_grid(ratio / 4.0, ratio), ratio, counts, _Likely(_LIKELY_PEER, _PEER_SPREAD))
