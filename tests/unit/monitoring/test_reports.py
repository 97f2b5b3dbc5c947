"""Drift reports: two tables in, and the same figures as an object, a page, JSON and Markdown."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner

import mainspring as ms
from mainspring.core.errors import Invalid, NotFound
from mainspring.monitoring.report_commands import drift as command

ODD = "<script>alert(1)</script>|&\n"


def table(rows: int, *, seed: int, moved: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    missing = rng.random(rows) < (0.5 if moved else 0.1)
    return pl.DataFrame(
        {
            "calm": rng.normal(size=rows),
            "unit": rng.gamma(5, 2, rows) * (1000 if moved else 1),
            "gaps": np.where(missing, np.nan, rng.normal(size=rows)),
            "word": rng.choice(["a", "b", ODD], rows),
            "plan": rng.choice(["x", "y", "z"] if moved else ["x", "y"], rows),
            "flag": rng.random(rows) < 0.3,
            "at": pl.Series([start + timedelta(minutes=i) for i in range(rows)]),
            "list": [[1, 2], [3]] * (rows // 2),
            "empty": pl.Series([None] * rows, dtype=pl.Null),
            "same": [4.0] * rows,
        }
    )


REPORT = ms.drift(table(3000, seed=1), table(1500, seed=2, moved=True), together=True)


class Balanced(HTMLParser):
    """Counts what is opened and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "path", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.open.pop() == tag


def test_the_columns_that_changed_are_named_with_their_cause() -> None:
    assert {column.name: column.cause for column in REPORT.columns if column.drifted} == {
        "unit": "unit",
        "gaps": "missing",
        "plan": "unseen",
    }
    assert "a factor of 1000" in next(column.text for column in REPORT.columns if column.name == "unit")
    assert [column.drifted for column in REPORT.columns] == [True] * 3 + [False] * 7


def test_a_printed_report_is_its_summary_and_a_line_for_each_column_that_drifted() -> None:
    lines = str(REPORT).splitlines()
    assert lines[0] == REPORT.summary
    assert [line.partition(":")[0] for line in lines[1:]] == list(REPORT.drifted)
    assert repr(REPORT) == f"<DriftReport {REPORT.summary}>"


def test_a_change_of_unit_is_seen_also_where_few_rows_make_the_mean() -> None:
    rng = np.random.default_rng(5)
    before, now = rng.lognormal(10, 1.2, 3000), rng.lognormal(10, 1.2, 900) / 1000
    found = ms.drift({"income": before}, {"income": now}).column("income")
    assert found is not None
    assert (found.cause, found.text) == ("unit", "the values changed by a factor of 1000")


def test_two_samples_of_the_same_rows_have_no_drift() -> None:
    report = ms.drift(table(3000, seed=1), table(1500, seed=2))
    assert not report.drifted
    assert report.summary == "no drift in 10 columns: 1,500 rows against 3,000"


def test_the_page_is_whole_and_small_and_asks_nothing_of_others() -> None:
    page = REPORT.html
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert {"svg", "table", "details"} <= parser.seen
    assert "script" not in parser.seen
    assert not re.search(r"(?:src|href)=|https?://|nan|Infinity", page)
    assert "prefers-color-scheme:dark" in page
    assert REPORT._repr_html_() in page


def test_fifty_columns_take_less_than_300_kb() -> None:
    rng = np.random.default_rng(3)
    before, now = (
        {
            f"column_{i:02}": rng.normal(size=2000) if i % 5 else rng.choice(list("abcdefghijkl"), 2000)
            for i in range(50)
        }
        for _ in range(2)
    )
    report = ms.drift(before, now)
    assert len(report.html.encode()) < 300_000


