"""A model file is walked whole before XGBoost reads it: what is cut anywhere is refused, what XGBoost writes is not."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Corrupt
from mainspring.registry.flavours.xgboost import read
from mainspring.registry.ubjson import DEPTH, check

DRAWS = np.random.default_rng(3)
ROWS = DRAWS.random((200, 4))


def written(**parameters: object) -> bytes:
    table = xgboost.DMatrix(ROWS, (ROWS[:, 0] > 0.5).astype(float), feature_names=list("abcd"))
    return bytes(xgboost.train({"nthread": 1, **parameters}, table, num_boost_round=3).save_raw("ubj"))


MODEL = written(max_depth=2)


@pytest.mark.parametrize(
    "parameters",
    [{"booster": "gblinear"}, {"booster": "dart"}, {"objective": "multi:softprob", "num_class": 2}, {"max_depth": 6}],
    ids=["linear", "dart", "classes", "trees"],
)
def test_what_xgboost_writes_is_whole(parameters: dict[str, object]) -> None:
    check(written(**parameters), "m")


def test_categories_are_whole() -> None:
    pl = pytest.importorskip("polars")
    rows = pl.DataFrame({"a": ["x", "y", "z", "x"] * 20}).cast(pl.Categorical)
    table = xgboost.DMatrix(rows, np.arange(80) % 4 == 1, enable_categorical=True)
    model = xgboost.train({"nthread": 1, "max_cat_to_onehot": 1}, table, num_boost_round=2)
    check(bytes(model.save_raw("ubj")), "m")


@given(st.integers(0, len(MODEL) - 1))
def test_a_file_cut_anywhere_is_refused(end: int) -> None:
    with pytest.raises(Corrupt):
        check(MODEL[:end], "m")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for text in (data, b"{L" + data, b"[#L" + bytes(7) + data):
        try:
            check(text, "m")
        except Corrupt as error:
            assert error.where == "m"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (MODEL + b"Z", "1 bytes follow the end"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), f"nested more than {DEPTH} deep"),
        (b"[$S#L" + bytes(8), "no array is of b'S'"),
        (b"[$dZ", "where b'#' was expected"),
        (b"?", "no value begins with b'\\?'"),
        (b"SL" + b"\xff" * 8, "a length of -1"),
        (b"[$d#L" + b"\x7f" + b"\xff" * 7, "is given, 0 is left"),
        (b"", "a length of 1 is given, 0 is left"),
    ],
)
def test_each_fault_is_named(data: bytes, message: str) -> None:
    with pytest.raises(Corrupt, match=message):
        check(data, "m")


def test_values_of_every_kind_are_stepped_over() -> None:
    length = b"L" + bytes(7)
    check(b"[ZTFi1U2C3I44l4444d4444L88888888D88888888S" + length + b"\x02ab[#" + length + b"\x02ZZ{}]", "m")
    check(b"[" * DEPTH + b"]" * DEPTH, "m")


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_text_is_refused_where_it_is_cut(cut: float) -> None:
    text = bytes(xgboost.Booster(model_file=bytearray(MODEL)).save_raw("json"))
    read(text)
    with pytest.raises(Corrupt, match="not whole JSON"):
        read(text[: int(len(text) * cut)])


def test_text_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(Corrupt, match="not whole JSON"):
        read(b'{"learner":' + b"[" * 1_000_000)
