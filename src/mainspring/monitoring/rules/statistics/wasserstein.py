"""The Wasserstein distance in standard deviations of the reference."""

from __future__ import annotations

import math

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.statistics.estimates import (
    Z95,
    Estimate,
    between,
    normal_tail,
    not_estimable,
)
from mainspring.monitoring.rules.statistics.samples import Floats

SAYS = "how far values moved on average, in standard deviations of the reference"
SYMMETRIC = False
KINDS = frozenset({"numeric", "boolean", "timestamp"})
FLOOR = 0.05
ON_VALUES = True
_HALF_NORMAL = 1 - 2 / math.pi


def measure(reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """The area between the two distributions, exact wherever they do not cross inside a cell.

    Inside a cell the area under a distribution follows from the count and the sum of its values, so values beyond the
    reference count in full. Under no change the distance is at most I |N| / sqrt(effective rows) in convex order, N
    standard normal and I the integral of sqrt(F (1 - F)), which gives the p-value.

    Source: Vallender (1974) for the area; Bobkov, Ledoux (2019), One-dimensional empirical measures, section 3, for I.
    """
    scale = reference.deviation
    if not scale or current.mean is None:
        return not_estimable("every value of the reference is the same" if scale == 0 else "its values are not finite")
    bounds = _bounds(reference, current)
    areas = _area(reference, bounds) - _area(current, bounds)
    value = float(np.abs(areas).sum()) / scale
    n, m = reference.present, current.present
    counts = reference.counts + current.counts
    reached = np.cumsum(counts) / (n + m)
    before = np.concatenate([[0.0], reached[:-1]])
    middle = (reached + before) / 2
    integral = float((np.sqrt(middle * (1 - middle)) * np.diff(bounds)).sum()) / scale
    spread = 1 / n + 1 / m
    if integral <= 0:
        return Estimate(value, value, value, 1.0)
    variance = _variance(reference, areas, bounds) / n + _variance(current, areas, bounds) / m
    at_null = integral * math.sqrt(spread)
    reach = Z95 * math.sqrt(variance / scale**2 + _HALF_NORMAL * at_null**2)
    centre = value - math.sqrt(2 / math.pi) * at_null
    return between(value, centre - reach, value + reach, normal_tail(value / at_null))


def _bounds(one: ColumnSketch, other: ColumnSketch) -> Floats:
    """Edges of all cells, the outer ones closed at the least and the largest value."""
    edges = one.cells.edges
    least, most = min(one.least, other.least), max(one.most, other.most)
    if not len(edges):
        return np.array([least, most])
    return np.concatenate([[min(least, edges[0])], edges, [max(most, edges[-1])]])


def _area(column: ColumnSketch, bounds: Floats) -> Floats:
    """The integral of the distribution over each cell: what was reached before it, and (end - x) of each value in it.

    Both terms are taken from the start of the cell, so that wide offsets (times, identifiers) keep their digits.
    """
    widths = np.diff(bounds)
    reached = np.cumsum(column.counts)
    inside = column.counts * widths - (column.sums - column.counts * bounds[:-1])
    return ((reached - column.counts) * widths + np.clip(inside, 0.0, column.counts * widths)) / column.present


def _variance(column: ColumnSketch, areas: Floats, bounds: Floats) -> float:
    """The variance of the path length up to each value, walked forwards where the reference lies above."""
    path = np.cumsum(np.sign(areas) * np.diff(bounds))
    shares = column.counts / column.present
    mean = float(shares @ path)
    return max(0.0, float(shares @ np.square(path - mean)))
