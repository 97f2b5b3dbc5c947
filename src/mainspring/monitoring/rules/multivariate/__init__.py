"""Changes that no single column shows: how columns go together, compared on rows.

One file for each method, found by its name; each has `SAYS` and `measure(reference, current, seed=...)` on two matrices
from `encoding.encode`.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol, cast

import polars as pl

from mainspring.monitoring.rules.methods import load_method, methods_in
from mainspring.monitoring.rules.multivariate.encoding import LEAST_ROWS, Floats, encode
from mainspring.monitoring.rules.statistics.estimates import Estimate, not_estimable

__all__ = ["Method", "compare_frames", "method", "names"]


class Method(Protocol):
    """What a module in this folder offers."""

    SAYS: str
    """What the value is, in one line."""

    def measure(self, reference: Floats, current: Floats, *, seed: int) -> Estimate:
        """The estimate for two matrices of finite numbers, (rows, features), of at least `LEAST_ROWS` rows each."""


@cache
def names() -> tuple[str, ...]:
    """The names of all methods.

    >>> names()
    ('domain_classifier', 'energy', 'mmd', 'pca_reconstruction')
    """
    return methods_in(__path__, besides=("encoding",))


@cache
def method(name: str) -> Method:
    """A method by its name.

    Raises:
        NotFound: There is none of that name.
    """
    return cast(Method, load_method(__name__, name, names(), compares="tables"))


def compare_frames(name: str, reference: pl.DataFrame, current: pl.DataFrame, *, seed: int = 0) -> Estimate:
    """One method on two tables.

    Args:
        name: One of `names()`.
        reference: What is compared with.
        current: What is compared; a column it lacks is null in every row.
        seed: Which rows are drawn, and how they are permuted.
    Returns:
        The estimate, or the reason why there is none.
    Raises:
        NotFound: There is no method of that name.
    """
    chosen = method(name)
    before, now = encode(reference, current, seed=seed)
    if not before.shape[1]:
        return not_estimable("no column of numbers, levels or lists of numbers that varies")
    for what, rows in (("the reference", before.shape[0]), ("the current table", now.shape[0])):
        if rows < LEAST_ROWS:
            return not_estimable(f"{rows} rows in {what}, {LEAST_ROWS} are needed")
    return chosen.measure(before, now, seed=seed)
