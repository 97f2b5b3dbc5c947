"""Two versions on the same inputs: bounds that hold at every look, and what is counted of pairs."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mainspring.serving.comparing import ANSWERED, comparisons, paired
from mainspring.serving.rules.pairs import LEAST_PAIRS, Difference, difference, is_no_worse, most_frequent, verdict

LABELS = {"id": pl.String, "seq": pl.Int64, "number": pl.Float64, "text": pl.String}


def said(version: int, **columns: list[object]) -> pl.DataFrame:
    """Answers of a version to the rows r0, r1, ..."""
    rows = len(next(iter(columns.values())))
    usual: dict[str, object] = {
        "id": [f"r{i}" for i in range(rows)], "key": [f"k{i}" for i in range(rows)], "version": [version] * rows,
        "status": [200] * rows, "error": [""] * rows, "model_us": [100.0 * version] * rows,
        "probability": [None] * rows, "prediction": [None] * rows, "label_out": [None] * rows,
    }  # fmt: skip
    types = {"probability": pl.Float64, "prediction": pl.Float64, "label_out": pl.String}
    return pl.DataFrame(usual | columns, schema_overrides=types).select(ANSWERED)


def labels(numbers: list[float | None], texts: list[str | None] | None = None) -> pl.DataFrame:
    words = texts or [None] * len(numbers)
    rows = [(f"r{i}", i + 1, number, word) for i, (number, word) in enumerate(zip(numbers, words, strict=True))]
    return pl.DataFrame(rows, schema=LABELS, orient="row")


def test_bounds_that_are_looked_at_all_the_time_miss_the_truth_in_one_of_twenty_at_most() -> None:
    rng = np.random.default_rng(3)
    looks = np.unique(np.geomspace(LEAST_PAIRS, 4_000, 60).astype(int))
    missed = 0
    for _ in range(400):
        values = rng.exponential(size=4_000) - 1.0  # skewed, with mean 0
        sums, squares = values.cumsum(), (values**2).cumsum()
        for n in looks:
            mean = sums[n - 1] / n
            deviation = float(np.sqrt(max(0.0, squares[n - 1] / n - mean**2)))
            found = difference(int(n), float(mean), deviation)
            if verdict(found) != "undecided":
                missed += 1
                break
    assert missed <= 0.05 * 400


def test_a_verdict_needs_labels_and_enough_of_them() -> None:
    assert verdict(Difference()) == "no labels"
    assert verdict(difference(LEAST_PAIRS - 1, -9.0, 0.1)) == "undecided"
    assert verdict(difference(LEAST_PAIRS, -9.0, 0.1)) == "better"
    assert verdict(difference(LEAST_PAIRS, 9.0, 0.1)) == "worse"


def test_no_worse_is_only_what_is_ruled_out() -> None:
    assert not is_no_worse(Difference(), 1.0)
    assert is_no_worse(difference(1_000, 0.0, 1.0), 0.1)
    assert not is_no_worse(difference(1_000, 0.0, 1.0), 0.09)


def test_the_most_frequent_come_first_and_equal_ones_by_name() -> None:
    assert most_frequent([("b", 1), ("c", 5), ("a", 1)], 2) == (("c", 5), ("a", 1))


def test_numbers_are_compared_by_their_distance_and_absolute_error() -> None:
    before, after = said(1, prediction=[1.0, 2.0, 3.0]), said(2, prediction=[1.0, 2.5, 5.0])
    (found,) = comparisons(paired(before, after), labels([1.0, 3.0, 4.0]))
    assert (found.version, found.against, found.answered, found.loss) == (2, 1, 3, "absolute error")
    assert found.differing == pytest.approx(2 / 3)
    assert found.distance == pytest.approx((2.5 / 3, 0.5, 2.0, 2.0))
    assert found.losses == pytest.approx((2 / 3, 1.5 / 3))
    assert found.model_us == ((100.0, 100.0), (200.0, 200.0))


def test_classes_are_compared_by_wrong_answers_also_where_labels_are_numbers() -> None:
    before, after = said(1, label_out=["0", "1", "2"]), said(2, label_out=["0", "2", "2"])
    (found,) = comparisons(paired(before, after), labels([0.0, 2.0, 1.0]))
    assert (found.loss, found.distance) == ("wrong answers", None)
    assert found.losses == pytest.approx((2 / 3, 1 / 3))
    (found,) = comparisons(paired(before, after), labels([None, None, None], ["0", "1", "2"]))
    assert found.losses == pytest.approx((0.0, 1 / 3))


def test_rows_of_one_key_count_once() -> None:
    rows: list[object] = [0.0] * 120
    changed: list[object] = [1.0] * 120
    same: list[object] = ["anna"] * 120
    (found,) = comparisons(
        paired(said(1, prediction=rows, key=same), said(2, prediction=changed, key=same)), labels([0.0] * 120)
    )
    assert (found.labelled, found.loss_difference.pairs, found.verdict) == (120, 1, "undecided")


def test_each_version_that_answered_is_a_comparison_of_its_own() -> None:
    before = said(1, prediction=[1.0, 1.0]).with_columns(pl.Series("version", [1, 2]))
    found = comparisons(
        paired(before, pl.concat([said(3, prediction=[1.0, 1.0]), said(4, prediction=[2.0, 1.0])])), labels([])
    )
    assert [(entry.version, entry.against, entry.rows) for entry in found] == [
        (4, 2, 1),
        (4, 1, 1),
        (3, 2, 1),
        (3, 1, 1),
    ]
