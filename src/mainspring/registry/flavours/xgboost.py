"""XGBoost's own format as binary JSON. Holds trees or weights and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Corrupt, Invalid
from mainspring.registry.flavours import Scorer, Trait, imported, made_by, scalars
from mainspring.registry.reasons import Cells, Explainer
from mainspring.registry.ubjson import check

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

NAME = "xgboost"
FILE = "model.ubj"
PACKAGES = ("xgboost", "numpy")
_OF_LOG = ("count:poisson", "reg:gamma", "reg:tweedie")
_NO_PROBABILITY = {
    "multi:softmax": "multi:softprob",
    "binary:logitraw": "binary:logistic",
    "binary:hinge": "binary:logistic",
}


def handles(model: object) -> bool:
    """Whether it is a `Booster` or one of XGBoost's scikit-learn estimators."""
    return made_by(model, "xgboost")


def recognises(data: bytes) -> bool:
    """Whether it starts like a model in XGBoost's JSON, binary or text."""
    return data.startswith((b'{"learner":', b"{L\0\0\0\0\0\0\0\x07learner"))


def trait(model: object) -> Trait:
    """Task and number of classes from the objective, names from the booster, classes from the estimator."""
    booster = _booster(model)
    learner = json.loads(booster.save_config())["learner"]  # type: ignore[attr-defined]
    task, count = _task(learner, hasattr(model, "classes_"))
    names = tuple(booster.feature_names or ())  # type: ignore[attr-defined]
    classes = scalars(model.classes_) if hasattr(model, "classes_") else tuple(range(count))
    return Trait(task=task, classes=classes, trained_on=names)


def dump(model: object) -> bytes:
    """The model as binary JSON, up to its best iteration."""
    booster = _booster(model)
    best = booster.attr("best_iteration")  # type: ignore[attr-defined]
    if best is not None:
        booster = booster[: int(best) + 1]  # type: ignore[index]
    return bytes(booster.save_raw("ubj"))  # type: ignore[attr-defined]


def read(data: bytes) -> object:
    """The booster of a model file."""
    xgboost = imported("xgboost", "xgboost")
    if not recognises(data):
        raise Corrupt("not a model of XGBoost", where=FILE, hint="save it with booster.save_model('model.ubj')")
    _check(data)
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(data))
    except (ValueError, TypeError, UnicodeDecodeError) as reason:
        raise Corrupt(f"XGBoost can't read it: {str(reason)[:300]}", where=FILE) from None
    return cast(object, booster)


def _check(data: bytes) -> None:
    """Refuse what is cut or nested without end: XGBoost's own readers trust lengths and depth of the file."""
    if not data.startswith(b'{"'):
        return check(data, FILE)
    try:
        json.loads(data)
    except (ValueError, RecursionError) as reason:
        raise Corrupt(f"not whole JSON: {str(reason)[:300]}", where=FILE) from None


def scorer(model: object, trait: Trait) -> Scorer:
    """Score with the booster."""
    return _BoosterScorer(_booster(model), imported("xgboost", "xgboost"))


class _BoosterScorer:
    waits = False

    def __init__(self, booster: object, xgboost: ModuleType) -> None:
        learner = json.loads(booster.save_config())["learner"]  # type: ignore[attr-defined]
        self.scale = "log" if learner["objective"]["name"] in _OF_LOG else "prediction"
        self._in_place = learner["gradient_booster"]["name"] != "gblinear"
        kinds = booster.feature_types or []  # type: ignore[attr-defined]
        self._categories = [index for index, kind in enumerate(kinds) if kind == "c"]
        best = booster.attr("best_iteration")  # type: ignore[attr-defined]
        self._rounds = (0, 0 if best is None else int(best) + 1)
        self._booster = booster
        self._xgboost = xgboost

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """A level that training did not know is missing; XGBoost has no code for it."""
        matrix = self._matrix(inputs)
        if self._in_place:
            scores = self._booster.inplace_predict(matrix, iteration_range=self._rounds)  # type: ignore[attr-defined]
        else:
            scores = self._booster.predict(self._table(matrix), iteration_range=self._rounds)  # type: ignore[attr-defined]
        return cast("NDArray[np.float64]", scores)

    def contributions(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """What each column adds to the raw outputs, the base last: (rows, columns + 1), or with the classes between."""
        table = self._table(self._matrix(inputs))
        found = self._booster.predict(table, pred_contribs=True, iteration_range=self._rounds)  # type: ignore[attr-defined]
        return cast("NDArray[np.float64]", found)

    def _matrix(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        import numpy as np

        matrix = np.asarray(inputs, dtype=np.float64)
        if self._categories:
            matrix = matrix.copy()
            columns = matrix[:, self._categories]
            matrix[:, self._categories] = np.where(columns < 0, np.nan, columns)
        return matrix

    def _table(self, matrix: NDArray[np.float64]) -> object:
        booster = self._booster
        names, kinds = booster.feature_names, booster.feature_types  # type: ignore[attr-defined]
        made = self._xgboost.DMatrix(
            matrix, feature_names=names, feature_types=kinds, enable_categorical=bool(self._categories)
        )
        return cast(object, made)


def explainer(model: object, trait: Trait, cells: Sequence[Cells] | None) -> Explainer:
    """Explain with the booster's own TreeSHAP or, of a linear booster, with its weights: those begin at 0."""
    return _BoosterExplainer(_BoosterScorer(_booster(model), imported("xgboost", "xgboost")), trait)


class _BoosterExplainer:
    def __init__(self, asked: _BoosterScorer, trait: Trait) -> None:
        self._asked = asked
        self.scale = {"binary": "log-odds", "multiclass": "score"}.get(trait.task, asked.scale)

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One call, in single precision as all of XGBoost."""
        import numpy as np

        found = np.asarray(self._asked.contributions(inputs), dtype=np.float64)
        return found[:, :, None] if found.ndim == 2 else found.transpose(0, 2, 1)


def _booster(model: object) -> object:
    xgboost = imported("xgboost", "xgboost")
    if isinstance(model, xgboost.Booster):
        return cast(object, model)
    from sklearn.exceptions import NotFittedError

    try:
        return cast(object, model.get_booster())  # type: ignore[attr-defined]
    except (AttributeError, NotFittedError):
        raise Invalid("the model is not fitted", where=NAME, hint="call fit() first") from None


def _task(learner: dict[str, dict[str, str]], classifies: bool) -> tuple[str, int]:
    objective = learner["objective"]["name"]
    if objective in _NO_PROBABILITY or (classifies and not objective.startswith(("binary:", "multi:"))):
        hint = f"train with objective={_NO_PROBABILITY.get(objective, 'binary:logistic')!r}"
        raise Invalid(f"objective {objective!r} gives no probabilities", where=NAME, hint=hint)
    if int(learner["learner_model_param"].get("num_target", "1")) > 1:
        raise Invalid("the model gives several numbers for each row", where=NAME, hint="train one model for each")
    if objective == "multi:softprob":
        return "multiclass", int(learner["learner_model_param"]["num_class"])
    return ("binary", 2) if objective == "binary:logistic" else ("regression", 0)
