"""The numbers of other tools, on rows that they have seen: `peers/make_oracles.py` wrote down what they said."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from tests.unit.monitoring.peers.rows import HERE, cases

import mainspring as ms
from mainspring.monitoring.rules.parity import names, peer

CASES = cases()
WITHIN = {"evidently": 1e-9, "nannyml": 1e-6}
ORACLES = {name: json.loads((HERE / f"{name}.json").read_text())["cases"] for name in names()}
SAID = [
    (name, case, column) for name, found in ORACLES.items() for case, columns in found.items() for column in columns
]


@pytest.mark.parametrize(("name", "case", "column"), SAID)
def test_the_numbers_are_those_of_the_tool(name: str, case: str, column: str) -> None:
    reference, current = (pl.Series(rows[column]) for rows in CASES[case])
    ours, theirs = peer(name).scores(reference, current), ORACLES[name][case][column]
    assert set(ours) == set(theirs)
    for measure, values in theirs.items():
        assert list(ours[measure]) == pytest.approx(values, rel=WITHIN[name], abs=WITHIN[name]), measure


@pytest.mark.parametrize("name", names())
def test_a_report_shows_the_numbers_of_the_tool_and_keeps_its_own_verdict(name: str) -> None:
    reference, current = ({key: rows[key] for key in ("normal", "word")} for rows in CASES["small"])
    report, ours = ms.drift(reference, current, method=name), ms.drift(reference, current)
    assert report.drifted == ours.drifted
    column = report.column("normal")
    assert column is not None
    assert column.peer == peer(name).scores(pl.Series(reference["normal"]), pl.Series(current["normal"]))
    shown = next(iter(column.peer))
    assert shown in report.html
    assert json.loads(report.json())["columns"][0]["peer"]
    assert shown.replace("_", "\\_") in report.markdown()


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(
    "values", [[None, None], [], [4.0] * 30, ["a"] * 30, [True] * 30, [float("nan")] * 9, [1, 2, 3], [[1], [2]]]
)
def test_odd_columns_give_no_number_that_is_none(name: str, values: list[object]) -> None:
    column = pl.Series("x", values)
    for parts in (peer(name).scores(column, column), peer(name).scores(column, column.clear())):
        assert all(value is None or np.isfinite(value) for measure in parts.values() for value in measure)
