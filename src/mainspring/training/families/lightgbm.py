"""Boosted trees of LightGBM."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "lightgbm", "LightGBM", 4
SPREAD, SCALED = False, False


def is_there() -> bool:
    """LightGBM comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """Small trees, larger ones, and slower learning."""
    return [
        {"n_estimators": 200, "learning_rate": 0.05, "num_leaves": 7},
        {"n_estimators": 200, "learning_rate": 0.05, "num_leaves": 31},
        {"n_estimators": 500, "learning_rate": 0.02, "num_leaves": 15},
    ]


def estimator(task: str, params: Params, seed: int) -> object:
    """Boosted trees; missing values go to the better side."""
    import lightgbm

    kind = lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier
    return kind(**params, min_child_samples=10, random_state=seed, n_jobs=1, verbose=-1)
