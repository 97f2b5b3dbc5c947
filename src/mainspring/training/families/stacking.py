"""The best of the other families together, weighed by a linear model on what they say to rows they did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mainspring.training.families import Params, family

NAME, TITLE, ORDER = "stacking", "stacking", 9
SPREAD, SCALED = True, True
PARTS = 3
"""How many families are put together."""


def is_there() -> bool:
    """scikit-learn comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """One; its parts are filled in when the others are measured."""
    return [{"parts": []}]


def estimator(task: str, params: Params, seed: int) -> object:
    """A stack; each part is trained three times on two thirds of the rows to learn its weight."""
    from sklearn.ensemble import StackingClassifier, StackingRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV

    parts = [(part["family"], family(part["family"]).estimator(task, part["params"], seed)) for part in _parts(params)]
    if task == "regression":
        return StackingRegressor(parts, final_estimator=RidgeCV(), cv=3)
    return StackingClassifier(parts, final_estimator=LogisticRegression(max_iter=500), cv=3)


def _parts(params: Params) -> Sequence[Mapping[str, Any]]:
    parts: Sequence[Mapping[str, Any]] = params["parts"]
    return parts
