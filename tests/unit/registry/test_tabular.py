"""The first step of models that take raw columns."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from mainspring.registry.tabular import MOST_LEVELS, Tabular

ROWS = pl.DataFrame(
    {
        "x": [1.0, math.nan, 3.0],
        "city": ["ulm", "ulm", "kiel"],
        "at": ["2024-03-01T06:30:00", None, "soon"],
        "says": ["two words", "", None],
    }
)
COLUMNS = (["x"], ["city"], ["at"], ["says"])


def test_what_is_missing_becomes_the_median_with_a_mark_beside_it() -> None:
    made = Tabular(["x"]).fit(ROWS[["x"]])
    assert made.transform(ROWS[["x"]]).tolist() == [[1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]
    assert made.get_feature_names_out().tolist() == ["x", "x is missing"]


def test_trees_get_what_is_missing_as_missing_and_levels_by_frequency() -> None:
    found = Tabular(*COLUMNS, spread=False).fit(ROWS).transform(ROWS)
    assert math.isnan(found[1, 0])
    assert found[:, -1].tolist() == [0.0, 0.0, 1.0]


def test_a_date_is_its_day_month_weekday_and_hour() -> None:
    found = Tabular(dates=["at"], spread=False).fit(ROWS[["at"]]).transform(ROWS[["at"]])
    assert found[0].tolist() == pytest.approx([19783 + 6.5 / 24, 3.0, 4.0, 6.5])
    assert np.isnan(found[1:]).all()


def test_a_text_is_its_length_and_its_words() -> None:
    found = Tabular(texts=["says"], spread=False).fit(ROWS[["says"]]).transform(ROWS[["says"]])
    assert found[:2].tolist() == [[9.0, 2.0], [0.0, 0.0]]


def test_an_unknown_level_is_another_and_a_missing_one_is_none() -> None:
    made = Tabular(categories=["city"]).fit(ROWS[["city"]])
    found = made.transform(pl.DataFrame({"city": ["ulm", "bonn", None]}))
    assert found.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    assert made.get_feature_names_out().tolist() == ["city = ulm", "city = kiel", "city = another"]


def test_rare_levels_share_a_column() -> None:
    many = pl.DataFrame({"id": [str(number) for number in range(200)]})
    assert Tabular(categories=["id"]).fit_transform(many).shape == (200, MOST_LEVELS + 1)


def test_a_column_without_any_value_is_zero() -> None:
    empty = pl.DataFrame({"x": [math.nan, math.nan]})
    assert Tabular(["x"]).fit_transform(empty).tolist() == [[0.0, 1.0], [0.0, 1.0]]
