"""How far apart two sketches of a column are, by many measures: one file for each, found by its name.

Every method is a module with `SAYS`, `SYMMETRIC`, `KINDS`, `FLOOR` and `measure`; adding one is adding a file. A method
answers with a value and what that value is worth (an interval, a p-value), or says why it cannot be estimated.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Protocol, cast

import numpy as np

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.methods import load_method, methods_in
from mainspring.monitoring.rules.statistics.estimates import Estimate, not_estimable

__all__ = ["Estimate", "Method", "compare", "method", "names"]
_PARTS = ("estimates", "samples")


class Method(Protocol):
    """What a module in this folder offers."""

    SAYS: str
    """What the value is, in one line."""
    SYMMETRIC: bool
    """Whether swapping the two samples leaves the value as it is."""
    KINDS: frozenset[str]
    """Kinds of columns it is for."""
    FLOOR: float
    """A value that is no larger is not worth a word, however many rows there are."""
    ON_VALUES: bool
    """Whether it needs a value in both samples, and not only rows."""

    def measure(self, reference: ColumnSketch, current: ColumnSketch) -> Estimate:
        """The estimate; both samples have what `ON_VALUES` asks, on the same cells, of a kind in `KINDS`."""


@cache
def names() -> tuple[str, ...]:
    """The names of all methods.

    >>> "psi" in names()
    True
    """
    return methods_in(__path__, besides=_PARTS)


@cache
def method(name: str) -> Method:
    """A method by its name.

    Raises:
        NotFound: There is none of that name.
    """
    return cast(Method, load_method(__name__, name, names(), compares="columns"))


def compare(name: str, reference: ColumnSketch, current: ColumnSketch) -> Estimate:
    """One method on two sketches of a column. It never raises on odd data and never gives a number that is none.

    Args:
        name: One of `names()`.
        reference: What is compared with.
        current: What is compared, counted in the same cells.
    Returns:
        The estimate, or the reason why there is none.
    Raises:
        NotFound: There is no method of that name.

    >>> import polars as pl
    >>> from mainspring.data.sketch import learn_grid, sketch
    >>> frame = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    >>> column = sketch(frame, learn_grid(frame)).columns[0]
    >>> compare("ks", column, column).value
    0.0
    """
    chosen = method(name)
    refused = _refusal(chosen, reference, current)
    if refused:
        return not_estimable(refused)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = chosen.measure(reference, current)
    numbers = [part for part in (found.value, found.low, found.high, found.p) if part is not None]
    return found if all(map(math.isfinite, numbers)) else not_estimable("the values are too large to add up")


def _refusal(chosen: Method, reference: ColumnSketch, current: ColumnSketch) -> str:
    kind = reference.cells.kind
    if kind not in chosen.KINDS:
        return f"it is not for {'columns of lists or objects' if kind == 'opaque' else f'{kind} columns'}"
    if not _same_cells(reference, current):
        return "the two were counted in different cells"
    for what, column in (("the reference", reference), ("the current rows", current)):
        if not column.rows:
            return f"{what} have no rows" if column is current else f"{what} has no rows"
        if chosen.ON_VALUES and not column.present:
            return f"no values in {what}"
    return ""


def _same_cells(one: ColumnSketch, other: ColumnSketch) -> bool:
    a, b = one.cells, other.cells
    return a is b or (a.kind == b.kind and a.levels == b.levels and np.array_equal(a.edges, b.edges))
