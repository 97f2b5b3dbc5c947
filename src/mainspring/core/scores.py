"""The cells in which probabilities are counted, so that counts from different rooms and days can be added."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CELLS = 256
HALF = CELLS // 2
"""The first cell of probabilities of at least one half."""
LEAST_SCORE = 1e-6
_LOGIT_STEP = 1 / 16


def score_cell(score: float) -> int:
    """The cell of a probability: 256 cells of equal width in log odds, so that rare classes are told apart too.

    >>> score_cell(0.5), score_cell(0.0), score_cell(1.0)
    (128, 0, 255)
    """
    p = min(max(score, LEAST_SCORE), 1 - LEAST_SCORE)
    return min(max(math.floor(math.log(p / (1 - p)) / _LOGIT_STEP) + HALF, 0), CELLS - 1)


def score_cells(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The cell of each of many probabilities, as `score_cell` has it.

    >>> import numpy
    >>> score_cells(numpy.array([0.5, 0.0, 1.0])).tolist()
    [128, 0, 255]
    """
    import numpy as np

    p = np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)
    cells: NDArray[np.int64] = np.floor(np.log(p / (1 - p)) / _LOGIT_STEP).astype(np.int64) + HALF
    return np.clip(cells, 0, CELLS - 1)


def cell_middle(cell: int) -> float:
    """The probability in the middle of a cell.

    >>> round(cell_middle(128), 4)
    0.5078
    """
    return 1 / (1 + math.exp(-(cell - HALF + 0.5) * _LOGIT_STEP))


def count_scores(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, tuple[float, float, float]]:
    """Rows by the cell of their score: (rows of class 0, rows of class 1, sum of the scores), by the cell as text.

    Args:
        scores: Probabilities of class 1, shape (rows,); rows whose score is not one are left out.
        truth: 0 or 1, shape (rows,).
    """
    import numpy as np

    known = np.isfinite(scores) & (scores >= 0) & (scores <= 1)
    scores, truth = scores[known], truth[known]
    cells = score_cells(scores)
    yes = np.bincount(cells, weights=truth, minlength=CELLS)
    rows, sums = np.bincount(cells, minlength=CELLS), np.bincount(cells, weights=scores, minlength=CELLS)
    return {
        str(cell): (float(rows[cell] - yes[cell]), float(yes[cell]), float(sums[cell])) for cell in np.flatnonzero(rows)
    }
