"""The univariate drift values of NannyML 0.13.1 at its defaults, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from mainspring.data.sketch.grid import Floats
from mainspring.monitoring.rules.parity import Scores, finite
from mainspring.monitoring.rules.parity.rows import jensen_shannon, level_counts, numbers, paired

SAYS = "NannyML 0.13.1: ten chunks by rows, and what is left over as an eleventh"
_CHUNKS = 10
_EXACT_BELOW = 10_000
_BINS = 10_000
Measure = Callable[[pl.Series], float]


def scores(reference: pl.Series, current: pl.Series) -> Scores:
    """Every measure NannyML has for this kind of column, for each chunk of the current rows.

    Numbers have Jensen-Shannon, Kolmogorov-Smirnov, Wasserstein and Hellinger, levels Jensen-Shannon, chi-squared,
    L-infinity and Hellinger. Bins are those of Doane's rule on the reference, with one more for what lies outside.
    """
    chunks = chunked(current)
    if reference.dtype.is_numeric():
        before = numbers(reference)
        measures = _of_numbers(before) if len(before) else {}
    elif reference.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
        measures = _of_levels(reference) if reference.drop_nulls().len() else {}
    else:
        return {}
    return {
        name: finite([measure(chunk) if chunk.drop_nulls().len() else np.nan for chunk in chunks])
        for name, measure in measures.items()
    }


def chunked(column: pl.Series) -> list[pl.Series]:
    """Ten chunks of equal size, and the rows left over.

    >>> [chunk.len() for chunk in chunked(pl.Series(range(23)))]
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]
    """
    size = max(1, column.len() // _CHUNKS)
    return [column.slice(at, size) for at in range(0, column.len(), size)]


def _of_numbers(before: Floats) -> dict[str, Measure]:
    edges = np.histogram_bin_edges(before, bins="doane")
    shares = np.histogram(before, edges)[0] / len(before)

    def binned(chunk: pl.Series) -> tuple[Floats, Floats]:
        values = numbers(chunk)
        return _with_rest(shares, np.histogram(values, edges)[0] / len(values))

    kolmogorov, moved = _kolmogorov(before), _wasserstein(before)
    return {
        "jensen_shannon": lambda chunk: jensen_shannon(*binned(chunk), 2),
        "kolmogorov_smirnov": lambda chunk: kolmogorov(numbers(chunk)),
        "wasserstein": lambda chunk: moved(numbers(chunk)),
        "hellinger": lambda chunk: _hellinger(*binned(chunk)),
    }


def _of_levels(reference: pl.Series) -> dict[str, Measure]:
    before = level_counts(reference)
    rows = sum(before.values())
    levels = sorted(before, key=str)
    shares = np.array([before[level] / rows for level in levels])

    def binned(chunk: pl.Series) -> tuple[Floats, Floats]:
        now = level_counts(chunk)
        return _with_rest(shares, np.array([now.get(level, 0) for level in levels]) / sum(now.values()))

    def largest(chunk: pl.Series) -> float:
        one, other = paired(before, level_counts(chunk))
        return float(np.abs(one / one.sum() - other / other.sum()).max())

    return {
        "jensen_shannon": lambda chunk: jensen_shannon(*binned(chunk), 2),
        "chi2": lambda chunk: _chi2(*paired(before, level_counts(chunk))),
        "l_infinity": largest,
        "hellinger": lambda chunk: _hellinger(*binned(chunk)),
    }


def _with_rest(before: Floats, now: Floats) -> tuple[Floats, Floats]:
    """Both with one more cell for the share of now that no cell holds."""
    rest = 1 - now.sum()
    return (np.append(before, 0.0), np.append(now, rest)) if rest > 0 else (before, now)


def _hellinger(p: Floats, q: Floats) -> float:
    return float(np.sqrt(np.square(np.sqrt(p) - np.sqrt(q)).sum()) / np.sqrt(2))


def _chi2(before: Floats, now: Floats) -> float:
    """With the correction of Yates at one degree of freedom."""
    table = np.stack([before, now])
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    apart = np.abs(table - expected)
    if table.shape[1] == 2:
        apart = apart - np.minimum(0.5, apart)
    return float((np.square(apart) / expected).sum())


def _kolmogorov(before: Floats) -> Callable[[Floats], float]:
    if len(before) < _EXACT_BELOW:
        ordered = np.sort(before)

        def exact(values: Floats) -> float:
            at = np.concatenate([ordered, values])
            shares = (np.searchsorted(np.sort(side), at, "right") / len(side) for side in (ordered, values))
            return float(np.abs(next(shares) - next(shares)).max())

        return exact
    edges = np.linspace(before.min(), before.max(), _BINS + 1)
    reached = np.cumsum(np.histogram(before, edges)[0] / len(before))

    def estimated(values: Floats) -> float:
        below = np.count_nonzero(values < edges[0]) / len(values)
        return float(np.abs(reached - below - np.cumsum(np.histogram(values, edges)[0] / len(values))).max())

    return estimated


def _wasserstein(before: Floats) -> Callable[[Floats], float]:
    if len(before) < _EXACT_BELOW:
        from scipy import stats

        return lambda values: float(stats.wasserstein_distance(before, values))
    counts, edges = np.histogram(before, bins=_BINS)
    reached, width = np.cumsum(counts / len(before)), edges[1] - edges[0]

    def estimated(values: Floats) -> float:
        below, above = values[values < edges[0]], values[values > edges[-1]]
        smaller = (len(below) + 1) / len(values) if len(below) else 0.0
        larger = (len(above) + 1) / len(values) if len(above) else 0.0
        outside = smaller * _tail(np.append(below, edges[0]), upper=False) if len(below) else 0.0
        outside += larger * _tail(np.append(edges[-1], above), upper=True) if len(above) else 0.0
        now = np.cumsum(np.histogram(values, edges)[0] / len(values)) + smaller
        return float((np.abs(reached - now) * width).sum() + outside)

    return estimated


def _tail(values: Floats, *, upper: bool) -> float:
    """The area under the distribution of these values, or above it."""
    at, counts = np.unique(values, return_counts=True)
    reached = np.cumsum(counts) / len(values)
    return float(((1 - reached if upper else reached)[:-1] * np.diff(at)).sum())