def test_json_and_markdown_say_the_same() -> None:
    found = json.loads(REPORT.json())
    assert found["drifted"] == list(REPORT.drifted)
    by_name = {column["name"]: column for column in found["columns"]}
    assert by_name["gaps"]["methods"]["missing_rate"]["value"] == pytest.approx(0.4, abs=0.05)
    assert by_name["same"]["methods"]["mean"]["not_estimable"] == "every value of the reference is the same"
    assert set(found["together"]) == {"domain_classifier", "energy", "mmd", "pca_reconstruction"}
    assert "NaN" not in REPORT.json()
    rows = [line for line in REPORT.markdown().splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 10
    assert all(line.count(" | ") == 4 for line in rows)


def test_pandas_and_files_give_the_figures_of_polars(tmp_path: Path) -> None:
    before, now = (table(500, seed=i).select("calm", "word", "flag") for i in (1, 2))
    expected = [(column.name, column.estimate) for column in ms.drift(before, now).columns]
    frames = [pd.DataFrame(frame.to_dict(as_series=False)) for frame in (before, now)]
    assert [(column.name, column.estimate) for column in ms.drift(*frames).columns] == expected
    before.write_parquet(tmp_path / "before.parquet")
    now.with_columns(word=pl.col("word").str.replace_all("\n", " ")).write_csv(tmp_path / "now.csv")
    mixed = ms.drift(str(tmp_path / "before.parquet"), tmp_path / "now.csv", columns=["calm", "flag"])
    assert dict(expected)["calm"] == next(column.estimate for column in mixed.columns if column.name == "calm")


@pytest.mark.parametrize("method", ["ks", "psi", "wasserstein", "jensen_shannon", "missing_rate"])
def test_another_method_can_judge(method: str) -> None:
    before, now = table(2000, seed=1).select("calm"), table(2000, seed=2).select(pl.col("calm") + 1)
    report = ms.drift(before, now, method=method)
    assert report.drifted == (() if method == "missing_rate" else ("calm",))
    assert f"judged by {method}" in report.html


def test_columns_that_only_one_table_has_are_told() -> None:
    before, now = table(900, seed=1), table(900, seed=2)
    report = ms.drift(before.select("calm", "unit"), now.select("unit", "flag"))
    assert (report.absent, report.added) == (("calm",), ("flag",))
    assert report.drifted == ("calm",)
    assert report.columns[0].text == "there is no such column"
    assert "Missing columns: calm" in report.html


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"x": []}, {"x": []}),
        ({"x": [1.0]}, {"x": []}),
        ({"x": [None, None]}, {"x": [1, 2]}),
        ({"x": ["a"]}, {"x": [1]}),
        ({"x": [1, 2]}, {"x": ["a", "b"]}),
        ({"x": [float("inf")]}, {"x": [float("nan")]}),
        ({"x": [1e308, -1e308]}, {"x": [1e308]}),
        ({"x": [[1]]}, {"x": [[2], None]}),
        ({"x": [datetime(1, 1, 1, tzinfo=UTC)]}, {"x": [datetime(2013, 1, 1)]}),
    ],
)
def test_odd_tables_are_reported_and_never_raise(before: dict[str, object], now: dict[str, object]) -> None:
    report = ms.drift(before, now, together=True)
    for text in (report.html, report.json(), report.markdown()):
        assert "nan" not in text.lower().replace("tenan", "")
    assert report.columns[0].name.startswith("x")


def test_importance_orders_what_drifted() -> None:
    before = {"a": np.arange(1000.0), "b": np.arange(1000.0)}
    now = {"a": np.arange(1000.0) + 300, "b": np.arange(1000.0) + 200}
    assert ms.drift(before, now).drifted == ("a", "b")
    assert ms.drift(before, now, importance={"a": 0.1}).drifted == ("b", "a")


def test_what_cannot_be_asked_says_what_can() -> None:
    with pytest.raises(NotFound, match='did you mean "wasserstein"'):
        ms.drift({"x": [1]}, {"x": [1]}, method="waserstein")
    with pytest.raises(Invalid, match="no column 'y'"):
        ms.drift({"x": [1]}, {"x": [1]}, columns=["y"])
    with pytest.raises(NotFound, match="no file"):
        ms.drift("absent.csv", {"x": [1]})
    with pytest.raises(Invalid, match="int is no table"):
        ms.drift(3, {"x": [1]})
    with pytest.raises(Invalid, match="reference has no columns"):
        ms.drift({}, {"x": [1]})


def test_the_command_prints_writes_and_fails_when_asked(tmp_path: Path) -> None:
    before, now = tmp_path / "before.parquet", tmp_path / "now.parquet"
    table(900, seed=1).select("calm", "unit").write_parquet(before)
    table(900, seed=2, moved=True).select("calm", "unit").write_parquet(now)
    page = tmp_path / "report.html"
    runner = CliRunner()
    said = runner.invoke(command, [str(before), str(now), "--html", str(page)], standalone_mode=False)
    assert said.return_value == 0
    assert "1 of 2 columns drifted" in said.output
    assert page.read_text().startswith("<!doctype html>")
    failed = runner.invoke(command, [str(before), str(now), "--fail-on-drift", "--json"], standalone_mode=False)
    assert failed.return_value == 4
    assert json.loads(failed.output)["drifted"] == ["unit"]
    same = runner.invoke(command, [str(before), str(before), "--fail-on-drift", "--markdown"], standalone_mode=False)
    assert same.return_value == 0
    assert "| calm | numeric | no |" in same.output


def test_a_report_is_saved_in_the_form_its_name_asks_for(tmp_path: Path) -> None:
    for name, begins in (("r.html", "<!doctype"), ("r.json", "{"), ("r.md", "**3 of")):
        assert REPORT.save(tmp_path / name).read_text().startswith(begins)
    with pytest.raises(Invalid, match=r"no report is written as \.pdf"):
        REPORT.save("r.pdf")
