"""Trees of scikit-learn, explained by LightGBM's TreeSHAP on the very same trees.

LightGBM splits by `value <= threshold` in double precision, as scikit-learn does, sends missing values by a side that
each split keeps, and takes the rows of training at each node from its text format; so a tree of scikit-learn can be
written in it without loss. Only its codes are asked for there, never its predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mainspring.core.errors import Refused
from mainspring.registry.reasons import refused

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_SINGLE = ("DecisionTree", "ExtraTree")
_FORESTS = ("RandomForest", "ExtraTrees")
_MOST_LEAVES = 2_000_000
_FEW_ROWS = 32
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


def is_tree(model: object) -> bool:
    """Whether it is a tree, a forest or a boosted ensemble of trees of scikit-learn."""
    return type(model).__module__.startswith(("sklearn.tree.", "sklearn.ensemble.")) and _kind(model) != ""


def _kind(model: object) -> str:
    name = type(model).__name__.removesuffix("Classifier").removesuffix("Regressor")
    if name in _SINGLE + _FORESTS or name in ("GradientBoosting", "HistGradientBoosting"):
        return name
    return ""


class TreeExplainer:
    """Explains them.

    Args:
        model: The fitted estimator.
        task: Its task; of a binary one the second class is explained.
    Raises: Refused: It splits by categories, begins with a model of its own, or is too large.
    """

    def __init__(self, model: Any, task: str) -> None:
        import lightgbm
        import numpy as np

        kind = _kind(model)
        if kind == "HistGradientBoosting":
            trees, self._start = _of_histograms(model)
            self._dtype: type[np.floating[Any]] = np.float64
        else:
            trees, self._start = (_of_boosting if kind == "GradientBoosting" else _of_forest)(model, task)
            self._dtype = np.float32  # what scikit-learn makes of its inputs before it compares
        self.scale = _scale(model, kind, task)
        self._outputs = len(self._start)
        self._booster = lightgbm.Booster(model_str=_text(trees, self._outputs, int(model.n_features_in_)))

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """The codes of all outputs."""
        import numpy as np

        rows = np.asarray(inputs, dtype=self._dtype).astype(np.float64)
        threads = 1 if len(rows) <= _FEW_ROWS else 0
        found = np.asarray(self._booster.predict(rows, pred_contrib=True, num_threads=threads))
        shares = found.reshape(len(rows), self._outputs, -1).transpose(0, 2, 1).copy()
        shares[:, -1, :] += self._start
        return shares


def _scale(model: Any, kind: str, task: str) -> str:
    if "Boosting" not in kind:
        return "prediction" if task == "regression" else "probability"
    if task == "regression":
        return "log" if model.loss in ("poisson", "gamma") else "prediction"
    return "log-odds" if task == "binary" and model.loss == "log_loss" else "score"


def _of_forest(model: Any, task: str) -> tuple[Iterator[Tree], NDArray[np.float64]]:
    import numpy as np

    trees = [model.tree_] if hasattr(model, "tree_") else [entry.tree_ for entry in model.estimators_]
    outputs = 1 if task != "multiclass" else len(model.classes_)

    def made() -> Iterator[Tree]:
        for tree in trees:
            values = np.asarray(tree.value)[:, 0, :]
            if task != "regression":
                values = values / values.sum(axis=1, keepdims=True)
                values = values[:, 1:] if task == "binary" else values
            yield _plain(tree, values / len(trees))

    _check_size(sum(tree.n_leaves for tree in trees) * outputs)
    return made(), np.zeros(outputs)


def _of_boosting(model: Any, task: str) -> tuple[Iterator[Tree], NDArray[np.float64]]:
    import numpy as np

    if type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor", "str"):
        raise refused(f"boosting that begins with a {type(model.init_).__name__}")
    rounds, outputs = model.estimators_.shape
    rate = model.learning_rate

    def made() -> Iterator[Tree]:
        for number in range(rounds):
            for output in range(outputs):
                tree = model.estimators_[number, output].tree_
                yield _plain(tree, np.asarray(tree.value)[:, 0, :1] * rate)

    _check_size(sum(entry.tree_.n_leaves for entry in model.estimators_.ravel()))
    zero = np.zeros((1, model.n_features_in_))  # what it says of any row beyond its trees is where it began
    raw = model.predict(zero) if task == "regression" else model.decision_function(zero)
    grown = [rate * sum(entry.predict(zero)[0] for entry in model.estimators_[:, k]) for k in range(outputs)]
    return made(), np.asarray(raw, dtype=np.float64).reshape(-1) - np.array(grown)


def _plain(tree: Any, values: NDArray[np.float64]) -> Tree:
    import numpy as np

    missing = np.asarray(tree.missing_go_to_left, dtype=bool)
    weights = np.asarray(tree.weighted_n_node_samples)
    return Tree(tree.feature, tree.threshold, tree.children_left, tree.children_right, missing, weights, values)


def _of_histograms(model: Any) -> tuple[Iterator[Tree], NDArray[np.float64]]:
    import numpy as np

    if model.is_categorical_ is not None:
        raise refused("histogram boosting that splits by categories")
    rounds = model._predictors
    _check_size(sum(int(entry.nodes["is_leaf"].sum()) for row in rounds for entry in row))

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

    return made(), np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)


def _check_size(leaves: int) -> None:
    if leaves > _MOST_LEAVES:
        hint = "limit max_depth or max_leaf_nodes"
        raise Refused(f"{leaves} leaves, at most {_MOST_LEAVES} are explained", where="explain", hint=hint)


def _text(trees: Iterator[Tree], outputs: int, width: int) -> str:
    """The trees in LightGBM's text format, those of one round next to each other, one for each output."""
    names = " ".join(f"c{i}" for i in range(width))
    infos = " ".join(["[-1:1]"] * width)
    head = (
        _HEAD.format(k=outputs, last=width - 1)
        + f"objective=regression\nfeature_names={names}\nfeature_infos={infos}\n"
    )
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
