"""LightGBM's own text format. Holds trees and nothing else."""

from __future__ import annotations

import ctypes
import re
import threading
import weakref
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Corrupt, Failed, Invalid
from mainspring.registry.boosters import Booster, library
from mainspring.registry.flavours import Scorer, Trait, made_by, scalars
from mainspring.registry.masks import MaskedTrees
from mainspring.registry.reasons import Cells, Explainer, refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lightgbm
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    AnyBooster = Booster | lightgbm.Booster

NAME = "lightgbm"
FILE = "model.txt"
PACKAGES = ("lightgbm", "numpy")
_OBJECTIVE = re.compile(r"^objective=(\w+)(?:.*num_class:(\d+))?", re.MULTILINE)
_CATEGORICAL = re.compile(r"^\[categorical_feature: ([\d,]+)\]", re.MULTILINE)
_DEFAULT_NAME = re.compile(r"Column_\d+")
_FEW_ROWS = 512
_MANY_ROWS = 4096  # what a model server asks at once; masks take a quarter of the processor's time of LightGBM's call
_FEW_EXPLAINED = 32
_VERY_FEW_ROWS = 4
_NORMAL, _DOUBLES = 0, 1  # LightGBM's numbers for transformed predictions, and for values of double precision


def handles(model: object) -> bool:
    """Whether it is a booster or one of LightGBM's scikit-learn estimators."""
    return isinstance(model, Booster) or made_by(model, "lightgbm")


def recognises(data: bytes) -> bool:
    """Whether it starts like a text model."""
    return data.startswith(b"tree\n") and b"\nversion=" in data[:200]


def trait(model: object) -> Trait:
    """Task from the objective, classes from the estimator, names and text levels from the booster."""
    booster = _booster(model)
    text = booster.model_to_string()
    names = () if all(map(_DEFAULT_NAME.fullmatch, booster.feature_name())) else tuple(booster.feature_name())
    task, count = _task(text)
    if task == "regression" and hasattr(model, "classes_"):
        raise Invalid(
            "a classifier with an objective of its own gives no probabilities",
            where="lightgbm",
            hint="use objective='binary' or 'multiclass'",
        )
    classes = scalars(model.classes_) if hasattr(model, "classes_") else tuple(range(count))
    return Trait(task=task, classes=classes, trained_on=names, levels=_levels(booster, text))


def dump(model: object) -> bytes:
    """The text model, up to its best iteration."""
    return _booster(model).model_to_string().encode()


def read(data: bytes) -> object:
    """The booster of a text model. LightGBM's Python package is not imported."""
    if not recognises(data) or not _is_whole(data):
        raise Corrupt("not a whole LightGBM text model", where=FILE, hint="save it with booster.save_model(path)")
    try:
        return Booster(data.decode())
    except UnicodeDecodeError as reason:
        raise Corrupt(f"LightGBM can't read it: {reason}", where=FILE) from None


def _is_whole(data: bytes) -> bool:
    """Whether the trees have the announced sizes and the end is there: LightGBM crashes on half a file."""
    sizes = re.search(rb"^tree_sizes=([\d ]*)$", data, re.MULTILINE)
    first, end = data.find(b"\nTree=0\n") + 1, data.find(b"\nend of trees\n") + 1
    if not end or b"\nend of parameters\n" not in data[end:]:
        return False
    return not first or (sizes is not None and first + sum(map(int, sizes[1].split())) == end)


def scorer(model: object, trait: Trait) -> Scorer:
    """Score with the booster."""
    return BoosterScorer(_booster(model))


def explainer(model: object, trait: Trait, cells: Sequence[Cells] | None) -> Explainer:
    """Explain with the booster's own TreeSHAP.

    Raises:
        Refused: Its leaves are linear models.
    """
    booster = _booster(model)
    text = booster.model_to_string(num_iteration=1)
    if "\nis_linear=1" in text:
        raise refused("LightGBM's linear trees")
    rounds = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    return _BoosterExplainer(booster, trait, _scale(text), rounds if "\naverage_output\n" in text else 1)


