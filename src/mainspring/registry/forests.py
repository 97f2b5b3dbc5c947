"""Trees of scikit-learn as a booster of LightGBM: the very same trees, run and explained by its C++ code.

LightGBM splits by `value <= threshold` in double precision, as scikit-learn does, sends missing values by a side that
each split keeps, adds the trees up in their order in double precision, and keeps the rows of training at each node; so
a tree of scikit-learn can be written in its text format without loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mainspring.core.values import dataclass
from mainspring.registry.boosters import Booster

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SINGLE = ("DecisionTree", "ExtraTree")
_FORESTS = ("RandomForest", "ExtraTrees")
_BOOSTED = ("GradientBoosting", "HistGradientBoosting")
_WHOLE = float(1 << 30)
_HEAD = "tree\nversion=v4\nnum_class={k}\nnum_tree_per_iteration={k}\nlabel_index=0\nmax_feature_idx={last}\n"
_TO_LEFT, _BY_NAN = 2, 8  # bits of LightGBM's decision types: where missing values go, and that only NaN is missing


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree by arrays over its nodes, the root first; `left` is -1 at a leaf, `value` is (nodes, outputs)."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    cover: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The trees of an estimator: their sum, divided by `divisor`, plus `start` is its raw output.

    Attributes:
        trees: Each is made when it is asked for.
        leaves: Of all of them, for every output.
        start: (outputs,).
        divisor: The number of trees of a forest, else 1.
        dtype: What the estimator makes of its inputs before it compares.
        width: How many columns it takes.
    """

    trees: Iterator[Tree]
    leaves: int
    start: NDArray[np.float64]
    divisor: float
    dtype: type[np.floating[Any]]
    width: int

    def booster(self) -> Booster:
        """The trees as a booster, which gives their sums."""
        return Booster(_text(self.trees, len(self.start), self.width))


def kind_of(model: object) -> str:
    """Which trees of scikit-learn an estimator is, without Classifier or Regressor; "" for everything else."""
    name = type(model).__name__.removesuffix("Classifier").removesuffix("Regressor")
    known = name in _SINGLE + _FORESTS + _BOOSTED
    return name if known and type(model).__module__.startswith(("sklearn.tree.", "sklearn.ensemble.")) else ""


def is_averaged(model: object) -> bool:
    """Whether the raw output of an estimator is the mean of its trees: a forest, or a single tree."""
    return kind_of(model) in _SINGLE + _FORESTS


def trees_of(model: Any) -> list[Any]:
    """The trees of a forest or of a single tree, as scikit-learn has them."""
    return [model.tree_] if hasattr(model, "tree_") else [entry.tree_ for entry in model.estimators_]


def obstacle(model: Any) -> str:
    """What an estimator has beyond plain trees and a number to begin with; "" where there is nothing."""
    if kind_of(model) == "HistGradientBoosting":
        return "" if model.is_categorical_ is None else "histogram boosting that splits by categories"
    start = type(getattr(model, "init_", None)).__name__
    return (
        ""
        if start in ("NoneType", "DummyClassifier", "DummyRegressor", "str")
        else f"boosting that begins with a {start}"
    )


def ensemble(model: Any, task: str) -> Ensemble:
    """The trees of a fitted estimator without an `obstacle`; of a binary one those of the second class."""
    kind = kind_of(model)
    if kind == "HistGradientBoosting":
        return _of_histograms(model)
    return _of_boosting(model, task) if kind == "GradientBoosting" else _of_forest(model, task)


def _of_forest(model: Any, task: str) -> Ensemble:
    import numpy as np

    trees = trees_of(model)
    outputs = 1 if task != "multiclass" else len(model.classes_)

    def made() -> Iterator[Tree]:
        for tree in trees:
            values = np.asarray(tree.value)[:, 0, :]
            if task != "regression":
                values = values[:, 1:] if task == "binary" else values
            yield _plain(tree, values)

    leaves = sum(tree.n_leaves for tree in trees) * outputs
    return Ensemble(made(), leaves, np.zeros(outputs), float(len(trees)), np.float32, model.n_features_in_)


