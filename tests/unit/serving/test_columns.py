"""Columns out of a matrix: all at once or one by one, the outcome is the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.core.errors import Invalid
from mainspring.registry.model import Field
from mainspring.serving.modelserver.columns import Features, plain

VALUES = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 1e39, -1e39, 3.4e38, -0.0, 1e308])
)
MATRICES = st.integers(1, 5).flatmap(lambda rows: st.lists(VALUES, min_size=2 * rows, max_size=2 * rows))


def features(*, takes_missing: bool = True) -> Features:
    made = Features([Field("a", "float64"), Field("b", "float32")])
    made.fields[1].takes_missing = takes_missing
    return made


def outcome(made: Features, flat: NDArray[np.float64] | list[float]) -> object:
    try:
        return [plain(column) for column in made.from_flat(flat, [len(flat) // 2, 2], "m")]
    except Invalid as reason:
        return reason.what


@given(MATRICES, st.booleans())
def test_an_array_becomes_what_the_same_list_becomes(values: list[float], takes_missing: bool) -> None:
    made = features(takes_missing=takes_missing)
    assert outcome(made, np.array(values)) == outcome(made, values)


def test_whole_numbers_of_an_array_are_numbers_and_truth_values_are_not() -> None:
    assert outcome(features(), np.array([1, 2, 3, 4])) == [[1.0, 3.0], [2.0, 4.0]]
    with pytest.raises(Invalid, match=r"'a' has a bool where it takes a number"):
        features().from_flat(np.array([True, False]), [1, 2], "m")


def test_a_matrix_of_another_width_is_told_the_columns() -> None:
    with pytest.raises(Invalid, match=r"shape \[1, 3\], the model takes \[n, 2\]"):
        features().from_flat(np.zeros(3), [1, 3], "m")
