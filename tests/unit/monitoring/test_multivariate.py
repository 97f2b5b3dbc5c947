"""Changes that no single column shows."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from mainspring.core.errors import NotFound
from mainspring.monitoring.rules.multivariate import compare_frames, method, names


def table(rows: int, *, tied: float, seed: int) -> pl.DataFrame:
    """Four columns, each as it always is; `tied` says how the first two go together."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    y = tied * x[:, 0] + math.sqrt(1 - tied**2) * rng.normal(size=rows)
    words = np.where(x[:, 2] > 0, "up", "down")
    return pl.DataFrame({"a": x[:, 0], "b": y, "c": x[:, 1], "d": words})


@pytest.mark.parametrize("name", names())
def test_columns_that_no_longer_go_together_are_noticed_and_those_that_do_are_not(name: str) -> None:
    reference = table(600, tied=0.95, seed=1)
    same = compare_frames(name, reference, table(500, tied=0.95, seed=2))
    other = compare_frames(name, reference, table(500, tied=-0.95, seed=3))
    assert same.p is not None
    assert other.p is not None
    assert other.p < 0.01 < same.p
    assert (other.value or 0) > (same.value or 0)


@pytest.mark.parametrize("name", names())
def test_tables_that_cannot_be_compared_say_why(name: str) -> None:
    few = compare_frames(name, table(10, tied=0.5, seed=1), table(100, tied=0.5, seed=2))
    assert few.text == "not estimable: 10 rows in the reference, 50 are needed"
    constant = pl.DataFrame({"x": [1.0] * 90, "y": [None] * 90})
    assert compare_frames(name, constant, constant).text.startswith("not estimable: no column of ")


@pytest.mark.parametrize("name", names())
def test_missing_columns_and_values_are_compared_too(name: str) -> None:
    reference = table(300, tied=0.5, seed=1)
    found = compare_frames(name, reference, table(300, tied=0.5, seed=2).drop("a").with_columns(c=None))
    assert found.p is not None
    assert found.p < 0.01


def test_the_same_seed_gives_the_same_figures() -> None:
    frames = table(5000, tied=0.5, seed=1), table(4500, tied=0.5, seed=2)
    assert compare_frames("mmd", *frames, seed=7) == compare_frames("mmd", *frames, seed=7)


def test_a_method_nobody_wrote_is_refused() -> None:
    with pytest.raises(NotFound, match="no method 'nmd'"):
        method("nmd")
