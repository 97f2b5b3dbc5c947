"""Areas under the curves of many classes, each against all others, from counts: realized and estimated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mainspring.core.scores import CELLS, cell_middle
from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules.estimating.calibrating import Calibration, Counted, calibrate
from mainspring.monitoring.rules.estimating.classes import estimate
from mainspring.monitoring.rules.measuring import Floats, realized
from mainspring.monitoring.rules.performance import MOST_AREAS, Classed

AREAS = ("macro_roc_auc", "weighted_roc_auc")
_MIDDLES = np.array([cell_middle(cell) for cell in range(CELLS)])
_NO_PROBABILITIES = f"no answer has the probabilities of its classes, or there are over {MOST_AREAS} of them"


def realized_areas(classed: Classed, *, seed: int = 0) -> dict[str, Reading]:
    """The mean of the areas of all classes, each counting the same or as often as it was true.

    Args:
        classed: Rows by the place of a class and the cell of its probability, as `Outcomes` has them.
        seed: Of the resampling behind the intervals.
    Source: Provost, Domingos (2000), Well-trained PETs, section 3, for the weights.
    """
    tables = _tables(classed)
    if not tables:
        return dict.fromkeys(AREAS, unknown(_NO_PROBABILITIES))
    found = [realized(no, yes, (no + yes) * _MIDDLES, seed=seed)["roc_auc"] for _, no, yes in tables]
    return _means(found, [float(yes.sum()) for _, _, yes in tables])


def estimated_areas(classed: Classed, calibrations: Sequence[Calibration] | str) -> dict[str, Reading]:
    """The same of all rows, as if their labels were known.

    Args:
        classed: As in `realized_areas`; the rows that were predicted count.
        calibrations: The probability behind the scores of each class, or why there is none.
    """
    if isinstance(calibrations, str):
        return dict.fromkeys(AREAS, unknown(calibrations))
    tables = _tables(classed)
    if not tables or len(tables) != len(calibrations):
        return dict.fromkeys(AREAS, unknown(_NO_PROBABILITIES))
    found, weights = [], []
    for (rows, _, _), calibration in zip(tables, calibrations, strict=True):
        found.append(estimate(rows, rows * _MIDDLES, calibration)["roc_auc"])
        weights.append(float((rows * calibration.p).sum()))
    return _means(found, weights)


def calibrate_classes(classed: Classed, *, seed: int = 0) -> tuple[Calibration, ...] | str:
    """The probability behind the scores of each class, or why there is none."""
    found = []
    for place, (_, no, yes) in enumerate(_tables(classed)):
        one = calibrate(Counted(no, yes, (no + yes) * _MIDDLES), seed=seed)
        if isinstance(one, str):
            return f"class {place + 1} against the others: {one}"
        found.append(one)
    return tuple(found) or _NO_PROBABILITIES


def _tables(classed: Classed) -> list[tuple[Floats, Floats, Floats]]:
    """Of each class the rows that were predicted, those of other classes and those of it, per cell."""
    tables = []
    for place in sorted(classed):
        table = np.zeros((3, CELLS))
        for cell, counts in classed[place].items():
            table[:, cell] = counts
        tables.append((table[0], table[1], table[2]))
    return tables


def _means(areas: Iterable[Reading], weights: Sequence[float]) -> dict[str, Reading]:
    """Means of readings. Their errors go together, as one row counts in every class, so the widths are averaged too."""
    known = [(one, weight) for one, weight in zip(areas, weights, strict=True) if one.value is not None]
    if len(known) < len(weights):
        return dict.fromkeys(AREAS, unknown(f"{len(weights) - len(known)} of {len(weights)} classes did not come up"))
    found: Mapping[str, Sequence[float]] = {AREAS[0]: [1.0] * len(known), AREAS[1]: [weight for _, weight in known]}
    return {name: _mean([one for one, _ in known], shares) for name, shares in found.items()}


def _mean(areas: Sequence[Reading], weights: Sequence[float]) -> Reading:
    ends = [[one.value or 0.0, one.low or 0.0, one.high or 1.0] for one in areas]
    value, low, high = np.average(ends, axis=0, weights=weights)
    return Reading(float(value), float(low), float(high))
