"""Linear models: ridge and logistic regression, on columns of one scale."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "linear", "linear", 1
SPREAD, SCALED = True, True


def is_there() -> bool:
    """scikit-learn comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """Little and much shrinkage."""
    return [{"alpha": 1.0}, {"alpha": 30.0}, {"alpha": 0.03}]


def estimator(task: str, params: Params, seed: int) -> object:
    """Ridge, or logistic regression whose C is one over alpha."""
    from sklearn.linear_model import LogisticRegression, Ridge

    alpha = float(params["alpha"])
    return Ridge(alpha=alpha) if task == "regression" else LogisticRegression(C=1 / alpha, max_iter=500)
