"""Many rows through a boosted model at once: each split crosses leaves out, and what is left is where a row ends.

Every column is asked once for the place of a value among all thresholds that any tree has for it. What that place rules
out in every tree was written down when the model was loaded, a bit for each leaf; of all columns together one leaf of
each tree is left. So there is no walk along nodes, whose next step waits for the one before, but a few operations over
all rows and all trees. The leaves are those of the trees themselves, added up in their order: the very same bits.

Source: Lucchese et al. (2015), "QuickScorer: a fast algorithm to rank documents with additive ensembles of regression
trees", with the masks of a column accumulated over its thresholds.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import lightgbm
    import numpy as np
    from numpy.typing import NDArray

    from mainspring.registry.boosters import Booster

_MOST_LEAVES = 64  # of a tree; they are the bits of a word
_MOST_BYTES = 32 * 1024**2
_MOST_COLUMNS = 80  # beyond, walking is not slower
_AT_ONCE = 1 << 15  # words, trees times rows: what is worked on stays in the cache of a core
_WALK = 100  # trees walked through in the time that one column takes, however many rows there are
_TO_LEFT = 2  # a bit of LightGBM's decision types: where a missing value goes
_AS_ZERO, _BY_NAN = 0, 2  # the bits above it: NaN is read as 0, or goes by that bit
_ZERO = 1.0000000180025095e-35  # LightGBM reads what is not further from zero as zero
_OBJECTIVE = re.compile(r"^objective=(.*)$", re.MULTILINE)
_IDENTITY = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
Finish: TypeAlias = "Callable[[NDArray[np.float64]], NDArray[np.float64]]"


class MaskedTrees:
    """The trees of a booster, asked for many rows at once. Safe to share between threads.

    Args:
        text: The model as LightGBM writes it.
    Raises:
        Unmasked: It has trees, or a way from their sums to its answers, that are not put so here.
    """

    def __init__(self, text: str) -> None:
        import numpy as np

        head = _fields(text[: text.index("\nTree=")] if "\nTree=" in text else text)
        self._classes = int(head["num_tree_per_iteration"])
        self._finish = _finish(text, self._classes)
        trees = [_Tree(_fields(part)) for part in text[: text.index("\nend of trees")].split("\nTree=")[1:]]
        if not trees or max(len(tree.leaves) for tree in trees) > _MOST_LEAVES:
            raise Unmasked
        self._trees = len(trees)
        self._mean_of = self._trees // self._classes if "\naverage_output\n" in text else 0
        few = max(len(tree.leaves) for tree in trees) <= 32
        word, width = (np.uint32, 32) if few else (np.uint64, 64)
        leaves = np.zeros((self._trees, width))
        for place, tree in enumerate(trees):
            leaves[place, : len(tree.leaves)] = tree.leaves
        self._leaves = leaves.ravel()
        self._first = (np.arange(self._trees) * width - 1023)[:, None]  # 1023: the exponent of one
        self._columns = _columns(trees, word)
        if not 0 < len(self._columns) <= _MOST_COLUMNS:
            raise Unmasked
        self._least_rows = max(4, -(-_WALK * len(self._columns) // self._trees))
        self._rows = max(1, _AT_ONCE // self._trees)
        size = self._rows * self._trees
        self._left, self._ruled_out = np.empty(size, word), np.empty(size, word)
        self._place, self._found = np.empty(size), np.empty(size)
        self._lock = threading.Lock()

    @classmethod
    def of(cls, booster: Booster | lightgbm.Booster) -> MaskedTrees | None:
        """Those of a booster; None where they can't be put so, or say something else than it does."""
        import numpy as np

        try:
            first = _fields(booster.model_to_string(num_iteration=1))
            if int(first["num_leaves"]) > _MOST_LEAVES:
                return None  # without a look at all of a large model
            made = cls(booster.model_to_string())
        except (Unmasked, KeyError, ValueError, IndexError):
            return None
        rows = made._tried(booster.num_feature())
        found = made.score(rows)
        same = found is not None and np.array_equal(found, np.asarray(booster.predict(rows, num_threads=1)))
        return made if same else None

    def takes(self, rows: int) -> bool:
        """Whether that many are answered sooner than by walking through the trees."""
        return rows >= self._least_rows

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The answers of the model.

        Args:
            rows: (rows, columns), any layout.
        Returns: (rows,), or (rows, classes); None for rows whose answer no number of double precision is.
        """
        import numpy as np

        sums = np.empty((self._classes, len(rows)))
        any_missing = bool(np.isnan(rows).any())
        with self._lock:
            for start in range(0, len(rows), self._rows):
                part = rows[start : start + self._rows]
                self._add_up(part, sums[:, start : start + len(part)], any_missing=any_missing)
        if self._mean_of:
            sums /= self._mean_of
        try:
            return self._finish(sums)
        except OverflowError:
            return None

    def _add_up(self, rows: NDArray[np.float64], sums: NDArray[np.float64], *, any_missing: bool) -> None:
        import numpy as np

        count, trees = len(rows), self._trees
        size = count * trees
        left, ruled_out = (held[:size].reshape(count, trees) for held in (self._left, self._ruled_out))
        for number, column in enumerate(self._columns):
            places = column.places(rows, any_missing=any_missing)
            column.masks.take(places, axis=0, out=ruled_out if number else left, mode="clip")
            if number:
                np.bitwise_and(left, ruled_out, out=left)
        np.negative(left, out=ruled_out)
        np.bitwise_and(left, ruled_out, out=left)  # the lowest bit: of the leaves that are left the first
        powers = self._place[:size].reshape(count, trees)
        np.copyto(powers, left)
        bits = powers.view(np.int64)
        np.right_shift(bits, 52, out=bits)
        found = self._found[:size].reshape(trees, count)
        at = found.view(np.int64)
        np.add(bits.T, self._first, out=at)
        values = self._place[:size].reshape(trees, count)
        self._leaves.take(at, out=values, mode="clip")
        if sums.size == 1:  # NumPy would add up a lone row of numbers in pairs
            sums[0, 0] = 0.0 + np.add.accumulate(values[:, 0])[-1]
        else:
            np.add.reduce(values.reshape(-1, *sums.shape), axis=0, initial=0.0, out=sums)  # one tree after the other

    def _tried(self, width: int) -> NDArray[np.float64]:
        """Rows by which both ways are compared: drawn, on the thresholds, without a value, and infinite."""
        import numpy as np

        rows = np.random.default_rng(0).normal(size=(64, width))
        for column in self._columns:
            rows[16:48, column.place] = np.resize(column.cuts, 32)
        rows[48:56] = np.where(rows[48:56] > 0.5, np.nan, rows[48:56])
        rows[56:, :] = np.where(rows[56:] > 0.5, np.inf, np.where(rows[56:] < -0.5, -np.inf, 0.0))
        return rows


class Unmasked(Exception):
    """A model whose leaves are not found by masks."""


class _Column:
    """One column: its thresholds, and for the values between two of them the leaves that they leave, in every tree."""

    def __init__(self, place: int, cuts: NDArray[np.float64], masks: NDArray[np.unsignedinteger[Any]]) -> None:
        self.place, self.cuts, self.masks = place, cuts, masks

    def places(self, rows: NDArray[np.float64], *, any_missing: bool) -> NDArray[np.intp]:
        import numpy as np

        values = rows[:, self.place]
        found = self.cuts.searchsorted(values)
        if any_missing:
            found[np.isnan(values)] = len(self.masks) - 1  # the last masks are those of a missing value
        return found


class _Tree:
    """A tree as LightGBM writes it: its leaves from left to right, and of each split those on its left as bits."""

    def __init__(self, said: dict[str, str]) -> None:
        count = int(said["num_leaves"])
        if count > _MOST_LEAVES or said.get("num_cat", "0") != "0" or said.get("is_linear", "0") != "0":
            raise Unmasked
        values = [float(value) for value in said["leaf_value"].split()]
        self.leaves, self.lefts = values, [0] * (count - 1)
        self.columns = [int(value) for value in said.get("split_feature", "").split()]
        self.cuts = [float(value) for value in said.get("threshold", "").split()]
        self.kinds = [int(value) for value in said.get("decision_type", "").split()]
        if count == 1:
            return
        self._children = [[int(value) for value in said[f"{side}_child"].split()] for side in ("left", "right")]
        order: list[int] = []
        self._walk(0, order)
        self.leaves = [values[leaf] for leaf in order]

    def _walk(self, node: int, order: list[int]) -> int:
        """The leaves under a node as bits, numbered in their order."""
        if node < 0:
            order.append(~node)
            return 1 << (len(order) - 1)
        left, right = self._children
        self.lefts[node] = self._walk(left[node], order)
        return self.lefts[node] | self._walk(right[node], order)


def _columns(trees: Sequence[_Tree], word: type[np.unsignedinteger[Any]]) -> list[_Column]:
    """The columns that any tree splits by. A value above a threshold rules out the leaves on the left of the split."""
    import numpy as np

    every = (1 << (8 * word().itemsize)) - 1
    column = np.array([one for tree in trees for one in tree.columns], dtype=np.intp)
    cut = _beside_zero(np.array([one for tree in trees for one in tree.cuts]))
    kind = np.array([one for tree in trees for one in tree.kinds], dtype=np.intp)
    owner = np.array([place for place, tree in enumerate(trees) for _ in tree.columns], dtype=np.intp)
    ruled_out = np.array([every ^ bits for tree in trees for bits in tree.lefts], dtype=word)
    missing = kind >> 2
    if not np.isin(missing, (_AS_ZERO, _BY_NAN)).all():
        raise Unmasked
    goes_left = np.where(missing == _BY_NAN, kind & _TO_LEFT, cut >= 0.0).astype(bool)  # where its value is missing
    found, size = [], 0
    for place in np.unique(column).tolist():
        own = np.flatnonzero(column == place)
        cuts = np.unique(cut[own])
        size += (len(cuts) + 2) * len(trees) * word().itemsize
        if size > _MOST_BYTES:
            raise Unmasked
        masks = np.full((len(cuts) + 2, len(trees)), every, dtype=word)
        np.bitwise_and.at(masks, (cuts.searchsorted(cut[own]) + 1, owner[own]), ruled_out[own])
        np.bitwise_and.accumulate(masks[:-1], axis=0, out=masks[:-1])
        aside = own[~goes_left[own]]
        np.bitwise_and.at(masks[-1], owner[aside], ruled_out[aside])
        found.append(_Column(place, cuts, masks))
    return found


def _beside_zero(cut: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds by which all that is read as zero goes where zero goes."""
    import numpy as np

    below = (cut >= -_ZERO) & (cut < 0.0)
    return np.where(below, np.nextafter(-_ZERO, -1.0), np.where((cut >= 0.0) & (cut < _ZERO), _ZERO, cut))


def _fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _finish(text: str, classes: int) -> Finish:
    """How answers come of the sums (classes, rows), number by number as LightGBM computes them.

    NumPy's own functions over arrays differ from those of the C library in the last bit.
    """
    import numpy as np

    found = _OBJECTIVE.search(text)
    name, *options = found[1].split() if found else [""]
    if name in ("binary", "cross_entropy"):
        slope = next((float(option[8:]) for option in options if option.startswith("sigmoid:")), 1.0)
        exp = math.exp
        return lambda sums: np.array([1.0 / (1.0 + exp(-slope * value)) for value in sums[0].tolist()])
    if name == "multiclass":
        return _softmax
    if name and (name not in _IDENTITY or "sqrt" in options):
        raise Unmasked
    return lambda sums: sums[0] if classes == 1 else sums.T


def _softmax(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    above = sums - sums.max(axis=0)
    powers = np.array([[math.exp(value) for value in row] for row in above.tolist()])
    shares: NDArray[np.float64] = powers / np.add.reduce(powers, axis=0, initial=0.0)
    return shares.T