def _of_boosting(model: Any, task: str) -> Ensemble:
    import numpy as np

    rounds, outputs = model.estimators_.shape
    rate = model.learning_rate

    def made() -> Iterator[Tree]:
        for number in range(rounds):
            for output in range(outputs):
                tree = model.estimators_[number, output].tree_
                yield _plain(tree, np.asarray(tree.value)[:, 0, :1] * rate)

    zero = np.zeros((1, model.n_features_in_))  # what it says of any row beyond its trees is where it began
    raw = model.predict(zero) if task == "regression" else model.decision_function(zero)
    grown = [rate * sum(entry.predict(zero)[0] for entry in model.estimators_[:, k]) for k in range(outputs)]
    start = np.asarray(raw, dtype=np.float64).reshape(-1) - np.array(grown)
    leaves = sum(entry.tree_.n_leaves for entry in model.estimators_.ravel())
    return Ensemble(made(), leaves, start, 1.0, np.float32, model.n_features_in_)


def _plain(tree: Any, values: NDArray[np.float64]) -> Tree:
    import numpy as np

    missing = np.asarray(tree.missing_go_to_left, dtype=bool)
    weights = np.asarray(tree.weighted_n_node_samples)
    return Tree(tree.feature, tree.threshold, tree.children_left, tree.children_right, missing, weights, values)


def _of_histograms(model: Any) -> Ensemble:
    import numpy as np

    rounds = model._predictors

    def made() -> Iterator[Tree]:
        for nodes in (entry.nodes for row in rounds for entry in row):
            left = np.where(nodes["is_leaf"], -1, nodes["left"].astype(np.int64))
            yield Tree(
                nodes["feature_idx"].astype(np.int64),
                nodes["num_threshold"],
                left,
                nodes["right"].astype(np.int64),
                nodes["missing_go_to_left"].astype(bool),
                nodes["count"].astype(np.float64),
                nodes["value"][:, None],
            )

    leaves = sum(int(entry.nodes["is_leaf"].sum()) for row in rounds for entry in row)
    start = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    return Ensemble(made(), leaves, start, 1.0, np.float64, model.n_features_in_)


def _text(trees: Iterator[Tree], outputs: int, width: int) -> str:
    """The trees in LightGBM's text format, those of one round next to each other, one for each output."""
    names = " ".join(f"c{i}" for i in range(width))
    infos = " ".join(["[-1:1]"] * width)
    head = _HEAD.format(k=outputs, last=width - 1) + f"feature_names={names}\nfeature_infos={infos}\n"
    parts, number = [head], 0
    for tree in trees:
        for output in range(tree.value.shape[1]):
            parts.append(f"\nTree={number}\n{_written(tree, tree.value[:, output])}\n")
            number += 1
    return "".join([*parts, "\nend of trees\n\nparameters:\n[boosting: gbdt]\n\nend of parameters\n"])


def _written(tree: Tree, value: NDArray[np.float64]) -> str:
    import numpy as np

    is_leaf = tree.left < 0
    inner, leaves = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
    if not len(inner):
        return f"num_leaves=1\nnum_cat=0\nleaf_value={float(value[0])!r}\nis_linear=0\nshrinkage=1\n"
    place = np.empty(len(is_leaf), dtype=np.int64)
    place[inner], place[leaves] = np.arange(len(inner)), ~np.arange(len(leaves))
    cover = np.maximum(1, np.rint(tree.cover * _scaled(tree.cover))).astype(np.int64)
    for node in inner[::-1]:  # children come after their parents, so from the end each sum is there when it is needed
        cover[node] = cover[tree.left[node]] + cover[tree.right[node]]
    lines = {
        "num_leaves": [len(leaves)],
        "num_cat": [0],
        "split_feature": tree.feature[inner],
        "split_gain": np.zeros(len(inner), dtype=np.int64),
        "threshold": tree.threshold[inner],
        "decision_type": np.where(tree.missing_left[inner], _BY_NAN | _TO_LEFT, _BY_NAN),
        "left_child": place[tree.left[inner]],
        "right_child": place[tree.right[inner]],
        "leaf_value": value[leaves],
        "leaf_weight": cover[leaves],
        "leaf_count": cover[leaves],
        "internal_value": value[inner],
        "internal_weight": cover[inner],
        "internal_count": cover[inner],
        "is_linear": [0],
        "shrinkage": [1],
    }
    return "".join(f"{name}={' '.join(map(repr, np.asarray(found).tolist()))}\n" for name, found in lines.items())


def _scaled(cover: NDArray[np.float64]) -> float:
    """By what weights of rows become whole numbers: they stay as they are where they are whole."""
    import numpy as np

    if cover[0] < _WHOLE and np.array_equal(cover, np.rint(cover)):
        return 1.0
    return _WHOLE / float(cover[0])
