"""Trainings of LightGBM: `lightgbm.train` and `cv`, and what its scikit-learn estimators do inside of their fit."""

from __future__ import annotations

from inspect import signature
from typing import Any

from mainspring.sdk.autologging import patches
from mainspring.sdk.autologging.datasets import describe, example_of
from mainspring.sdk.autologging.fits import ESTIMATOR, Fit, fitting, guarded, innermost

NAME = "lightgbm"
_BEFORE_EARLY_STOPPING = 25  # that one has the order 30 and ends the training


def watch() -> None:
    """Log what `train` and `cv` do, under each name they are called by."""
    import lightgbm

    patches.replace(lightgbm, "cv", _validated)
    patches.replace(lightgbm.engine, "cv", _validated)
    patches.replace(lightgbm, "train", _logged)
    patches.replace(lightgbm.engine, "train", _logged)
    patches.replace(lightgbm.sklearn, "train", _logged)


def _logged(original: Any, args: Any, kwargs: Any) -> Any:
    inner = innermost(NAME)
    if inner is not None:  # an estimator's fit logs all but the iterations
        return original(*args, **_with_callback(original, args, kwargs, inner))
    with fitting(NAME, "lightgbm.train", {ESTIMATOR: "lightgbm.Booster"}) as fit:
        if fit is None:
            return original(*args, **kwargs)
        example = _log_given(fit, original, args, kwargs, num_boost_round=100)
        booster = original(*args, **_with_callback(original, args, kwargs, fit))
        with guarded("the best iteration"):
            if booster.best_iteration > 0:
                fit.params({"best_iteration": booster.best_iteration})
        with guarded("the model"):
            fit.model(booster, example)
        return booster


def _validated(original: Any, args: Any, kwargs: Any) -> Any:
    """A cross-validation: the mean of each metric over the folds, and how far these lie apart; it keeps no model."""
    with fitting(NAME, "lightgbm.cv", {ESTIMATOR: "lightgbm.cv"}) as fit:
        if fit is None:
            return original(*args, **kwargs)
        _log_given(fit, original, args, kwargs, num_boost_round=100, nfold=5, stratified=True)
        found = original(*args, **_with_callback(original, args, kwargs, fit))
        with guarded("the best iteration"):  # what early stopping left
            fit.params({"best_iteration": next(len(rows) for key, rows in found.items() if key.endswith("-mean"))})
        return found


def _log_given(fit: Fit, original: Any, args: Any, kwargs: Any, **defaults: object) -> Any:
    """Log params and data of a call, and return some rows when they are to be had."""
    given: dict[str, Any] = {}
    with guarded("params"):
        given = signature(original).bind(*args, **kwargs).arguments
        fit.params({**{name: given.get(name, value) for name, value in defaults.items()}, **given["params"]})
    with guarded("data"):
        data = given["train_set"].data
        if data is not None and not isinstance(data, (str, bytes)) and not hasattr(data, "__fspath__"):
            facts = describe(data, given["train_set"].label)
            fit.run.json("autolog/dataset", facts)
            fit.run.input(f"training@{facts['digest']}", "training")
            return example_of(data)
    return None


def _with_callback(original: Any, args: Any, kwargs: Any, fit: Fit) -> dict[str, Any]:
    """The keyword arguments with one more callback; as they were, when the callbacks came by position."""
    with guarded("metrics of iterations"):
        by_name = signature(original).bind(*args).arguments if not kwargs else {}
        if "callbacks" not in by_name:
            return {**kwargs, "callbacks": [*(kwargs.get("callbacks") or ()), _Iterations(fit)]}
    return dict(kwargs)


class _Iterations:
    """Logs what was evaluated after each iteration."""

    order = _BEFORE_EARLY_STOPPING
    before_iteration = False

    def __init__(self, fit: Fit) -> None:
        self._fit = fit

    def __call__(self, env: Any) -> None:
        with guarded("metrics of iterations"):
            found = {}
            for entry in env.evaluation_result_list or ():
                found[f"{entry[0]}/{entry[1]}"] = float(entry[2])
                if len(entry) > 4:  # of several folds
                    found[f"{entry[0]}/{entry[1]}_std"] = float(entry[4])
            if found:
                self._fit.metrics(found, step=env.iteration)
