"""Frames of the prediction log hold what the rows say, whatever the rows are: held against frames made row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mainspring.serving.frames import LOOKED, frame_of, output_of
from mainspring.serving.modelserver.spool import COLUMNS

SIGNATURES = {
    1: [("x", "float"), ("n", "int"), ("ok", "bool"), ("town", "text")],
    2: [("town", "text"), ("x", "float"), ("more", "int")],
    3: [("x", "int"), ("ok", "text")],
    4: [],
}
OUTPUTS = (
    "probability", "prediction", "label_out", "probabilities", "low", "high", "label_set", "reasons_base"
)  # fmt: skip
CELLS = {
    "float": st.floats(allow_nan=True) | st.integers(-(2**40), 2**40),
    "int": st.integers(-(2**63), 2**63 - 1) | st.floats(-1e6, 1e6) | st.booleans(),
    "bool": st.booleans(),
    "text": st.text(max_size=5),
}
NUMBERS = st.none() | st.floats(allow_nan=True) | st.integers(-5, 5)
LABELS = st.lists(st.text(max_size=3) | st.integers(0, 3) | st.booleans() | st.none(), max_size=4)
LOOKUP = st.tuples(
    st.just("view"), st.integers(0, 9), st.just("m"), st.none() | st.lists(NUMBERS | st.just("a"), max_size=2),
    st.just(2**60), st.none() | st.just(5), st.sampled_from(["found", "late"]), st.lists(st.just("x"), max_size=2),
)  # fmt: skip


SAID = {
    "probability": NUMBERS | st.lists(NUMBERS, max_size=3),
    "prediction": NUMBERS,
    "label": st.sampled_from([None, "a", 1, 2.5, True]),
    "low": NUMBERS,
    "high": NUMBERS,
    "label_set": st.none() | LABELS.map(lambda labels: msgspec.json.encode(labels).decode()),
    "reasons_base": NUMBERS,
    "else": NUMBERS,
}


def rows(*versions: int) -> st.SearchStrategy[list[object]]:
    """Rows of any of these versions, as a worker may have packed them."""
    return st.sampled_from(versions).flatmap(_rows).map(_unpacked)


def _rows(version: int) -> st.SearchStrategy[tuple[object, ...]]:
    kinds = [kind for _, kind in SIGNATURES[version]]
    codes = st.none() | st.lists(NUMBERS, min_size=len(kinds), max_size=len(kinds))
    outputs = st.none() | st.fixed_dictionaries({}, optional={**SAID, "reasons": codes})
    about = [*"ir", 2**60, 5, version, "champion"], ["key", ""], [900, 503, "late", "me", 1, 2]
    return st.tuples(
        *map(st.just, about[0]), NUMBERS, *map(st.just, about[1]),
        st.tuples(*(st.none() | CELLS[kind] for kind in kinds)), outputs, *map(st.just, about[2]),
        st.lists(st.sampled_from("ab"), max_size=2), st.none() | st.lists(LOOKUP, max_size=2),
    )  # fmt: skip


def _unpacked(row: tuple[object, ...]) -> list[object]:
    return list(msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=list[object]))


def turned(found: Sequence[Sequence[object]]) -> dict[str, list[Any]]:
    """Rows as `entries_after` gives them, numbered from 7."""
    columns = {name: [row[place] for row in found] for place, name in enumerate(COLUMNS)}
    return {"seq": list(range(7, 7 + len(found))), **columns}


def by_row(
    endpoint: str, found: Sequence[Sequence[object]], signatures: Mapping[int, Sequence[tuple[str, str]]], spool: str
) -> pl.DataFrame:
    """The frame as it was made before, a row at a time; its types are spelled out once more."""
    kinds = {name: kind for columns in signatures.values() for name, kind in columns}
    types = {"float": pl.Float64, "int": pl.Float64, "bool": pl.Boolean, "text": pl.String}
    text, whole, real = pl.String, pl.Int64, pl.Float64
    lookup: dict[str, Any] = dict(
        zip(LOOKED, (text, whole, text, text, whole, whole, text, pl.List(text)), strict=True)
    )
    schema: dict[str, Any] = {
        "id": text, "request_id": text, "at": whole, "event_at": whole, "deployment": text, "version": whole,
        "arm": text, "propensity": real, "key": text, "rollout": text,
        "inputs": pl.Struct({name: types[kind] for name, kind in kinds.items()}),
        "probability": real, "prediction": real, "label_out": text, "probabilities": pl.List(real), "low": real,
        "high": real, "label_set": pl.List(text),
        "reasons": pl.List(pl.Struct({"column": text, "contribution": real})), "reasons_base": real,
        "latency_us": whole, "status": whole, "error": text, "caller": text, "wait_us": whole, "model_us": whole,
        "marks": pl.List(text), "features": pl.List(pl.Struct(lookup)), "spool": text, "seq": whole,
    }  # fmt: skip
    about = [dict(zip(COLUMNS, row, strict=True)) for row in found]
    for number, row in enumerate(about, start=7):
        columns, output = signatures.get(int(str(row["version"])), ()), row["outputs"] or {}
        row |= {"deployment": endpoint, "spool": spool, "seq": number}
        row["inputs"] = _named(columns, row["inputs"])
        row |= {name: output_of(name, output) for name in OUTPUTS}
        row["reasons"] = _reasons(output, columns)
        row["features"] = _features(row["features"])
    return pl.DataFrame({name: [row[name] for row in about] for name in schema}, schema=schema)


def _named(columns: Sequence[tuple[str, str]], cells: object) -> dict[str, object]:
    values = cells if isinstance(cells, list) else []
    return {
        name: float(value) if kind == "int" and isinstance(value, int) else value
        for (name, kind), value in zip(columns, values, strict=True)
    }


def _reasons(output: object, columns: Sequence[tuple[str, str]]) -> list[dict[str, object]] | None:
    found = output.get("reasons") if isinstance(output, dict) else None
    if not isinstance(found, list):
        return None
    pairs = zip(columns, found, strict=True)
    return [{"column": name, "contribution": code} for (name, _), code in pairs if code is not None] or None


def _features(entries: object) -> list[dict[str, object]] | None:
    found = [dict(zip(LOOKED, entry, strict=True)) for entry in entries] if isinstance(entries, list) else []
    for entry in found:
        entry["entity"] = None if entry["entity"] is None else msgspec.json.encode(entry["entity"]).decode()
    return found or None


def same(found: Sequence[Sequence[object]], signatures: Mapping[int, Sequence[tuple[str, str]]]) -> None:
    made = frame_of("late", turned(found), signatures, spool="w1")
    wanted = by_row("late", found, signatures, "w1")
    assert made.schema == wanted.schema
    assert_frame_equal(made, wanted, check_exact=True)


@given(found=st.lists(rows(1, 2, 4), min_size=1, max_size=8))
def test_rows_of_any_versions_become_the_frame_that_they_become_one_by_one(found: list[list[object]]) -> None:
    same(found, {number: SIGNATURES[number] for number in (1, 2, 4)})


@given(found=st.lists(rows(1), min_size=1, max_size=8))
def test_rows_of_one_version_become_the_frame_that_they_become_one_by_one(found: list[list[object]]) -> None:
    same(found, {1: SIGNATURES[1]})


@given(found=st.lists(rows(3, 1), min_size=1, max_size=6), versions=st.permutations([1, 3]))
def test_cells_of_another_kind_than_their_column_are_read_or_refused_as_one_by_one(
    found: list[list[object]], versions: list[int]
) -> None:
    """Version 3 takes text where version 1 takes booleans: text is no boolean, a boolean can be said as text."""
    signatures = {version: SIGNATURES[version] for version in versions}
    try:
        wanted = by_row("late", found, signatures, "w1")
    except (TypeError, pl.exceptions.PolarsError):
        with pytest.raises((TypeError, pl.exceptions.PolarsError)):
            frame_of("late", turned(found), signatures, spool="w1")
    else:
        assert_frame_equal(frame_of("late", turned(found), signatures, spool="w1"), wanted, check_exact=True)


@pytest.mark.parametrize("cells", [[1.0], [1.0, 2, True, "a", None], None, []])
def test_a_row_with_other_inputs_than_its_version_takes_is_refused(cells: list[object] | None) -> None:
    row = ["i", "r", 1, 1, 1, "champion", None, "k", "", cells, None, 1, 200, "", "", 0, 0, [], []]
    with pytest.raises(ValueError, match="4"):
        frame_of("late", turned([row]), SIGNATURES)
    with pytest.raises(ValueError, match="zip"):
        by_row("late", [row], SIGNATURES, "")


def test_no_rows_are_a_frame_of_the_same_types() -> None:
    assert frame_of("late", turned([]), SIGNATURES).schema == by_row("late", [], SIGNATURES, "").schema
