"""Forests: random forests, and extremely random ones."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "forest", "forest", 6
SPREAD, SCALED = True, False


def is_there() -> bool:
    """scikit-learn comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """The usual forest, one of larger leaves, and extremely random trees."""
    return [
        {"trees": 100, "min_samples_leaf": 2, "extra": False},
        {"trees": 100, "min_samples_leaf": 10, "extra": False},
        {"trees": 100, "min_samples_leaf": 2, "extra": True},
    ]


def estimator(task: str, params: Params, seed: int) -> object:
    """A forest of 100 trees."""
    from sklearn import ensemble

    kind = ("ExtraTrees" if params["extra"] else "RandomForest") + (
        "Regressor" if task == "regression" else "Classifier"
    )
    leaf = params["min_samples_leaf"]
    return getattr(ensemble, kind)(params["trees"], min_samples_leaf=leaf, random_state=seed, n_jobs=1)
