"""What no column is needed for: the share of each class, or the mean."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "baseline", "baseline", 0
SPREAD, SCALED = True, False


def is_there() -> bool:
    """scikit-learn comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """One: there is nothing to choose."""
    return [{}]


def estimator(task: str, params: Params, seed: int) -> object:
    """Says the same to every row."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    return DummyRegressor() if task == "regression" else DummyClassifier(strategy="prior")
