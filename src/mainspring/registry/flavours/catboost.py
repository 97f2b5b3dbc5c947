"""CatBoost's own binary format. Holds trees and the tables of its categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Corrupt, Invalid
from mainspring.registry.flavours import Scorer, Trait, imported, made_by, scalars
from mainspring.registry.reasons import Cells, Explainer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

NAME = "catboost"
FILE = "model.cbm"
PACKAGES = ("catboost", "numpy")
_BINARY = ("Logloss", "CrossEntropy")
_MULTICLASS = ("MultiClass", "MultiClassOneVsAll")
_EXPONENT = ("Poisson", "Tweedie")


def handles(model: object) -> bool:
    """Whether it is one of CatBoost's models."""
    return made_by(model, "catboost")


def recognises(data: bytes) -> bool:
    """Whether it starts like CatBoost's binary format."""
    return data.startswith(b"CBM1")


def trait(model: object) -> Trait:
    """Task from the loss, classes and columns from the model. With text of its own it is asked with a frame."""
    fitted = _fitted(model)
    loss = _loss(fitted)
    task = "binary" if loss in _BINARY else "multiclass" if loss in _MULTICLASS else "regression"
    if loss.startswith("Multi") and task == "regression":
        raise Invalid(f"a model of loss {loss} gives several numbers for each row", where=NAME)
    classes = () if task == "regression" else scalars(fitted.classes_)  # type: ignore[attr-defined]
    names = tuple(map(str, fitted.feature_names_))  # type: ignore[attr-defined]
    named = names != tuple(map(str, range(len(names))))
    others = fitted.get_text_feature_indices() or fitted.get_embedding_feature_indices()  # type: ignore[attr-defined]
    if others:
        raise Invalid("the model reads free text or embeddings", where=NAME, hint="give it numbers and categories")
    categories = bool(fitted.get_cat_feature_indices())  # type: ignore[attr-defined]
    return Trait(task=task, classes=classes, trained_on=names if named else (), wants_frame=categories)


def dump(model: object) -> bytes:
    """The model in CatBoost's binary format."""
    return cast(bytes, _fitted(model)._serialize_model())  # type: ignore[attr-defined]


def read(data: bytes) -> object:
    """The model of a file."""
    catboost = imported("catboost", "catboost")
    if not recognises(data):
        raise Corrupt("not a model of CatBoost", where=FILE, hint="save it with model.save_model('model.cbm')")
    model = catboost.CatBoost()
    try:
        model.load_model(blob=data)
        _loss(model)  # what it was trained with is read here first
    except (catboost.CatBoostError, ValueError, TypeError) as reason:
        raise Corrupt(f"CatBoost can't read it: {str(reason)[:300]}", where=FILE) from None
    return cast(object, model)


def scorer(model: object, trait: Trait) -> Scorer:
    """Score with the model."""
    fitted = _fitted(model)
    kind = "RawFormulaVal" if trait.task == "regression" else "Probability"
    return _ModelScorer(fitted, "Exponent" if _loss(fitted) in _EXPONENT else kind, trait.task)


class _ModelScorer:
    waits = False

    def __init__(self, model: object, kind: str, task: str) -> None:
        self._model = model
        self._kind = kind
        self._second = task == "binary"
        self._categories = list(model.get_cat_feature_indices())  # type: ignore[attr-defined]

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One thread for few rows: waking others costs more than they save."""
        threads = 1 if len(inputs) <= 512 else -1
        rows = self._with_text(inputs) if self._categories else inputs
        scores = self._model.predict(rows, prediction_type=self._kind, thread_count=threads)  # type: ignore[attr-defined]
        return cast("NDArray[np.float64]", scores[:, 1] if self._second else scores)

    def contributions(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """What each column adds to the raw outputs, the base last: (rows, columns + 1), or with the classes between."""
        rows = self._with_text(inputs) if self._categories else inputs
        pool = imported("catboost", "catboost").Pool(rows, cat_features=self._categories or None)
        threads = 1 if len(inputs) <= 32 else -1
        found = self._model.get_feature_importance(  # type: ignore[attr-defined]
            pool, type="ShapValues", shap_calc_type="Regular", thread_count=threads
        )
        return cast("NDArray[np.float64]", found)

    def _with_text(self, inputs: NDArray[np.float64] | pl.DataFrame) -> pl.DataFrame:
        """CatBoost's categories are whole numbers or text and never missing: a missing one is an unknown one, ""."""
        import polars as pl

        frame = inputs if isinstance(inputs, pl.DataFrame) else pl.DataFrame(inputs)
        names = [frame.columns[index] for index in self._categories]
        texts = [
            (pl.col(name) if frame[name].dtype == pl.String else pl.col(name).cast(pl.Int64, strict=False))
            .cast(pl.String)
            .fill_null("")
            for name in names
        ]
        return frame.with_columns(texts)


def explainer(model: object, trait: Trait, cells: Sequence[Cells] | None) -> Explainer:
    """Explain with the model's own TreeSHAP."""
    return _ModelExplainer(cast(_ModelScorer, scorer(model, trait)), _loss(_fitted(model)), trait.task)


class _ModelExplainer:
    def __init__(self, asked: _ModelScorer, loss: str, task: str) -> None:
        self._asked = asked
        of_number = "log" if loss in _EXPONENT else "prediction"
        self.scale = {"binary": "log-odds", "multiclass": "score"}.get(task, of_number)

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One call."""
        found = self._asked.contributions(inputs)
        return found[:, :, None] if found.ndim == 2 else found.transpose(0, 2, 1)


def _loss(model: object) -> str:
    return str(model.get_all_params().get("loss_function", "")).partition(":")[0]  # type: ignore[attr-defined]


def _fitted(model: object) -> object:
    imported("catboost", "catboost")
    if not model.is_fitted():  # type: ignore[attr-defined]
        raise Invalid("the model is not fitted", where=NAME, hint="call fit() first")
    return model
