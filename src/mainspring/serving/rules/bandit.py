"""A bandit: each version gets traffic by how likely it is to be the best one, from what came back for its answers.

That is Thompson sampling with the draw in one place: the probability of being the best under the posterior is worked
out, mixed with a floor, and given to the assignment as shares. So each answer has an exact probability, which is
logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Literal

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RewardKind = Literal["binary", "number", "correct"]
LEAST_MOVE = 0.01
"""Shares are changed when one of them moves by so much: each change is an entry of the history."""
MOST_WAIT_S = 30 * 86_400
_PRIOR_MEAN, _PRIOR_VARIANCE = 0.5, 1.0 / 12.0  # of numbers that may be anything from 0 to 1
_POINTS, _WIDTHS = 400, 8.0
_EDGE = 1e-12
_LOW, _HIGH = 0.025, 0.975


@dataclass(frozen=True, slots=True, kw_only=True)
class BanditSpec:
    """What a bandit learns from, and how far it may go.

    Attributes:
        feedback: The kind of feedback that rewards an answer, such as "click", "rating" or "label".
        reward: What it says: "binary" is 0 or 1, "number" is from `low` to `high`, "correct" is a label, and the reward
            is 1 where the answer agrees with it.
        low: The least reward of "number". An answer that failed counts as this, 0 for the others.
        high: The greatest reward of "number".
        absent: What an answer counts as for which nothing came in time; None leaves it out. Clicks want 0.
        within_s: A reward that comes later than that does not count: what waits for months is no reward to steer by.
        floor: The least share of each version, in (0, 1).
        sticky: A routing key stays with its version while the shares stand; else each request is drawn by itself.
        error_limit: For "correct" answers that are numbers: how far off one may be.
    """

    feedback: str = "click"
    reward: RewardKind = "binary"
    low: float = 0.0
    high: float = 1.0
    absent: float | None = None
    within_s: int = 3_600
    floor: float = 0.05
    sticky: bool = False
    error_limit: float = 0.0

    def __post_init__(self) -> None:
        """Raises: Invalid: A range, share or time that is none."""
        where = "bandit"
        if self.reward not in ("binary", "number", "correct"):
            raise Invalid(f"a reward that is {self.reward!r}", where=where, hint="use binary, number or correct")
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise Invalid(f"rewards from {self.low:g} to {self.high:g}", where=where, hint="low is less than high")
        if self.reward != "number" and (self.low, self.high) != (0.0, 1.0):
            raise Invalid("low and high are of numbers", where=where, hint='reward = "number"')
        if self.absent is not None and not self.low <= self.absent <= self.high:
            raise Invalid(f"an absent reward of {self.absent:g}", where=where, hint=f"{self.low:g} to {self.high:g}")
        if not 1 <= self.within_s <= MOST_WAIT_S:
            raise Invalid(f"{self.within_s} s for a reward", where=where, hint=f"use 1 to {MOST_WAIT_S}")
        if not 0.0 < self.floor < 1.0:
            raise Invalid(f"a floor of {self.floor:g}", where=where, hint="above 0, and no more than 1 by the versions")
        if not 0.0 <= self.error_limit < float("inf"):
            raise Invalid(f"an error limit of {self.error_limit:g}", where=where, hint="0 or more")

    def unit(self, value: float) -> float:
        """A reward on the scale from 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def real(self, value: float) -> float:
        """Back from there."""
        return self.low + value * (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Tally:
    """Rewards of one version on the scale from 0 to 1: how many, their sum, and that of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, count: int, total: float, squares: float) -> Tally:
        """With more of them."""
        return Tally(self.count + count, self.total + total, self.squares + squares)


@dataclass(frozen=True, slots=True)
class ArmState:
    """What is known of a version.

    Attributes:
        version: Which one.
        share: Of the traffic, that it should have.
        rewards: How many count.
        mean: Of the posterior of its mean reward.
        low: From here
        high: to here, with a probability of 95 %.
        best: The probability that no other version is better.
    """

    version: int
    share: float
    rewards: int
    mean: float
    low: float
    high: float
    best: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a policy would have brought for each answer.

    Attributes:
        method: "IPS", "SNIPS" or "DR"; "mean" for what was done.
        value: The mean reward.
        low: From here
        high: to here, with 95 % for many rows.
    """

    method: str
    value: float
    low: float
    high: float


def arms_of(spec: BanditSpec, tallies: Mapping[int, Tally]) -> tuple[ArmState, ...]:
    """The posterior of each version, and the share that follows from it.

    Args:
        spec: What counts.
        tallies: What came back, by version.
    Returns: In the order of `tallies`; the shares sum to 1 and none is below the floor.
    Raises:
        Invalid: So many versions can't have the floor each.
    Source: Thompson (1933), On the likelihood that one unknown probability exceeds another; for zeros and ones the beta
        posterior over a uniform prior, for numbers that of a normal mean of unknown variance, Student's t (Gelman et
        al. 2013, section 3.3), kept to the range of the rewards.

    >>> even = arms_of(BanditSpec(), {1: Tally(), 2: Tally()})
    >>> [round(arm.share, 3) for arm in even]
    [0.5, 0.5]
    """
    check_floor(spec.floor, len(tallies))
    grid, densities = _densities(spec, list(tallies.values()))
    below = [_cumulated(grid, density) for density in densities]
    best = _best(grid, densities, below)
    return tuple(
        ArmState(
            version=version,
            share=float(spec.floor + (1.0 - len(tallies) * spec.floor) * chance),
            rewards=tally.count,
            mean=spec.real(float(_area(grid, grid * density))),
            low=spec.real(_quantile(grid, cdf, _LOW)),
            high=spec.real(_quantile(grid, cdf, _HIGH)),
            best=float(chance),
        )
        for (version, tally), density, cdf, chance in zip(tallies.items(), densities, below, best, strict=True)
    )


def check_floor(floor: float, versions: int) -> None:
    """Raises: Invalid: So many versions can't have that share each."""
    if versions < 2:
        raise Invalid("a bandit chooses between versions", where="bandit", hint="name one or more beside the champion")
    if versions * floor > 1.0 + 1e-9:
        hint = f"a floor of {1 / versions:.3g} or less"
        raise Invalid(f"{versions} versions can't have {floor:.0%} each", where="bandit", hint=hint)


def has_moved(before: Mapping[int, float], after: Sequence[ArmState]) -> bool:
    """Whether shares are so far from those that stand that they are worth a change."""
    return any(abs(before.get(arm.version, 0.0) - arm.share) >= LEAST_MOVE for arm in after)


def regret(arms: Sequence[ArmState]) -> float:
    """Reward that was missed, by what is known now: what the best version would have brought in the others' place."""
    most = max((arm.mean for arm in arms), default=0.0)
    return sum(arm.rewards * (most - arm.mean) for arm in arms)


def _densities(spec: BanditSpec, tallies: Sequence[Tally]) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Posteriors of the mean rewards over one grid, which is fine wherever one of them is."""
    import numpy as np

    log_of = _log_t if spec.reward == "number" else _log_beta
    parts = [np.linspace(0.0, 1.0, _POINTS)]
    for tally in tallies:
        middle, width = _place(spec, tally)
        parts.append(np.linspace(middle - _WIDTHS * width, middle + _WIDTHS * width, _POINTS))
    grid = np.unique(np.clip(np.concatenate(parts), _EDGE, 1.0 - _EDGE))
    found = []
    for tally in tallies:
        log_density = log_of(tally, grid)
        density = np.exp(log_density - log_density.max())
        found.append(density / _area(grid, density))
    return grid, found


def _place(spec: BanditSpec, tally: Tally) -> tuple[float, float]:
    """About where a posterior is, and how wide."""
    if spec.reward == "number":
        middle, scale, _ = _student(tally)
        return middle, scale
    ones, zeros = 1.0 + tally.total, 1.0 + tally.count - tally.total
    both = ones + zeros
    return ones / both, float((ones * zeros / (both * both * (both + 1.0))) ** 0.5)


def _log_beta(tally: Tally, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return tally.total * np.log(grid) + (tally.count - tally.total) * np.log1p(-grid)


def _student(tally: Tally) -> tuple[float, float, float]:
    """Place, scale and degrees of freedom of the posterior of a normal mean; the prior weighs as much as one reward."""
    n, weight = tally.count, 1.0 + tally.count
    average = tally.total / n if n else _PRIOR_MEAN
    spread = max(0.0, tally.squares - n * average * average)
    beta = 0.5 * (_PRIOR_VARIANCE + spread) + n * (average - _PRIOR_MEAN) ** 2 / (2.0 * weight)
    alpha = 0.5 * weight
    return (_PRIOR_MEAN + tally.total) / weight, float((beta / (alpha * weight)) ** 0.5), 2.0 * alpha


def _log_t(tally: Tally, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    middle, scale, freedom = _student(tally)
    return -0.5 * (freedom + 1.0) * np.log1p(((grid - middle) / scale) ** 2 / freedom)


def _best(
    grid: NDArray[np.float64], densities: Sequence[NDArray[np.float64]], below: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The probability of each version to be the best."""
    import numpy as np

    chances = []
    for place, density in enumerate(densities):
        others = np.prod([cdf for other, cdf in enumerate(below) if other != place], axis=0)
        chances.append(_area(grid, density * others))
    found = np.asarray(chances, dtype=np.float64)
    return np.asarray(found / found.sum(), dtype=np.float64)


def _area(grid: NDArray[np.float64], heights: NDArray[np.float64]) -> np.float64:
    import numpy as np

    return np.float64(np.trapezoid(heights, grid))


def _cumulated(grid: NDArray[np.float64], density: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(grid)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _quantile(grid: NDArray[np.float64], cdf: NDArray[np.float64], at: float) -> float:
    import numpy as np

    return float(np.interp(at, cdf, grid))
