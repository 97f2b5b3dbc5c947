"""Fits of scikit-learn, and of whatever is built like one of its estimators."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from types import FunctionType
from typing import Any

from mainspring.sdk.autologging import patches
from mainspring.sdk.autologging.datasets import describe, example_of
from mainspring.sdk.autologging.fits import ESTIMATOR, Fit, fitting, guarded, options, quiet

SCORED_ROWS = 10_000
_CURVES = ("loss_curve_", "validation_scores_", "train_score_", "validation_score_", "oob_improvement_")


def watch() -> None:
    """Log the fits of all estimators that are defined, now or later."""
    from sklearn.base import BaseEstimator
    from sklearn.utils.parallel import _FuncWrapper

    def init_subclass(cls: type, /, **kwargs: Any) -> None:
        super(BaseEstimator, cls).__init_subclass__(**kwargs)
        _watch_class(cls)

    BaseEstimator.__init_subclass__ = classmethod(init_subclass)
    patches.on_undo(lambda: delattr(BaseEstimator, "__init_subclass__"))
    patches.replace(_FuncWrapper, "__call__", _part)  # the parts of a fit, which may run in threads of their own
    waiting = [BaseEstimator]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        _watch_class(kind)


def _watch_class(kind: type) -> None:
    if isinstance(kind.__dict__.get("fit"), FunctionType) and not hasattr(kind.__dict__["fit"], "_mainspring"):
        patches.replace(kind, "fit", _logged_fit)
        kind.__dict__["fit"]._mainspring = True


def _part(original: Any, args: Any, kwargs: Any) -> Any:
    with quiet():
        return original(*args, **kwargs)


def _logged_fit(original: Any, args: Any, kwargs: Any) -> Any:
    estimator = args[0] if args else None
    if options() is None or not (hasattr(type(estimator), "predict") or hasattr(type(estimator), "fit_predict")):
        return original(*args, **kwargs)
    kind = type(estimator)
    library = kind.__module__.partition(".")[0]
    with fitting(library, kind.__name__, {ESTIMATOR: f"{kind.__module__}.{kind.__qualname__}"}) as fit:
        if fit is None:
            return original(*args, **kwargs)
        given: dict[str, Any] = {}
        with guarded("arguments"):
            given = signature(original).bind(*args, **kwargs).arguments
        _before(fit, estimator, given)
        done = original(*args, **kwargs)
        _after(fit, estimator, given)
        return done


def _before(fit: Fit, estimator: Any, given: dict[str, Any]) -> None:
    with guarded("params"):
        fit.params(_plain(estimator.get_params(deep=True)))
    with guarded("data"):
        facts = describe(given["X"], given.get("y"))
        fit.run.json("autolog/dataset", facts)
        fit.run.input(f"training@{facts['digest']}", "training")


def _after(fit: Fit, estimator: Any, given: dict[str, Any]) -> None:
    with guarded("metrics of iterations"):
        _log_curves(fit, estimator)
    with guarded("training scores"), _undisturbed():
        scores = _scores(estimator, given)
        if scores:
            fit.metrics(scores, step=0)
    with guarded("the model"), _undisturbed():
        best = getattr(estimator, "best_estimator_", estimator)
        fit.model(best, example_of(given["X"]))
    if hasattr(estimator, "cv_results_"):
        with guarded("the candidates of a search"):
            _log_search(fit, estimator)


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Params without nested estimators, whose own params are there, too."""
    return {name: value for name, value in params.items() if not hasattr(value, "get_params") and name != "steps"}


def _log_curves(fit: Fit, estimator: Any) -> None:
    for name in _CURVES:
        curve = getattr(estimator, name, None)
        for step, value in enumerate(curve if curve is not None else ()):
            fit.metrics({name.rstrip("_"): float(value)}, step=step)


def _scores(estimator: Any, given: dict[str, Any]) -> dict[str, float]:
    """What the estimator says of the rows it was fitted on, of at most `SCORED_ROWS` at even distances."""
    from sklearn import metrics
    from sklearn.base import is_classifier, is_regressor
    from sklearn.utils import _safe_indexing

    inputs, label = given["X"], given.get("y")
    if label is None or not hasattr(estimator, "predict"):
        return {}
    count = inputs.shape[0] if hasattr(inputs, "shape") else len(inputs)
    if count > SCORED_ROWS:
        rows = [i * count // SCORED_ROWS for i in range(SCORED_ROWS)]
        inputs, label = _safe_indexing(inputs, rows), _safe_indexing(label, rows)
    found = {"training_score": float(estimator.score(inputs, label))}
    answers = estimator.predict(inputs)
    if is_classifier(estimator):
        found["training_f1"] = float(metrics.f1_score(label, answers, average="weighted", zero_division=0))
        if hasattr(estimator, "predict_proba"):
            shares = estimator.predict_proba(inputs)
            found["training_log_loss"] = float(metrics.log_loss(label, shares, labels=estimator.classes_))
            if len(estimator.classes_) == 2:
                found["training_roc_auc"] = float(metrics.roc_auc_score(label, shares[:, 1]))
    elif is_regressor(estimator):
        found["training_mae"] = float(metrics.mean_absolute_error(label, answers))
        found["training_rmse"] = float(metrics.root_mean_squared_error(label, answers))
    return found


def _log_search(fit: Fit, search: Any) -> None:
    """The table of a search, what was best, and the best candidates as runs."""
    results = search.cv_results_
    fit.run.table("autolog/candidates.csv", {name: list(map(_cell, column)) for name, column in results.items()})
    if hasattr(search, "best_params_"):
        fit.params({f"best.{name}": value for name, value in search.best_params_.items()})
    if hasattr(search, "best_score_"):
        fit.metrics({"best_cv_score": float(search.best_score_)}, step=0)
    ranks = next((results[name] for name in results if name.startswith("rank_test")), range(len(results["params"])))
    order = sorted(range(len(results["params"])), key=lambda i: ranks[i])
    for i in order[: fit.options.children]:
        scores = {name: float(results[name][i]) for name in results if name.startswith(("mean_test", "std_test"))}
        fit.child(f"candidate {i}", results["params"][i], scores)


def _cell(value: Any) -> object:
    return value if isinstance(value, (int, float, str)) or value is None else str(value)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Neither draw from the user's randomness nor warn of what the user did not ask for."""
    import numpy as np

    before, legacy = random.getstate(), np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(before)
        np.random.set_state(legacy)
