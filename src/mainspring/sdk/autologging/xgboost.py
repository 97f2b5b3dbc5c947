"""Trainings of XGBoost: `xgboost.train`, and what its scikit-learn estimators do inside of their fit."""

from __future__ import annotations

from inspect import signature
from typing import Any

from mainspring.sdk.autologging import patches
from mainspring.sdk.autologging.datasets import EXAMPLE_ROWS
from mainspring.sdk.autologging.fits import ESTIMATOR, Fit, fitting, guarded, innermost

NAME = "xgboost"


def watch() -> None:
    """Log what `train` does, under each name it is called by."""
    import xgboost

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
                found = {f"{data}/{name}": _last(log) for data, logs in evals_log.items() for name, log in logs.items()}
                if found:
                    fit.metrics(found, step=epoch)
            return False

    return Iterations()


def _last(log: Any) -> float:
    last = log[-1]
    return float(last[0] if isinstance(last, tuple) else last)
