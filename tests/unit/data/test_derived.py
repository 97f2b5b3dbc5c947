"""Columns that stand for texts and vectors."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mainspring as ms
from mainspring.data.sketch import Grid, learn_profile, sketch
from mainspring.data.sketch.derivation import TextColumn, VectorColumn
from mainspring.data.sketch.derived import is_text, text_columns, vector_columns, vectors

WEATHER = ["rain", "snow", "wind", "storm", "cloud", "fog", "thunder", "sleet", "hail", "frost", "breeze", "drizzle"]
MONEY = ["bank", "loan", "rate", "credit", "debt", "bond", "share", "fund", "stock", "price", "cost", "profit"]


def notes(words: list[str], rows: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(rows)]


def test_sentences_are_texts_and_levels_and_identifiers_are_not() -> None:
    assert is_text(pl.Series(notes(WEATHER, 200, 1)))
    assert not is_text(pl.Series(["good day", "bad day"] * 50))
    assert not is_text(pl.Series([f"N{i}" for i in range(100)]))
    assert not is_text(pl.Series([None, None], dtype=pl.String))
    assert not is_text(pl.Series([1, 2]))


def test_the_statistics_of_a_text_are_worked_by_hand() -> None:
    found = {part.name: part.to_list() for part in text_columns(pl.Series("note", ["Ab c 1é", "", None]))}
    assert found["note: characters"] == [7.0, 0.0, None]
    assert found["note: words"] == [3.0, 0.0, None]
    assert found["note: letters"] == [pytest.approx(4 / 7), None, None]
    assert found["note: capitals"][0] == pytest.approx(1 / 7)
    assert found["note: digits"][0] == found["note: beyond ASCII"][0] == pytest.approx(1 / 7)
    assert found["note: characters a word"][0] == pytest.approx(5 / 3)
    assert found["note: content"][1:] == [None, None]


def test_the_content_of_a_row_depends_on_that_row_alone() -> None:
    rows = ["", *notes(WEATHER, 50, 2), "ab", "abc", "é", None, "x"]
    whole = text_columns(pl.Series("t", rows))[-1].to_list()
    assert whole == [text_columns(pl.Series("t", [row], dtype=pl.String))[-1][0] for row in rows]
    assert len(set(whole)) > 3


def test_another_topic_is_seen_in_texts_of_the_same_shape_and_the_same_topic_is_not() -> None:
    before = {"note": notes(WEATHER, 900, 3)}
    assert not ms.drift(before, {"note": notes(WEATHER, 700, 4)}).drifted
    report = ms.drift(before, {"note": notes(MONEY, 700, 5)})
    assert "note: content" in report.drifted
    assert "nan" not in report.html


def embeddings(rows: int, seed: int, *, turned: bool = False) -> pl.Series:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 8)) * np.array([3.0, 2.0, 1.0, 1.0, 0.5, 0.5, 0.2, 0.1])
    if turned:
        values = values[:, ::-1]
    return pl.Series("vector", values.tolist())


def test_embeddings_that_turn_are_seen_and_those_that_do_not_are_not() -> None:
    before = pl.DataFrame([embeddings(300, 1), pl.Series("x", range(300))])
    same = ms.drift(before, pl.DataFrame([embeddings(200, 2), pl.Series("x", range(300)).sample(200, seed=1)]))
    assert not same.drifted
    turned = ms.drift(before, pl.DataFrame([embeddings(200, 3, turned=True), before["x"].head(200)]), together=True)
    assert "vector: direction 1" in turned.drifted
    found = turned.together["vector: domain_classifier"]
    assert found.low is not None
    assert found.low > 0.7
    assert (turned.together["vector: energy"].p or 1.0) < 0.01


def test_vectors_of_another_width_or_with_gaps_are_missing() -> None:
    assert vectors(pl.Series([[1.0, 2.0], [3.0]])) is None
    assert vectors(pl.Series(["a"])) is None
    before, now = vector_columns(embeddings(50, 1), pl.Series("vector", [[1.0, 2.0]] * 9))
    assert [column.name for column in before] == ["vector: length", *(f"vector: direction {i}" for i in (1, 2, 3))]
    assert all(column.null_count() == 9 for column in now)
    empty = pl.Series("vector", [None, None], dtype=pl.List(pl.Float64))
    assert vector_columns(empty, empty) == ([], [])
    gaps, _ = vector_columns(pl.Series("v", [[1.0, None], [2.0, 3.0], None]), pl.Series("v", [[1.0, 1.0]]))
    assert gaps[0].null_count() == 2
    flat, _ = vector_columns(pl.Series("v", [[1e308, 1e308]] * 3), pl.Series("v", [[1.0, 1.0]]))
    assert len(flat) == 1


def numbered(rows: int, seed: int, *, width: int = 64, first: int = 0) -> pl.DataFrame:
    values = np.random.default_rng(seed).normal(size=(rows, width))
    return pl.DataFrame({f"e[{place + first}]": values[:, place] for place in range(width)})


def test_a_profile_counts_what_stands_for_its_texts_and_vectors_and_comes_back_from_its_bytes() -> None:
    frame = pl.DataFrame([pl.Series("note", notes(WEATHER, 600, 1)), embeddings(600, 2), pl.Series("x", range(600))])
    profile = learn_profile(frame)
    text, vector = profile.grid.derivations
    assert text == TextColumn("note")
    assert isinstance(vector, VectorColumn)
    assert (vector.name, vector.width, vector.places) == ("vector", 8, ())
    grid = Grid.from_bytes(profile.grid.to_bytes())
    assert grid.digest == profile.grid.digest
    found = sketch(frame.with_columns(pl.lit(None, pl.String).alias("note")), grid)
    counted = {column.cells.name: (column.present, column.nulls) for column in found.columns}
    assert counted["note"] == (0, 600)
    assert counted["note: content"] == (0, 0)  # what has no text is counted once, as a missing text
    assert counted["vector: region"] == (600, 0)
    assert sketch(frame, profile.grid).to_bytes() == sketch(frame, grid).to_bytes()


def test_rows_that_directions_were_learnt_from_are_no_part_of_the_reference() -> None:
    counted = learn_profile(pl.DataFrame([embeddings(600, 2)])).sketch.column("vector: off the directions")
    assert counted is not None
    assert counted.rows == 300


def test_many_numbered_columns_that_spread_alike_are_one_vector() -> None:
    [vector] = learn_profile(numbered(300, 1)).grid.derivations
    assert isinstance(vector, VectorColumn)
    assert (vector.name, vector.width) == ("e", 64)
    gone = pl.when(pl.int_range(pl.len()) % 3 > 0).then(pl.col("e[7]"))
    counted = sketch(numbered(300, 2).with_columns(gone), learn_profile(numbered(300, 1)).grid).column("e")
    assert counted is not None
    assert (counted.present, counted.nulls) == (200, 100)


@pytest.mark.parametrize(
    "frame",
    [
        numbered(300, 1, width=63),
        numbered(300, 1).drop("e[9]"),
        numbered(300, 1, first=2),
        numbered(300, 1).with_columns(pl.col("e[9]") * 100),
        numbered(300, 1).cast(pl.Int8),
        numbered(300, 1).with_columns(pl.lit(1.0).alias("e")),
    ],
    ids=["few", "gap", "not from the first", "other scale", "few values", "name is taken"],
)
def test_other_numbered_columns_are_columns(frame: pl.DataFrame) -> None:
    assert not learn_profile(frame).grid.derivations


def test_odd_vectors_are_missing_ones() -> None:
    grid = learn_profile(pl.DataFrame([embeddings(400, 1)])).grid
    for odd in ([1.0] * 7, [float("inf")] * 8, [1e300] * 8, None):
        column = pl.Series("vector", [odd, [0.0] * 8], dtype=pl.List(pl.Float64))
        region = sketch(pl.DataFrame([column]), grid).column("vector: region")
        assert region is not None
        assert region.rows == 1
    assert sketch(pl.DataFrame({"vector": ["a"]}), grid).columns[1].rows == 0
