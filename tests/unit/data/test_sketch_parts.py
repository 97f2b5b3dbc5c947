"""Counting parts together is counting each of them: the bytes are the same."""

from __future__ import annotations

import math
from datetime import datetime
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.data.sketch import Grid, Sketch, learn_grid, learn_profile, sketch
from mainspring.data.sketch.parts import sketch_parts

odd = st.sampled_from([None, math.nan, math.inf, -math.inf, -0.0, 0.0, 1e308, -1e308, 5e-324])
numbers = st.one_of(odd, st.floats(), st.integers(-5, 5).map(float))
words = st.one_of(st.none(), st.sampled_from("abcdefgh"), st.text(max_size=3))
rows = st.tuples(numbers, words, st.one_of(st.none(), st.booleans()))
SCHEMA = {"x": pl.Float64, "c": pl.String, "b": pl.Boolean}
tables = st.lists(rows, max_size=60).map(lambda found: pl.DataFrame(found, schema=SCHEMA, orient="row"))


def one_by_one(frame: pl.DataFrame, grid: Grid, ends: list[int]) -> list[Sketch]:
    return [sketch(frame.slice(begin, end - begin), grid) for begin, end in pairwise([0, *ends])]


def same(frame: pl.DataFrame, grid: Grid, ends: list[int]) -> None:
    together, apart = sketch_parts(frame, grid, ends), one_by_one(frame, grid, ends)
    for mine, theirs in zip(together, apart, strict=True):
        assert mine.to_bytes() == theirs.to_bytes()
        for a, b in zip(mine.columns, theirs.columns, strict=True):
            assert a.sums.tobytes() == b.sums.tobytes()  # all digits, of which bytes of a sketch keep seven
            assert (a.counts.dtype, a.nulls, a.invalid) == (b.counts.dtype, b.nulls, b.invalid)


def ends_of(rows: int, draw: st.DataObject) -> list[int]:
    inner = draw.draw(st.lists(st.integers(0, rows), max_size=6)) if rows else []
    return [*sorted(inner), rows]


@given(tables, tables, st.data())
def test_parts_counted_together_have_the_bytes_of_each(
    reference: pl.DataFrame, table: pl.DataFrame, data: st.DataObject
) -> None:
    same(table, learn_grid(reference), ends_of(table.height, data))


@given(tables, tables, st.data())
@settings(max_examples=60, deadline=None)
def test_the_order_in_which_parts_are_merged_does_not_matter(
    reference: pl.DataFrame, table: pl.DataFrame, data: st.DataObject
) -> None:
    grid = learn_grid(reference)
    parts = sketch_parts(table, grid, ends_of(table.height, data))
    shuffled = data.draw(st.permutations(parts))
    for mine, theirs in zip(Sketch.total(grid, parts).columns, Sketch.total(grid, shuffled).columns, strict=True):
        assert mine.counts.tolist() == theirs.counts.tolist()
        assert (mine.nulls, mine.invalid, mine.least, mine.most) == (
            theirs.nulls,
            theirs.invalid,
            theirs.least,
            theirs.most,
        )
        assert mine.unseen == theirs.unseen


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("v", [datetime(2013, 1, 1), None, datetime(2014, 1, 1), None] * 3),
        pl.Series("v", [[1.0], None, [2.0], []] * 3),
        pl.Series("v", ["1.5", "two", None, "nan"] * 3),
        pl.Series("v", ["a", "b", None, "c"] * 3, dtype=pl.Categorical),
        pl.Series("v", [1, 2, None, 2**62] * 3, dtype=pl.Int64),
        pl.Series("v", [None] * 12, dtype=pl.Null),
        pl.Series("w", [1.0] * 12),
    ],
)
@pytest.mark.parametrize(
    "learnt",
    [
        pl.Series("v", [1.0, 2.0, 3.0]),
        pl.Series("v", ["a", "b", "a", "b"] * 20),
        pl.Series("v", [[1.0]]),
        pl.Series("v", [datetime(2013, 1, 1)] * 3),
    ],
)
def test_a_column_of_any_type_is_read_as_it_is_part_by_part(learnt: pl.Series, column: pl.Series) -> None:
    same(column.to_frame(), learn_grid(learnt.to_frame()), [4, 4, 9, 12])


def test_texts_and_vectors_are_made_part_by_part() -> None:
    rng = np.random.default_rng(4)
    text = [f"the order {i % 7} of customer {i} has not arrived yet, please help me" for i in range(400)]
    frame = pl.DataFrame({"text": text, "vector": pl.Series(rng.normal(size=(400, 12)).tolist())})
    grid = learn_profile(frame).grid
    assert grid.derivations
    same(frame.with_columns(vector=pl.when(pl.int_range(400) % 5 > 0).then("vector")), grid, [1, 150, 151, 400])


def test_parts_of_many_rows_add_their_squares_as_a_table_does() -> None:
    values = np.random.default_rng(5).normal(1e6, 1, 200_000)
    frame = pl.DataFrame({"x": values})
    same(frame, learn_grid(frame.head(1000)), [3, 150_000, 200_000])
