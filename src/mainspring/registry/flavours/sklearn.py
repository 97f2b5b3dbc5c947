"""scikit-learn estimators, kept by skops: a zip of JSON and arrays, read through a list of trusted types."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Corrupt, Invalid, Refused
from mainspring.registry import forests
from mainspring.registry.flavours import Scorer, Trait, scalars
from mainspring.registry.flavours.lightgbm import BoosterScorer
from mainspring.registry.reasons import Cells, Explainer
from mainspring.registry.trusted import TRUSTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

NAME = "sklearn"
FILE = "model.skops"
_FEW_ROWS = 64  # for more, LightGBM takes longer than the trees one after the other
_MOST_LEAVES = 100_000  # of a forest that is kept twice, so that LightGBM runs it
PACKAGES = ("scikit-learn", "skops", "numpy", "scipy")


def handles(model: object) -> bool:
    """Whether it is an estimator of scikit-learn, or built like one by somebody else."""
    kinds = [f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(model).__mro__]
    return "sklearn.BaseEstimator" in kinds and not kinds[0].startswith(("lightgbm.", "xgboost.", "catboost."))


def recognises(data: bytes) -> bool:
    """Whether it is a zip with a skops schema inside, and not one with such a zip inside."""
    if not data.startswith(b"PK\x03\x04") or b"schema.json" not in data:
        return False
    try:
        return "schema.json" in zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def trait(model: object) -> Trait:
    """Task and classes from the estimator; column names when it was fitted on a frame."""
    names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    if hasattr(model, "classes_"):
        return _classifier(model, names)
    if not _is_fitted(model):
        raise Invalid("the model is not fitted", where="sklearn", hint="call fit() first")
    if not hasattr(model, "predict"):
        raise Invalid(f"a {type(model).__name__} predicts nothing", where="sklearn", hint="register the whole pipeline")
    return Trait(task="regression", trained_on=names, wants_frame=bool(names))


def dump(model: object) -> bytes:
    """The skops archive, refused when it holds a type that loading would refuse."""
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException

    try:
        data = cast(bytes, skops.io.dumps(model))
    except (UnsupportedTypeException, TypeError, AttributeError, NotImplementedError) as reason:
        raise Refused(f"skops can't keep this model: {reason}", where="sklearn", hint=_HINT) from None
    _check_types(data)
    return data


def read(data: bytes) -> object:
    """The estimator of a skops archive."""
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return _loaded(data, _COMMON)
    except UntrustedTypesFoundException:
        return _loaded(data, _check_types(data))


def _loaded(data: bytes, trusted: Sequence[str]) -> object:
    """Only types that skops trusts by itself, and `trusted`: each of these is compared with every part."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return cast(object, skops.io.loads(data, trusted=list(trusted)))
    except UntrustedTypesFoundException:
        raise
    except Exception as reason:  # noqa: BLE001  # a hostile archive can raise anything, and all of it means the same
        raise Corrupt(f"skops can't read it: {type(reason).__name__}: {reason}", where=FILE) from None


def scorer(model: object, trait: Trait) -> Scorer:
    """Score with `predict_proba` or `predict`."""
    method = "predict" if trait.task == "regression" else "predict_proba"
    whole = _EstimatorScorer(getattr(model, method), second_class_only=trait.task == "binary")
    quick: _LogisticScorer | _ForestScorer | None = None
    if trait.task == "binary" and _is_logistic(model):
        quick = _LogisticScorer(model, whole)
    elif forests.is_averaged(model):
        quick = _ForestScorer(model, trait.task, whole)
    if quick is None:
        return whole
    if trait.wants_frame:
        whole.names = trait.trained_on
    if _agree(quick, whole):
        return quick
    whole.names = ()
    return whole


def explainer(model: object, trait: Trait, cells: Sequence[Cells] | None) -> Explainer:
    """Explain what is linear, or trees, also at the end of a pipeline whose steps keep the columns apart.

    Raises:
        Refused: It is neither, or a step mixes columns, or it is linear and nothing is known of its training.
    """
    from mainspring.registry.reasons.columns import Gathered, sources

    steps, last = _parted(model)
    width = len(trait.trained_on) or int(model.n_features_in_)  # type: ignore[attr-defined]
    found = list(range(width)) if steps is None else sources(steps, range(width))
    made = _last_explainer(last, trait, lambda: _means(steps, found, cells, trait, type(last).__name__))
    return made if steps is None else Gathered(steps, found, width, made)


def _parted(model: object) -> tuple[object, object]:
    """What comes before the model at the end of a pipeline, None when nothing does, and that model."""
    from sklearn.pipeline import Pipeline

    if not isinstance(model, Pipeline):
        return None, model
    steps, last = model[:-1], model[-1]
    return (steps if len(steps) else None), last


def _last_explainer(last: object, trait: Trait, means: Callable[[], NDArray[np.float64]]) -> Explainer:
    from mainspring.registry.flavours import explainer_of, flavour_for
    from mainspring.registry.labelled import Labelled
    from mainspring.registry.reasons import linear, refused, trees

    if isinstance(last, Labelled):
        return _last_explainer(last.estimator_, trait, means)
    if not handles(last):
        return explainer_of(flavour_for(last), last, trait, None)
    if linear.is_linear(last):
        return linear.LinearExplainer(last, means(), linear.scale_of(last, trait.task))
    if trees.is_tree(last):
        return trees.TreeExplainer(last, trait.task)
    raise refused(f"a {type(last).__name__}")


def _means(
    steps: object, found: Sequence[int], cells: Sequence[Cells] | None, trait: Trait, name: str
) -> NDArray[np.float64]:
    from mainspring.registry.reasons.linear import means_of

    if cells is None:
        hint = "register the version with reference=, a dataset that has all of its inputs"
        raise Refused(
            f"a {name} is explained by the means of its training, which are not known", where="explain", hint=hint
        )
    return means_of(steps, found, cells, trait.trained_on if trait.wants_frame else ())