class _BoosterExplainer:
    def __init__(self, booster: AnyBooster, trait: Trait, scale: str, divisor: int) -> None:
        self.scale = scale
        self._booster = booster
        self._divisor = divisor  # LightGBM's forests average their trees, and its codes do not
        self._outputs = len(trait.classes) if trait.task == "multiclass" else 1

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One call; few rows on one thread."""
        import numpy as np

        threads = 1 if len(inputs) <= _FEW_EXPLAINED else 0
        found = np.asarray(self._booster.predict(inputs, pred_contrib=True, num_threads=threads))
        return found.reshape(len(inputs), self._outputs, -1).transpose(0, 2, 1) / self._divisor


def _scale(text: str) -> str:
    found = _OBJECTIVE.search(text)
    objective = found[1] if found else ""
    if objective in ("binary", "cross_entropy"):
        return "log-odds"
    if "sqrt" in text[: text.find("feature_names=")]:
        return "score"  # of a root
    return "log" if objective in ("poisson", "gamma", "tweedie") else "score" if "class" in objective else "prediction"


class BoosterScorer:
    """Scores with a booster."""

    waits = False

    def __init__(self, booster: AnyBooster) -> None:
        self._booster = booster
        self._single = _SingleRows.of(booster)
        self._making = threading.Lock()
        self._is_made = False
        self._masked: MaskedTrees | None = None

    def prepare(self) -> None:
        """Make at once what is otherwise made for the first call with more than very few rows."""
        with self._making:
            if not self._is_made:
                self._masked = MaskedTrees.of(self._booster)
                self._is_made = True

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """Very few rows one by one, not very many by masks; else, and where that can't be, by LightGBM's own call.

        Few rows are on one thread: waking others costs more than they save.
        """
        rows = len(inputs)
        if rows <= _VERY_FEW_ROWS:
            if self._single is not None and self._single.takes(inputs):
                return self._single.score(cast("NDArray[np.float64]", inputs))
        elif rows <= _MANY_ROWS and _is_matrix(inputs, self._booster.num_feature()):
            if not self._is_made:
                self.prepare()
            if self._masked is not None and self._masked.takes(rows):
                found = self._masked.score(cast("NDArray[np.float64]", inputs))
                if found is not None:
                    return found
        count = 1 if rows <= _FEW_ROWS else 0
        return cast("NDArray[np.float64]", self._booster.predict(inputs, num_threads=count))


class _SingleRows:
    """LightGBM's C functions for one row: the same bits as `predict`, in a sixth of the time for one row.

    What they need for every call, options and buffers, is made once; so one row is asked at a time.
    """

    def __init__(self, booster: AnyBooster) -> None:
        import numpy as np

        functions = library()
        self._booster = booster  # lives as long as what was made from it
        self._width = booster.num_feature()
        self._handle = ctypes.c_void_p()
        best = booster.best_iteration if booster.best_iteration > 0 else -1
        given = (_NORMAL, 0, best, _DOUBLES, self._width, b"num_threads=1", ctypes.byref(self._handle))
        handle = booster.handle if isinstance(booster, Booster) else booster._handle
        if functions.LGBM_BoosterPredictForMatSingleRowFastInit(handle, *given):
            raise AttributeError("no functions for one row")
        weakref.finalize(self, functions.LGBM_FastConfigFree, ctypes.c_void_p(self._handle.value))
        self._ask = functions.LGBM_BoosterPredictForMatSingleRowFast
        self._found = np.empty(booster.num_model_per_iteration())
        self._place = ctypes.c_void_p(self._found.ctypes.data)
        self._count = ctypes.c_int64()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, booster: AnyBooster) -> _SingleRows | None:
        """Those of a booster; None where this release of LightGBM has none, or they say something else."""
        import numpy as np

        try:
            made = cls(booster)
        except (AttributeError, KeyError):
            return None
        rows = np.random.default_rng(0).normal(size=(2, made._width))
        return made if np.array_equal(made.score(rows), booster.predict(rows, num_threads=1)) else None

    def takes(self, inputs: NDArray[np.float64] | pl.DataFrame) -> bool:
        """Whether the rows lie in memory as these functions read them."""
        return _is_matrix(inputs, self._width) and cast("NDArray[np.float64]", inputs).flags.c_contiguous

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ask row by row."""
        import numpy as np

        count, width = len(self._found), self._width * rows.itemsize
        scores, start = np.empty((len(rows), count)), rows.ctypes.data
        with self._lock:
            for row in range(len(rows)):
                at = ctypes.c_void_p(start + row * width)
                if self._ask(self._handle, at, ctypes.byref(self._count), self._place):
                    raise Failed("LightGBM could not answer a row", where=NAME)
                scores[row] = self._found
        return scores if count > 1 else scores[:, 0]


def _is_matrix(inputs: NDArray[np.float64] | pl.DataFrame, width: int) -> bool:
    """Whether they are numbers of double precision in so many columns."""
    if not hasattr(inputs, "flags") or inputs.shape[1] != width:
        return False
    return cast("NDArray[np.float64]", inputs).dtype == "float64"


def _booster(model: object) -> AnyBooster:
    if isinstance(model, Booster):
        return model
    import lightgbm

    if isinstance(model, lightgbm.Booster):
        return model
    try:
        return cast(lightgbm.Booster, model.booster_)  # type: ignore[attr-defined]
    except (AttributeError, lightgbm.basic.LightGBMError):
        raise Invalid("the model is not fitted", where="lightgbm", hint="call fit() first") from None


def _task(text: str) -> tuple[str, int]:
    found = _OBJECTIVE.search(text)
    objective = found[1] if found else ""
    if objective in ("binary", "cross_entropy"):
        return "binary", 2
    if found and objective.startswith("multiclass"):
        return "multiclass", int(found[2])
    return "regression", 0


def _levels(booster: AnyBooster, text: str) -> dict[str, tuple[str, ...]]:
    """Levels of pandas' categorical columns, which LightGBM keeps in the order of the columns."""
    kept = booster.pandas_categorical or []
    found = _CATEGORICAL.search(text)
    columns = [int(index) for index in found[1].split(",")] if found else []
    if not kept or len(kept) != len(columns):
        return {}
    names = booster.feature_name()
    text_levels = zip(columns, kept, strict=True)
    return {names[column]: tuple(levels) for column, levels in text_levels if all(isinstance(x, str) for x in levels)}
