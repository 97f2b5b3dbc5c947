"""From labelled scores to the probability behind each score, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mainspring.core.scores import CELLS
from mainspring.core.values import dataclass
from mainspring.monitoring.rules.measuring import Floats, mean_scores

LEAST_ROWS = 100
"""Under so many independent rows nothing is estimated."""
_LEAST_OF_A_CLASS = 10
_DRAWS = 60
_FOLDS = 5
_EDGE = 1e-4


@dataclass(frozen=True, eq=False)
class Counted:
    """Labelled scores, counted in cells.

    Attributes:
        no: Rows of class 0 per cell, shape (CELLS,); may be weighted.
        yes: Rows of class 1.
        sums: Sum of the scores.
    """

    no: Floats
    yes: Floats
    sums: Floats

    @property
    def rows(self) -> Floats:
        """Rows per cell."""
        return self.no + self.yes

    @classmethod
    def of(cls, cells: Mapping[str, Sequence[float]]) -> Counted:
        """From (rows of class 0, rows of class 1, sum of the scores) by cell, as `core.scores` counts them."""
        table = np.zeros((3, CELLS))
        for cell, values in cells.items():
            table[:, int(cell)] = values
        return cls(*table)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The probability of class 1 behind the scores of each cell.

    Attributes:
        p: Shape (CELLS,).
        draws: The same from resampled rows, shape (draws, CELLS): how sure it is.
        rows: Independent rows it rests on.
        is_raw: Whether the scores were probabilities already, so that no curve beat them on rows it did not see.
    """

    p: Floats
    draws: Floats
    rows: float
    is_raw: bool


def calibrate(counted: Counted, *, seed: int = 0, effective: float | None = None) -> Calibration | str:
    """Learn the probability behind each score.

    An isotonic curve is fitted to resampled rows, many times, and the mean of the curves is taken. Where it does not
    beat the scores as they are on rows it did not see (five folds), the scores are believed, with the same uncertainty.

    Args:
        counted: Rows the model was not trained on.
        seed: Of the resampling.
        effective: Independent rows that weighted ones are worth; default: all rows.
    Returns: The calibration, or why there is none.
    Source: Zadrozny, Elkan (2002), Transforming classifier scores; Breiman (1996), Bagging predictors.
    """
    total = float(counted.rows.sum())
    worth = total if effective is None else effective
    if worth < LEAST_ROWS:
        return f"{worth:.0f} independent rows to calibrate on, {LEAST_ROWS} are needed"
    scale = worth / total
    no, yes = counted.no * scale, counted.yes * scale
    if min(no.sum(), yes.sum()) < _LEAST_OF_A_CLASS:
        return f"{min(no.sum(), yes.sum()):.0f} rows of the rarer class to calibrate on, {_LEAST_OF_A_CLASS} are needed"
    scores = mean_scores(counted.rows, counted.sums)
    rng = np.random.default_rng(seed)
    draws = np.stack(
        [isotonic(rng.poisson(no).astype(np.float64), rng.poisson(yes).astype(np.float64)) for _ in range(_DRAWS)]
    )
    bagged: Floats = draws.mean(axis=0)
    is_raw = _scores_are_better(no, yes, scores, rng)
    p = scores if is_raw else bagged
    return Calibration(p, np.clip(p + draws - bagged, 0.0, 1.0), worth, is_raw)


def isotonic(no: Floats, yes: Floats) -> Floats:
    """The non-decreasing share of class 1 per cell that fits best; between filled cells it is interpolated.

    Source: Ayer, Brunk, Ewing, Reid, Silverman (1955), the pool of adjacent violators.

    >>> isotonic(np.array([1.0] * 256), np.array([1.0] * 256))[:2].tolist()
    [0.5, 0.5]
    """
    rows = no + yes
    filled = np.flatnonzero(rows > 0)
    pools: list[tuple[float, float, int]] = []
    for one, all_of_it in zip(yes[filled].tolist(), rows[filled].tolist(), strict=True):
        pool = (float(one), float(all_of_it), 1)
        while pools and pools[-1][0] * pool[1] >= pool[0] * pools[-1][1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2] + pool[2])
        pools.append(pool)
    if not pools:
        return np.full(CELLS, 0.5)
    fitted = np.repeat([one / whole for one, whole, _ in pools], [cells for _, _, cells in pools])
    curve: Floats = np.interp(np.arange(CELLS), filled, fitted)
    return curve


def _scores_are_better(no: Floats, yes: Floats, scores: Floats, rng: np.random.Generator) -> bool:
    """Whether the scores as they are have no greater log loss on held-out folds than curves of the other folds."""
    parts = [
        rng.multinomial(np.rint(side).astype(np.int64), [1 / _FOLDS] * _FOLDS).astype(np.float64) for side in (no, yes)
    ]
    lost = gained = 0.0
    for fold in range(_FOLDS):
        out_no, out_yes = parts[0][:, fold], parts[1][:, fold]
        curve = isotonic(parts[0].sum(axis=1) - out_no, parts[1].sum(axis=1) - out_yes)
        lost += _log_loss(out_no, out_yes, curve)
        gained += _log_loss(out_no, out_yes, scores)
    return gained <= lost


def _log_loss(no: Floats, yes: Floats, p: Floats) -> float:
    p = np.clip(p, _EDGE, 1 - _EDGE)
    return float(-(yes * np.log(p) + no * np.log(1 - p)).sum())
