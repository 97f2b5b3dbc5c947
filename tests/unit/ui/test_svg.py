"""Charts: well-formed, named, and drawn where the numbers say."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.clock import DAY_US
from mainspring.ui.svg import (
    COLOURS,
    Curve,
    svg_bars,
    svg_curves,
    svg_interval,
    svg_key,
    svg_line,
    svg_map,
    svg_parallel,
    svg_steps,
)

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
SVG = "{http://www.w3.org/2000/svg}"


def _tree(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20), st.booleans())
def test_any_points_give_a_well_formed_chart_without_nan(points: list[tuple[float, float]], steps: bool) -> None:
    svg = (svg_steps if steps else svg_line)(points, label="any")
    _tree(svg)
    assert "nan" not in svg.lower().replace("svg", "")


@given(st.lists(NUMBERS, max_size=20), st.lists(NUMBERS, max_size=20))
def test_any_values_give_well_formed_bars(values: list[float], reference: list[float]) -> None:
    _tree(svg_bars(values, [str(v) for v in values], label="any", reference=reference))


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_any_interval_is_well_formed(low: float, value: float, high: float, reference: float) -> None:
    _tree(svg_interval(low, value, high, label="any", reference=reference))


def test_the_label_and_the_numbers_are_said_in_words() -> None:
    tree = _tree(svg_line([(0, 1.0), (1, 3.0), (2, 2.0)], label="loss <train>"))
    assert tree.findtext(f"{SVG}title") == "loss <train>"
    assert tree.findtext(f"{SVG}desc") == "3 points, from 1 to 3, last 2"
    assert tree.get("role") == "img"
    assert tree.get("aria-label") == "loss <train>: 3 points, from 1 to 3, last 2"


def test_a_missing_value_leaves_a_gap() -> None:
    tree = _tree(svg_line([(0, 1), (1, 1), (2, math.nan), (3, 1), (4, 1)], label="x"))
    assert len(tree.findall(f"{SVG}path")) == 2


def test_a_step_holds_its_value_until_the_next_point() -> None:
    (path,) = _tree(svg_steps([(0, 0), (1, 10)], label="x")).findall(f"{SVG}path")
    first, corner, last = re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", ""))
    assert (corner[0], corner[1]) == (last[0], first[1])


def test_bars_grow_with_their_values() -> None:
    bars = _tree(svg_bars([1, 2, 4], ["a", "b", "c"], label="x")).findall(f"{SVG}rect")
    heights = [float(bar.get("height", "0")) for bar in bars]
    assert heights[2] == pytest.approx(2 * heights[1], abs=0.2) == pytest.approx(4 * heights[0], abs=0.4)


def test_the_reference_of_an_interval_lies_between_its_bounds_when_it_does() -> None:
    tree = _tree(svg_interval(-1, 0.5, 2, label="x", reference=0))
    reference, span = tree.findall(f"{SVG}line")
    assert float(span.get("x1", "")) < float(reference.get("x1", "")) < float(span.get("x2", ""))


def test_no_style_attribute_is_needed_so_a_strict_policy_holds() -> None:
    assert "style=" not in svg_line([(0, 1), (1, 2)], label="x", marks=[0.5], reference=1.5)


@given(st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=8), max_size=12), st.booleans())
def test_any_curves_are_well_formed_on_both_scales(curves: list[list[tuple[float, float]]], log: bool) -> None:
    svg = svg_curves([Curve(f"c{i}", points, points) for i, points in enumerate(curves)], label="any", log=log)
    _tree(svg)
    assert "nan" not in svg.lower()


def test_a_logarithmic_axis_gives_every_power_of_ten_the_same_height() -> None:
    svg = svg_curves([Curve("loss", [(0, 1.0), (1, 10.0), (2, 100.0), (3, 0.0)])], label="loss", log=True)
    (path,) = _tree(svg).findall(f"{SVG}path")
    heights = [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", ""))]
    assert len(heights) == 3, "what is not above zero is left out"
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.11)


def test_a_curve_and_its_key_look_the_same_and_no_two_alike() -> None:
    keys = [svg_key(place) for place in range(2 * COLOURS)]
    assert len(set(keys)) == 2 * COLOURS
    curves = [Curve(str(place), [(0, 1), (1, 2)]) for place in range(2 * COLOURS)]
    paths = _tree(svg_curves(curves, label="x")).findall(f"{SVG}path")
    for key, path in zip(keys, paths, strict=True):
        stroke = _tree(key).find("path")
        assert stroke is not None
        assert (stroke.get("class"), stroke.get("stroke-dasharray")) == (
            path.get("class"),
            path.get("stroke-dasharray"),
        )


@given(st.lists(st.tuples(NUMBERS | st.none(), st.text(max_size=3) | st.none() | NUMBERS), max_size=8))
def test_any_rows_give_parallel_coordinates(rows: list[tuple[float | None, float | str | None]]) -> None:
    svg = svg_parallel(
        ["depth", "loss"],
        [[a, b if not isinstance(b, str) else b.encode("ascii", "ignore").decode()] for a, b in rows],
        label="any",
    )
    assert "nan" not in re.sub(r"<(text|title|desc).*?</\1>", "", svg).lower()


def test_a_missing_value_breaks_the_line_of_its_row() -> None:
    svg = svg_parallel(["a", "b", "c", "d"], [[1, 2, None, 3], [2, "deep", 1, 4]], label="x")
    lines = _tree(svg).findall(f"{SVG}path")
    assert len(lines) == 3, "a, b and then d of the first row; the second row whole"


def test_a_single_moment_is_shown_among_the_hours_around_it() -> None:
    noon = 20_000 * DAY_US + DAY_US // 2
    drawn = str(svg_line([(noon, 3.0)], label="requests", times=True))
    assert re.findall(r">(\d\d:\d\d)<", drawn) == ["01:55", "08:38", "15:21", "22:04"]


def test_a_map_has_a_disc_for_each_share_and_its_outline() -> None:
    text = svg_map([(0.0, 0.0), (1.0, 2.0)], [0.8, 0.0], ["00", "01"], label="regions", reference=[0.5, 0.5])
    assert (text.count('class="bar"'), text.count('class="ref-bar"')) == (1, 2)
    assert "00 0.8" in text
