"""Names, special values, the latest point, thinning, differences."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Conflict, Invalid, TooLarge
from mainspring.tracking.model import Metric
from mainspring.tracking.rules import (
    changed_params,
    check_key,
    check_path,
    check_rows,
    check_status,
    check_texts,
    differences,
    joined,
    latest,
    rank,
    rows_of,
    smoothed,
    split,
    thinned,
)
from mainspring.tracking.wire import decode, encode

STEPS = st.integers(-(2**63), 2**63 - 1)
METRICS = st.builds(Metric, st.sampled_from(["loss", "auc", "a/b"]), st.floats(), STEPS, st.integers(0, 2**63 - 1))
CURVES = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(allow_nan=True)), max_size=200).map(sorted)


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


@given(st.floats())
def test_every_number_comes_back_from_its_two_columns(value: float) -> None:
    stored, sort = split(value)
    assert math.isfinite(stored)
    assert same(joined(stored, sort), value)


@given(st.lists(METRICS, max_size=20), st.randoms())
def test_the_latest_point_does_not_depend_on_the_order(points: list[Metric], random: object) -> None:
    shuffled = list(points)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found, again = latest(points), latest(shuffled)
    assert {key: rank(point) for key, point in found.items()} == {key: rank(point) for key, point in again.items()}


def test_the_latest_point_has_the_greatest_step_then_time_then_value() -> None:
    points = [Metric("a", 9.0, 1, 5), Metric("a", 1.0, 2, 3), Metric("a", 2.0, 2, 3), Metric("a", math.nan, 2, 3)]
    assert latest(points)["a"].value == 2.0


@given(st.lists(METRICS, max_size=10), st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_a_batch_comes_back_from_the_wire(points: list[Metric], params: dict[str, str]) -> None:
    back = decode(encode(points, params=params))
    assert [rank(point) for point in back.points()] == [rank(point) for point in points]
    assert back.params == params


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"metrics": [["a"]]}', b'{"metrics": [["a", true]]}', b'{"surprise": 1}', b"\xff", b"{" * 5000],
)
def test_a_malformed_batch_is_invalid_and_nothing_worse(body: bytes) -> None:
    with pytest.raises(Invalid):
        decode(body)


def test_an_unknown_word_is_no_number() -> None:
    with pytest.raises(Invalid, match="'Nan' is no number"):
        decode(b'{"metrics": [["a", "Nan"]]}').points()


@given(CURVES, st.integers(4, 60))
def test_a_thinned_curve_is_short_and_keeps_ends_and_extremes(curve: list[tuple[float, float]], most: int) -> None:
    finite = [point for point in curve if math.isfinite(point[1])]
    kept = thinned(curve, most)
    assert len(kept) <= most
    assert set(kept) <= set(finite)
    if finite:
        assert (kept[0], kept[-1]) == (finite[0], finite[-1])
        assert {min(y for _, y in kept), max(y for _, y in kept)} == {
            min(y for _, y in finite),
            max(y for _, y in finite),
        }


@pytest.mark.parametrize("key", ["loss", "val/auc", "a b:c-d.e", "x" * 250])
def test_ordinary_names_are_taken(key: str) -> None:
    assert check_key(key, "metric") == key


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", "a/", ".", "..", "a\nb", "x" * 251, "a%"])
def test_names_that_read_like_other_places_are_refused(key: str) -> None:
    with pytest.raises(Invalid):
        check_key(key, "metric")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a", "a/../../b", "a\\b", "a\x00b", "a//b", ".", "x" * 1001])
def test_artifact_paths_stay_inside_the_run(path: str) -> None:
    with pytest.raises(Invalid):
        check_path(path)


def test_a_param_is_written_once() -> None:
    changed_params({"depth": "6"}, {"depth": "6", "rate": "0.1"})
    with pytest.raises(Conflict, match="depth"):
        changed_params({"depth": "6"}, {"depth": "7"})


def test_batches_have_limits() -> None:
    with pytest.raises(TooLarge, match="1001 points"):
        check_rows(rows_of([Metric("a", 0.0, step) for step in range(1001)]))
    with pytest.raises(Invalid, match="out of range"):
        check_rows(rows_of([Metric("a", 0.0, 2**63)]))
    with pytest.raises(TooLarge):
        check_texts({"a": "x" * 6001}, "param", 6000)
    with pytest.raises(Invalid, match="NUL"):
        check_texts({"a": "\x00"}, "param", 6000)


def test_a_misspelt_status_is_answered_with_the_near_one() -> None:
    with pytest.raises(Invalid, match="finished"):
        check_status("finishd")


def test_differences_are_what_is_not_the_same_everywhere() -> None:
    assert differences([{"a": 1, "b": 1}, {"a": 1}, {"a": 1, "b": 1}]) == {"b": (1, None, 1)}


@given(CURVES, st.floats(0, 0.99))
def test_smoothing_keeps_every_x_and_stays_between_the_values(curve: list[tuple[float, float]], weight: float) -> None:
    found = smoothed(curve, weight)
    assert [x for x, _ in found] == [x for x, _ in curve]
    known = [y for _, y in curve if abs(y) < 1e300]
    drawn = [y for _, y in found if abs(y) < 1e300]
    assert len(drawn) == len(known)
    slack = 1e-9 * max((abs(y) for y in known), default=0)
    assert all(min(known) - slack <= y <= max(known) + slack for y in drawn)


def test_no_weight_changes_nothing() -> None:
    assert smoothed([(0.0, 1.0), (1.0, 3.0)], 0.0) == [(0.0, 1.0), (1.0, 3.0)]
