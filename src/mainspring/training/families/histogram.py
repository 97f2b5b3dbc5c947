"""Boosted trees of scikit-learn, which count in histograms."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "histogram", "histogram boosting", 5
SPREAD, SCALED = False, False


def is_there() -> bool:
    """scikit-learn comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """Small trees and larger ones."""
    return [
        {"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 15},
        {"max_iter": 200, "learning_rate": 0.05, "max_leaf_nodes": 31},
    ]


def estimator(task: str, params: Params, seed: int) -> object:
    """Boosted trees without early stopping, so that every row trains."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    return kind(**params, early_stopping=False, random_state=seed)
