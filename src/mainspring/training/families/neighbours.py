"""Nearest neighbours, on columns of one scale."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "neighbours", "nearest neighbours", 3
SPREAD, SCALED = True, True


def is_there() -> bool:
    """scikit-learn comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """Few and many neighbours."""
    return [{"n_neighbors": 15}, {"n_neighbors": 50}]


def estimator(task: str, params: Params, seed: int) -> object:
    """The neighbours, nearer ones counting more."""
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    kind = KNeighborsRegressor if task == "regression" else KNeighborsClassifier
    return kind(**params, weights="distance")
