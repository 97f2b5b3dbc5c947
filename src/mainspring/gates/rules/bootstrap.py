"""The paired bootstrap for metrics that are made of sums over rows, with rows, clusters or blocks as its units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.gates.rules.finding import NORMAL

Floats = NDArray[np.float64]
_MOST_UNITS = 20_000
_CELLS = 2_000_000  # random indices drawn at once: 16 MB


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which rows belong together.

    Args:
        cluster: Cluster number per row from 0, shape (rows,); None when rows are not clustered.
        block: Length of a block of neighbouring rows (rows in order of time); 0 for none.
    """

    cluster: NDArray[np.int64] | None = None
    block: int = 0

    def units(self, parts: Floats) -> tuple[Floats, int]:
        """Sums over each unit, shape (units, parts), and how many units one resample draws.

        Args:
            parts: What each row adds, shape (rows, parts).
        Raises: Invalid: Fewer than 10 units would be drawn.
        Source: Clusters: Davison & Hinkley (1997), section 3.8. Blocks: circular, Politis & Romano (1992).
        """
        rows = len(parts)
        units, draws = parts, rows
        if self.cluster is not None:
            units = np.zeros((int(self.cluster.max()) + 1, parts.shape[1]))
            np.add.at(units, self.cluster, parts)
            draws = len(units)
        elif self.block > 1:
            ends = np.cumsum(np.vstack([np.zeros((1, parts.shape[1])), parts, parts[: self.block - 1]]), axis=0)
            units, draws = ends[self.block :] - ends[: -self.block], -(-rows // self.block)
        if draws < 10:
            raise Invalid(
                f"{draws} independent groups of rows are too few, 10 are needed",
                hint="use more clusters or shorter blocks",
            )
        return units, draws


def resample(units: Floats, draws: int, *, repeats: int, seed: int) -> Floats:
    """Totals of `repeats` resamples with replacement, shape (repeats, parts).

    Args:
        units: Sums per unit, shape (units, parts).
        draws: Units in one resample.
        repeats: Number of resamples, >= 1.
        seed: Seed of the generator; the same seed gives the same totals.
    Source: Efron & Tibshirani (1993), chapter 6.
    """
    generator = np.random.default_rng(seed)
    totals = np.empty((repeats, units.shape[1]))
    step = max(1, _CELLS // draws)
    for start in range(0, repeats, step):
        stop = min(start + step, repeats)
        picks = generator.integers(0, len(units), (stop - start, draws))
        for part in range(units.shape[1]):
            totals[start:stop, part] = units[:, part][picks].sum(axis=1)
    return totals


@dataclass(frozen=True, slots=True)
class Draws:
    """A statistic and its resampled values.

    Args:
        value: The statistic on the rows as they are.
        values: The statistic on each resample, widened to the coverage of a t interval, shape (repeats,).
        units: Units drawn in one resample.
    """

    value: float
    values: Floats
    units: int

    @property
    def se(self) -> float:
        """Standard error of the statistic."""
        return float(self.values.std(ddof=1))

    def interval(self, alpha: float, *, reverse: bool = False) -> tuple[float, float]:
        """Interval whose ends are one-sided bounds; `reverse` reflects it about the value, which takes off a bias."""
        low, high = (float(q) for q in np.quantile(self.values, [alpha, 1 - alpha]))
        return (2 * self.value - high, 2 * self.value - low) if reverse else (low, high)

    def p_above(self, threshold: float, *, reverse: bool = False) -> float:
        """P-value of "the truth is at or below `threshold`"; never 0."""
        values = 2 * self.value - self.values if reverse else self.values
        return (1 + int((values <= threshold).sum())) / (1 + len(values))

    def p_below(self, threshold: float, *, reverse: bool = False) -> float:
        """P-value of "the truth is at or above `threshold`"; never 0."""
        values = 2 * self.value - self.values if reverse else self.values
        return (1 + int((values >= threshold).sum())) / (1 + len(values))


def bootstrap(
    parts: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    seed: int,
    repeats: int = 2000,
    alpha: float = 0.05,
    grouping: Grouping | None = None,
) -> Draws:
    """Resamples a statistic that is a function of sums over rows.

    Args:
        parts: What each row adds to the sums, shape (rows, parts). For two models put their columns side by side: that
            pairs them.
        statistic: Sums of shape (..., parts) to values of shape (...).
        seed: Seed of the resampling.
        repeats: Number of resamples.
        alpha: Level at which the widening is exact.
        grouping: Clusters or blocks; None for independent rows.
    Returns: The statistic with its draws.
    Raises: Invalid: Too few independent groups of rows, or a resample on which the metric does not exist.
    Source: Efron & Tibshirani (1993), section 13.3; widening by Hesterberg (2015), "What teachers should know about
        the bootstrap", section 5.3.
    """
    units, draws = grouping.units(parts) if grouping else _bags(parts, seed)
    totals = resample(units, draws, repeats=repeats, seed=seed)
    if grouping is not None and grouping.block > 1:
        totals *= len(parts) / (draws * grouping.block)
    value, values = float(statistic(parts.sum(axis=0))), statistic(totals)
    if not (np.isfinite(value) and np.isfinite(values).all()):
        raise Invalid(
            "the metric does not exist on some resamples: a class or a decision is too rare",
            hint="use a larger evaluation set",
        )
    return Draws(value, value + (values - value) * _widening(draws, alpha), draws)


def _bags(parts: Floats, seed: int) -> tuple[Floats, int]:
    """Independent rows as they are; very many of them in bags of nearly equal size, which have the same spread."""
    if len(parts) <= _MOST_UNITS:
        return Grouping().units(parts)
    shuffled = parts[np.random.default_rng(seed).permutation(len(parts))]
    starts = np.arange(_MOST_UNITS) * len(parts) // _MOST_UNITS
    return np.add.reduceat(shuffled, starts, axis=0), _MOST_UNITS


def _widening(units: int, alpha: float) -> float:
    """How much wider a t interval of the mean is than the percentile interval: sqrt(n / (n - 1)) t / z."""
    from scipy.special import stdtrit

    t = float(stdtrit(units - 1, 1 - alpha))
    return float((units / (units - 1)) ** 0.5 * t / NORMAL.inv_cdf(1 - alpha))
