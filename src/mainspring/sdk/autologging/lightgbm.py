"""Trainings of LightGBM: `lightgbm.train`, and what its scikit-learn estimators do inside of their fit."""

from __future__ import annotations

from inspect import signature
from typing import Any

from mainspring.sdk.autologging import patches
from mainspring.sdk.autologging.datasets import describe, example_of
from mainspring.sdk.autologging.fits import ESTIMATOR, Fit, fitting, guarded, innermost

NAME = "lightgbm"
_BEFORE_EARLY_STOPPING = 25  # that one has the order 30 and ends the training


def watch() -> None:
    """Log what `train` does, under each name it is called by."""
    import lightgbm

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
        given: dict[str, Any] = {}
        example = None
        with guarded("params"):
            given = signature(original).bind(*args, **kwargs).arguments
            rounds = {"num_boost_round": given.get("num_boost_round", 100)}
            fit.params({**rounds, **given["params"]})
        with guarded("data"):
            data = given["train_set"].data
            if data is not None and not isinstance(data, (str, bytes)) and not hasattr(data, "__fspath__"):
                facts = describe(data, given["train_set"].label)
                fit.run.json("autolog/dataset", facts)
                fit.run.input(f"training@{facts['digest']}", "training")
                example = example_of(data)
        booster = original(*args, **_with_callback(original, args, kwargs, fit))
        with guarded("the best iteration"):
            if booster.best_iteration > 0:
                fit.params({"best_iteration": booster.best_iteration})
        with guarded("the model"):
            fit.model(booster, example)
        return booster


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
            found = {f"{entry[0]}/{entry[1]}": float(entry[2]) for entry in env.evaluation_result_list or ()}
            if found:
                self._fit.metrics(found, step=env.iteration)
