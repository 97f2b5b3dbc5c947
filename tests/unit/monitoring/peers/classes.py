"""Scores, answers and labels of three classes, drawn the same way for the tools and for the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CLASSES = ("bronze", "gold", "silver")
ROWS = 1_000


def draw() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Of a reference (the first half) and ten windows of 100 rows; the model is too sure, and inputs move half way.

    Returns:
        Probabilities, shape (rows, classes); the places of the answered and of the true classes, shape (rows,).
    """
    rng = np.random.default_rng(11)
    logits = rng.normal(0.0, 1.2, (2 * ROWS, 3)) + np.array([0.5, -0.3, 0.0])
    logits[3 * ROWS // 2 :, 1] += 0.9
    true, sure = (np.exp(logits * sharp) for sharp in (1.0, 2.2))
    true, sure = (part / part.sum(axis=1, keepdims=True) for part in (true, sure))
    truth = (rng.random((2 * ROWS, 1)) > np.cumsum(true, axis=1)).sum(axis=1)
    scores = np.round(sure, 6)
    scores[:, 2] = 1 - scores[:, 0] - scores[:, 1]
    return scores, scores.argmax(axis=1), np.minimum(truth, 2)
