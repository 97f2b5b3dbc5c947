"""Trainings of XGBoost: `xgboost.train` and `cv`, and what its scikit-learn estimators do inside of their fit."""

from __future__ import annotations

from inspect import signature
from typing import Any

from mainspring.sdk.autologging import patches
from mainspring.sdk.autologging.datasets import EXAMPLE_ROWS
from mainspring.sdk.autologging.fits import ESTIMATOR, Fit, fitting, guarded, innermost

NAME = "xgboost"


def watch() -> None:
    """Log what `train` and `cv` do, under each name they are called by."""
    import xgboost

    patches.replace(xgboost, "cv", _validated)
    patches.replace(xgboost.training, "cv", _validated)
    patches.replace(xgboost, "train", _logged)
    patches.replace(xgboost.training, "train", _logged)
    patches.replace(xgboost.sklearn, "train", _logged)


def _logged(original: Any, args: Any, kwargs: Any) -> Any:
    inner = innermost(NAME)
    if inner is not None:  # an estimator's fit logs all but the iterations
        return original(*args, **_with_callback(kwargs, inner))
    with fitting(NAME, "xgboost.train", {ESTIMATOR: "xgboost.Booster"}) as fit:
        if fit is None:
            return original(*args, **kwargs)
        given: dict[str, Any] = {}
        example = None
        with guarded("params"):
            given = signature(original).bind(*args, **kwargs).arguments
            fit.params({"num_boost_round": given.get("num_boost_round", 10), **given["params"]})
        with guarded("data"):
            example = _log_data(fit, given["dtrain"])
        booster = original(*args, **_with_callback(kwargs, fit))
        with guarded("the best iteration"):
            best = booster.attr("best_iteration")
            if best is not None:
                fit.params({"best_iteration": best})
        with guarded("the model"):
            fit.model(booster, example)
        return booster


def _validated(original: Any, args: Any, kwargs: Any) -> Any:
    """A cross-validation: the mean of each metric over the folds, and how far these lie apart; it keeps no model."""
    with fitting(NAME, "xgboost.cv", {ESTIMATOR: "xgboost.cv"}) as fit:
        if fit is None:
            return original(*args, **kwargs)
        given: dict[str, Any] = {}
        with guarded("params"):
            given = signature(original).bind(*args, **kwargs).arguments
            asked = {name: given.get(name, value) for name, value in (("num_boost_round", 10), ("nfold", 3))}
            fit.params({**asked, **given["params"]})
        with guarded("data"):
            _log_data(fit, given["dtrain"])
        found = original(*args, **_with_callback(kwargs, fit))
        with guarded("the best iteration"):  # what early stopping left
            rows = len(found) if hasattr(found, "columns") else len(next(iter(found.values())))
            fit.params({"best_iteration": rows})
        return found


def _log_data(fit: Fit, matrix: Any) -> Any:
    """Log what is known of a matrix, whose content XGBoost keeps to itself, and return some rows if it gives them."""
    names = list(matrix.feature_names or (f"x{i}" for i in range(matrix.num_col())))
    facts = {"kind": f"xgboost.{type(matrix).__name__}", "rows": matrix.num_row(), "columns": matrix.num_col()}
    fit.run.json("autolog/dataset", {**facts, "types": dict(zip(names, matrix.feature_types or (), strict=False))})
    if type(matrix).__name__ != "DMatrix":
        return None
    import numpy as np
    import polars as pl

    rows = matrix.slice(list(range(min(EXAMPLE_ROWS, matrix.num_row())))).get_data().tocoo()
    cells = np.full(rows.shape, np.nan)
    cells[rows.row, rows.col] = rows.data
    return pl.DataFrame(cells, schema=names, orient="row")


def _with_callback(kwargs: Any, fit: Fit) -> dict[str, Any]:
    with guarded("metrics of iterations"):
        return {**kwargs, "callbacks": [*(kwargs.get("callbacks") or ()), _iterations(fit)]}
    return dict(kwargs)


def _iterations(fit: Fit) -> Any:
    """A callback that logs what was evaluated after each iteration."""
    from xgboost.callback import TrainingCallback

    class Iterations(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            with guarded("metrics of iterations"):
                found: dict[str, float] = {}
                for data, logs in evals_log.items():
                    for name, log in logs.items():
                        found |= _last(f"{data}/{name}", log)
                if found:
                    fit.metrics(found, step=epoch)
            return False

    return Iterations()


def _last(name: str, log: Any) -> dict[str, float]:
    """The last value of a history; of several folds the mean and the standard deviation."""
    last = log[-1]
    if isinstance(last, tuple):
        return {name: float(last[0]), f"{name}_std": float(last[1])}
    return {name: float(last)}