class _EstimatorScorer:
    """The estimator itself; with `names` it is given a matrix and asked with a frame of these columns."""

    waits = False

    def __init__(self, method: Callable[[object], NDArray[np.float64]], *, second_class_only: bool) -> None:
        self.names: tuple[str, ...] = ()
        self._method = method
        self._second = second_class_only

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One call of the estimator."""
        if self.names:
            import polars as pl

            inputs = pl.DataFrame(inputs, schema=list(self.names))
        scores = self._method(inputs)
        return scores[:, 1] if self._second else scores


class _LogisticScorer:
    """The same numbers as the estimator's, bit by bit, without the checks that it makes of arrays from anywhere.

    They take ten times as long as the arithmetic. Rows for which that gives no number are left to the estimator, which
    says what it does not take.
    """

    takes_matrix = True
    waits = False

    def __init__(self, model: object, whole: _EstimatorScorer) -> None:
        from scipy.special import expit

        self._expit = expit
        self._weights: NDArray[np.float64] = model.coef_.T  # type: ignore[attr-defined]
        self._shift: NDArray[np.float64] = model.intercept_  # type: ignore[attr-defined]
        self._whole = whole
        self.width = len(self._weights)

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One product and one logistic function."""
        import numpy as np

        matrix = np.asarray(inputs)
        scores: NDArray[np.float64] = (matrix @ self._weights + self._shift).reshape(-1)
        if not np.isfinite(scores).all():
            return self._whole.score(inputs)
        return cast("NDArray[np.float64]", self._expit(scores, out=scores))


class _ForestScorer:
    """The same numbers as a forest's, bit by bit, without the checks and the hand-over of each tree to a pool.

    Those take 5 ms for a hundred trees, of which one row spends 0.02 ms in the trees. Few rows of a forest that is not
    large are run by LightGBM, which adds up the same leaves in the same order; others tree by tree. Rows with missing
    or infinite values are left to the estimator, which may take them, or says that it does not.
    """

    takes_matrix = True
    waits = False

    def __init__(self, model: object, task: str, whole: _EstimatorScorer) -> None:
        found = forests.ensemble(model, task)
        self.width = found.width
        self._whole = whole
        self._count = found.divisor
        self._quick = BoosterScorer(found.booster()) if found.leaves <= _MOST_LEAVES else None
        self._trees = forests.trees_of(model)
        self._columns = {"binary": slice(1, 2), "multiclass": slice(None), "regression": slice(0, 1)}[task]

    def prepare(self) -> None:
        """The trees as LightGBM runs them."""
        if self._quick is not None:
            self._quick.prepare()

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One call, or one for each tree."""
        import numpy as np

        with np.errstate(over="ignore"):  # what is beyond single precision is not finite there
            rows = np.asarray(inputs, dtype=np.float32)
        if not np.isfinite(rows).all():
            return self._whole.score(inputs)
        if self._quick is not None and len(rows) <= _FEW_ROWS:
            return self._quick.score(rows.astype(np.float64)) / self._count
        total = np.zeros((len(rows), self._trees[0].value.shape[2]))
        for tree in self._trees:
            total += tree.predict(rows)
        total = total[:, self._columns] / self._count
        return total if total.shape[1] > 1 else total[:, 0]


def _is_logistic(model: object) -> bool:
    from sklearn.linear_model import LogisticRegression

    if type(model) is not LogisticRegression:
        return False
    weights = cast("NDArray[np.float64]", vars(model)["coef_"])
    return weights.shape[0] == 1 and weights.dtype == "float64"


def _agree(quick: _LogisticScorer | _ForestScorer, whole: _EstimatorScorer) -> bool:
    """Whether both give the same bits for some rows: another release of scikit-learn may compute them otherwise."""
    import numpy as np

    rows = np.random.default_rng(0).normal(size=(9, quick.width))
    return all(np.array_equal(quick.score(part), whole.score(part)) for part in (rows, rows[:1]))


_COMMON = ("sklearn.tree._tree.Tree",)
"""Of `TRUSTED`, what most archives have that have any: they need not be looked through twice."""

_HINT = "use estimators of scikit-learn only, without functions or classes of your own"


def _classifier(model: object, names: tuple[str, ...]) -> Trait:
    classes = scalars(model.classes_)  # type: ignore[attr-defined]
    if len(classes) < 2:
        raise Invalid(f"the model knows {len(classes)} class", where="sklearn", hint="train on rows of both classes")
    if not hasattr(model, "predict_proba"):
        raise Invalid(
            f"a {type(model).__name__} gives no probabilities",
            where="sklearn",
            hint="wrap it: CalibratedClassifierCV(model).fit(...)",
        )
    task = "binary" if len(classes) == 2 else "multiclass"
    return Trait(task=task, classes=classes, trained_on=names, wants_frame=bool(names))


def _is_fitted(model: object) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError):
        return False
    return True


def _check_types(data: bytes) -> list[str]:
    """The types in an archive that skops does not trust by itself, all of which we do.

    Raises: Corrupt: It is no archive. Refused: It has others.
    """
    import skops.io

    try:
        found: list[str] = skops.io.get_untrusted_types(data=data)
    except Exception as reason:  # noqa: BLE001  # as in read()
        raise Corrupt(f"not a skops archive: {type(reason).__name__}: {reason}", where=FILE) from None
    unknown = sorted(set(found) - TRUSTED)
    if unknown:
        raise Refused(f"types that are not trusted: {', '.join(unknown[:5])}", where="sklearn", hint=_HINT)
    return found
