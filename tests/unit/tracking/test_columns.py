"""Columns of the table of runs, groups, and the axes of parallel coordinates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.tracking.comparing import cell
from mainspring.tracking.grammar import RUNS, read_fields, read_filter, read_order
from mainspring.tracking.grammar.tree import Field, Order
from mainspring.tracking.model import Metric, Run
from mainspring.tracking.page.columns import chosen, column, filter_of, following_order, known_fields, number_of
from mainspring.tracking.page.compare import axes_of

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=6)


def _run(number: int, params: dict[str, str], metrics: dict[str, float], tags: dict[str, str] | None = None) -> Run:
    points = {key: Metric(key, found, 0, 1) for key, found in metrics.items()}
    return Run(
        f"{number:032x}",
        "e",
        "1",
        "",
        f"r{number}",
        "",
        "finished",
        number,
        None,
        None,
        "me",
        params=params,
        metrics=points,
        tags=tags or {},
    )


RUNS_ = [
    _run(1, {"depth": "3", "kind": "a"}, {"loss": 0.5, "auc": 0.7}),
    _run(2, {"depth": "6", "kind": "a"}, {"loss": math.nan}),
    _run(3, {"depth": "6", "kind": "a", "odd key": "it's"}, {"loss": 0.1}),
]


def test_columns_are_the_common_metrics_and_the_params_that_differ() -> None:
    names = [column(field).name for field in chosen(RUNS_, known_fields(RUNS_))]
    assert names == ["metrics.loss", "metrics.auc", "params.depth", "params.`odd key`"]


@given(KEYS)
def test_the_name_of_a_column_reads_as_its_field(key: str) -> None:
    for entity in ("metrics", "params", "tags"):
        field = Field(entity, key)
        assert list(read_fields(column(field).name, RUNS, ())) == [field]


def test_a_click_sorts_downwards_first_and_turns_round_after() -> None:
    loss = Field("metrics", "loss")
    first = following_order([], loss)
    assert list(read_order([first], RUNS)) == [Order(loss, descending=True)]
    assert following_order(read_order([first], RUNS), loss) == "metrics.loss ASC"


@given(KEYS, st.none() | KEYS)
def test_the_filter_of_a_group_reads(key: str, value: str | None) -> None:
    read_filter(filter_of(column(Field("params", key)).name, value), RUNS, now=0)


@pytest.mark.parametrize(("text", "number"), [("3", 3.0), ("x", "x"), ("inf", None), (None, None)])
def test_texts_that_read_as_numbers_are_numbers(text: str | None, number: float | str | None) -> None:
    assert number_of(text) == number


def test_parallel_axes_are_params_that_differ_and_a_metric() -> None:
    axes, rows = axes_of(RUNS_, "loss")
    assert axes == ["depth", "odd key", "loss"]
    assert rows[0] == [3.0, None, 0.5]
    assert rows[2] == [6.0, "it's", 0.1]
    assert axes_of(RUNS_[:1] * 2, "loss") == ([], [])


def test_a_run_without_the_value_has_none() -> None:
    assert cell(RUNS_[1], Field("metrics", "auc")) is None
    assert cell(RUNS_[1], Field("attributes", "status")) == "finished"
