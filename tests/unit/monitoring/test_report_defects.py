"""The defects found in other tools, held against a report of two tables; those of alarms are in `test_drift.py`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mainspring as ms
from mainspring.core.errors import NotFound
from mainspring.monitoring.reports import ColumnDrift


def compared(before: object, now: object) -> ColumnDrift:
    return ms.drift({"x": before}, {"x": now}).columns[0]


def normal(
    rows: int, *, shift: float = 0.0, scale: float = 1.0, seed: int = 0
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(shift, scale, rows)


@pytest.mark.parametrize("outlier", [1e6, -1e300, math.inf])
@pytest.mark.parametrize(
    "method", ["shift", "ks", "psi", "jensen_shannon", "hellinger", "total_variation", "l_infinity"]
)
def test_defects_1_and_2_one_extreme_value_on_either_side_does_not_hide_a_shift(method: str, outlier: float) -> None:
    before, now = normal(4000), normal(1000, shift=1.0, seed=1)
    plain, spoiled_now, spoiled_before = (
        compared(*pair).by(method).value
        for pair in ((before, now), (before, np.append(now, outlier)), (np.append(before, outlier), now))
    )
    assert plain is not None
    assert spoiled_now == pytest.approx(plain, rel=0.02)
    assert spoiled_before == pytest.approx(plain, rel=0.05)


def test_defect_3_missing_values_are_drift_and_said_to_be_missing() -> None:
    now = normal(1000, seed=1)
    now[:600] = np.nan
    found = compared(normal(4000), now)
    assert found.drifted
    assert found.cause == "missing"


@pytest.mark.parametrize("levels", [2, 30, 100])
def test_defect_4_a_reference_of_few_rows_is_uncertain_too(levels: int) -> None:
    rng = np.random.default_rng(levels)
    draws = [[rng.integers(0, levels, 500).astype(str) for _ in range(2)] for _ in range(40)]
    found = [compared(*pair) for pair in draws]
    assert sum(column.drifted for column in found) <= 2
    assert sum((column.by("chi2").p or 0.0) < 0.05 for column in found) <= 7


def test_defect_5_a_small_table_against_1001_rows_is_no_drift() -> None:
    before = normal(1001)
    assert not any(compared(before, normal(60, seed=seed)).drifted for seed in range(1, 40))


@pytest.mark.parametrize("scale", [1e-4, 1e-12, 1e12])
def test_defect_6_the_scale_of_a_column_does_not_matter(scale: float) -> None:
    found = compared(normal(4000, scale=scale), normal(1000, shift=5 * scale, scale=scale, seed=1))
    assert found.drifted
    assert found.by("wasserstein").value == pytest.approx(5, abs=0.2)


def test_defect_7_two_reports_on_one_reference_count_in_the_same_cells() -> None:
    before = normal(4000)
    one, two = (compared(before, normal(500, shift=shift, seed=1)) for shift in (0.0, 3.0))
    assert one.current.cells.edges.tolist() == two.current.cells.edges.tolist()
    assert one.current.cells.groups.tolist() == two.current.cells.groups.tolist()


@pytest.mark.parametrize("values", [[4.0] * 50, [None] * 50, ["a"] * 50, [True] * 50, [float("nan")] * 50])
def test_defects_8_and_12_a_constant_or_empty_column_is_a_state_and_the_others_are_compared(
    values: list[object],
) -> None:
    report = ms.drift({"x": values, "y": normal(500)[:50]}, {"x": values, "y": normal(50, shift=9.0, seed=1)})
    assert report.drifted == ("y",)
    every = [found for column in report.columns for found in column.estimates().values()]
    assert all(found.reason if found.value is None else math.isfinite(found.value) for found in every)


@pytest.mark.parametrize(
    ("now", "summary", "said"),
    [
        ({"x": [], "y": []}, "not estimable: the current rows have no rows (0 rows against 500)", ["", ""]),
        (
            {"x": [math.inf] * 99},
            "2 of 2 columns drifted: 99 rows against 500",
            ["no value is finite", "no such column"],
        ),
        ({"x": normal(1), "y": ["a"]}, "no drift in 2 columns: 1 row against 500", ["", ""]),
    ],
    ids=["no rows", "infinite", "one row"],
)
def test_what_cannot_be_compared_is_said(now: dict[str, object], summary: str, said: list[str]) -> None:
    report = ms.drift({"x": normal(500), "y": ["a", "b"] * 250}, pl.DataFrame(now))
    assert report.summary == summary
    for name, text in zip(("x", "y"), said, strict=True):
        column = report.column(name)
        assert column is not None
        assert column.text.endswith(text)
        assert bool(column.text) == bool(text)


def test_of_objects_and_bytes_is_said_that_their_values_are_not_compared() -> None:
    before, now = pl.DataFrame({"x": [b"a"] * 300, "y": [{"z": 1}] * 300}), pl.DataFrame({"x": [b"b"], "y": [{"z": 2}]})
    report = ms.drift(before, now)
    assert not report.drifted
    assert all("only whether they are there" in column.text for column in report.columns)
    assert report.markdown().count("only whether they are there") == 2
    assert json.loads(report.json())["columns"][0]["text"]


def test_defect_11_every_option_changes_the_report_or_is_refused() -> None:
    before = pl.DataFrame({"x": normal(500), "y": normal(500, seed=1)})
    now = pl.DataFrame({"x": normal(500, shift=1.0, seed=2), "y": normal(500, shift=2.0, seed=3)})
    plain = ms.drift(before, now)
    assert plain.drifted == ("y", "x")
    assert ms.drift(before, now, columns=["x"]).drifted == ("x",)
    assert ms.drift(before, now, importance={"y": 0.1}).drifted == ("x", "y")
    assert ms.drift(before, now, method="missing_rate").drifted == ()
    seeds = [ms.drift(before.head(60), now.head(60), together=True, seed=seed).together for seed in (0, 1)]
    assert seeds[0] != seeds[1]
    with pytest.raises(NotFound):
        ms.drift(before, now, method="no such thing")


def test_defect_13_nan_is_missing_in_frames_and_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "now.parquet"
    frame = pl.DataFrame({"x": [float("nan")] * 300 + [1.0] * 100})
    frame.write_parquet(path)
    for now in (frame, path, frame.to_dict(as_series=False)):
        report = ms.drift({"x": [1.0] * 400}, now)
        assert report.columns[0].by("missing_rate").value == pytest.approx(0.75)
