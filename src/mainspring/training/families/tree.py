"""A single decision tree."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "tree", "decision tree", 2
SPREAD, SCALED = False, False


def is_there() -> bool:
    """scikit-learn comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """A small tree, and a larger one."""
    return [{"max_depth": 5, "min_samples_leaf": 10}, {"max_depth": 12, "min_samples_leaf": 20}]


def estimator(task: str, params: Params, seed: int) -> object:
    """A tree; missing values go to the better side."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if task == "regression" else DecisionTreeClassifier
    return kind(**params, random_state=seed)
