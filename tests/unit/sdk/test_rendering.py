"""Tables, figures and images as files that other programs read back."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.sdk import rendering

ROWS = [{"name": "a", "n": 1}, {"name": 'b, "c"', "n": 2, "late": 0.5}]


@pytest.mark.parametrize(
    "rows",
    [
        [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}],
        {"x": [1, 2], "y": ["a", "b"]},
        {"x": np.array([1, 2]), "y": ("a", "b")},
        pl.DataFrame({"x": [1, 2], "y": ["a", "b"]}),
        pl.LazyFrame({"x": [1, 2], "y": ["a", "b"]}),
    ],
    ids=["rows", "columns", "arrays", "frame", "lazy frame"],
)
def test_a_table_is_the_same_file_whatever_it_is_given_as(rows: object) -> None:
    assert rendering.table("t", rows) == (b"x,y\n1,a\n2,b\n", "t.csv")
    assert json.loads(rendering.table("t.json", rows)[0]) == {"columns": ["x", "y"], "data": [[1, "a"], [2, "b"]]}
    assert pl.read_parquet(io.BytesIO(rendering.table("t.parquet", rows)[0])).rows() == [(1, "a"), (2, "b")]


def test_a_frame_of_pandas_is_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    assert rendering.table("t", frame)[0] == b"x,y\n1,a\n2,b\n"


def test_rows_with_other_keys_leave_gaps() -> None:
    assert rendering.table("t", ROWS)[0].decode() == 'name,n,late\na,1,\n"b, ""c""",2,0.5\n'


@pytest.mark.parametrize("rows", [7, "text", [1, 2], {"x": [1], "y": [1, 2]}])
def test_what_is_no_table_is_refused(rows: object) -> None:
    with pytest.raises(Invalid):
        rendering.table("t", rows)


def test_an_ending_that_no_table_has_is_refused() -> None:
    with pytest.raises(Invalid, match=r"\.xlsx"):
        rendering.table("t.xlsx", ROWS)


@given(
    st.sampled_from([(3, 5), (3, 5, 1), (3, 5, 3), (3, 5, 4)]), st.integers(0, 2**32 - 1), st.sampled_from(["u1", "?"])
)
def test_an_array_comes_back_from_its_png(shape: tuple[int, ...], seed: int, kind: str) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(seed).integers(0, 2 if kind == "?" else 256, shape).astype(kind)
    data, name = rendering.image("i", pixels)
    found = np.asarray(image.open(io.BytesIO(data)))
    assert name == "i.png"
    assert np.array_equal(found.reshape(shape), pixels * 255 if kind == "?" else pixels)


def test_floats_from_0_to_1_are_an_image_and_others_are_not() -> None:
    image = pytest.importorskip("PIL.Image")
    data, _ = rendering.image("i", np.array([[0.0, 0.5, 1.0]]))
    assert np.asarray(image.open(io.BytesIO(data))).tolist() == [[0, 128, 255]]
    with pytest.raises(Invalid, match="from 0 to 7"):
        rendering.image("i", np.array([[0.0, 7.0]]))
    with pytest.raises(Invalid, match="nan"):
        rendering.image("i", np.array([[0.0, np.nan]]))


@pytest.mark.parametrize("shown", [np.zeros(3), np.zeros((2, 2, 5)), np.zeros((0, 2)), [[0, 1]], np.array([[300]])])
def test_what_is_no_image_is_refused(shown: object) -> None:
    with pytest.raises(Invalid):
        rendering.image("i", shown)


def test_an_image_of_pil_is_written_as_its_name_ends() -> None:
    image = pytest.importorskip("PIL.Image")
    made = image.new("RGB", (4, 3), (255, 0, 0))
    for name, magic in (("i", b"\x89PNG"), ("i.jpg", b"\xff\xd8"), ("i.webp", b"RIFF")):
        assert rendering.image(name, made)[0].startswith(magic)
    with pytest.raises(Invalid, match=r"\.nothing"):
        rendering.image("i.nothing", made)


def test_a_figure_of_plotly_is_a_page_of_its_own_or_json() -> None:
    graph = pytest.importorskip("plotly.graph_objects")
    figure = graph.Figure(graph.Scatter(x=[1, 2], y=[3, 4]))
    page, name = rendering.figure("f", figure)
    assert name == "f.html"
    assert b"<script src=" not in page
    assert rendering.figure("f", figure)[0] == page
    assert json.loads(rendering.figure("f.json", figure)[0])["data"][0]["type"] == "scatter"
    with pytest.raises(Invalid, match="html or"):
        rendering.figure("f.svg", figure)


@pytest.mark.filterwarnings("ignore")
def test_a_figure_of_matplotlib_or_its_axes_is_a_picture() -> None:
    figures = pytest.importorskip("matplotlib.figure")
    figure = figures.Figure()
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4])
    for name, magic in (("f", b"\x89PNG"), ("f.svg", b"<?xml"), ("f.pdf", b"%PDF")):
        assert rendering.figure(name, figure)[0].startswith(magic)
    assert rendering.figure("f", axes)[1] == "f.png"
    with pytest.raises(Invalid, match="can't write"):
        rendering.figure("f.doc", figure)


def test_what_is_no_figure_is_refused() -> None:
    with pytest.raises(Invalid, match="no figure"):
        rendering.figure("f", {"x": 1})


@dataclass
class Point:
    x: int


def test_values_become_json() -> None:
    value = {"a": np.float32(0.5), "b": np.arange(2), "c": Point(1), "d": datetime(2026, 1, 1, tzinfo=UTC), "e": {1}}
    found = json.loads(rendering.json_bytes(value))
    assert found == {"a": 0.5, "b": [0, 1], "c": {"x": 1}, "d": "2026-01-01T00:00:00+00:00", "e": [1]}
    with pytest.raises(Invalid, match="no form in JSON"):
        rendering.json_bytes({"a": object()})


def test_writing_rows_and_columns_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mainspring.sdk import rendering; rendering.table('t', [{'x': 1}])\n"
        "print(sorted({'numpy', 'pandas', 'polars', 'PIL', 'matplotlib', 'plotly'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
