from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mainspring.core.errors import Corrupt, Invalid
from mainspring.pipelines.codecs import ROOM_BYTES, Shelf, codecs, json_values
from mainspring.pipelines.model import Artifact
from mainspring.storage.files import FileBlobs

ROWS = np.random.default_rng(3).normal(size=(60, 3))
CLASSES = (ROWS[:, 0] > 0).astype(int)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(FileBlobs(tmp_path / "blobs"), tmp_path / "scratch")


def booster() -> lightgbm.Booster:
    params = {"verbose": -1, "deterministic": True, "num_threads": 1, "seed": 1}
    return lightgbm.train(params, lightgbm.Dataset(ROWS, CLASSES), num_boost_round=4)


def same(left: object, right: object) -> None:
    assert type(left) is type(right)
    assert left == right


def same_frame(left: object, right: object) -> None:
    assert_frame_equal(left, right)  # type: ignore[arg-type]


def same_lazy(left: pl.LazyFrame, right: pl.LazyFrame) -> None:
    assert isinstance(right, pl.LazyFrame)
    same_frame(left.collect(), right.collect())


def same_pandas(left: object, right: object) -> None:
    check = pd.testing.assert_frame_equal if isinstance(left, pd.DataFrame) else pd.testing.assert_series_equal
    check(left, right)


def same_predictions(left: object, right: object) -> None:
    assert type(left) is type(right)
    np.testing.assert_array_equal(left.predict(ROWS), right.predict(ROWS))  # type: ignore[attr-defined]


FRAME = pl.DataFrame({"x": [1.0, float("nan"), None], "c": ["a", "b", None], "l": [[1], [], None]})
PANDAS = pd.DataFrame(
    {
        "x": [1.5, np.nan, 3.0],
        "n": [1, 2, 3],
        "s": ["a", None, "c"],
        "c": pd.Categorical(["u", "v", None], categories=["v", "u"], ordered=True),
        "t": pd.to_datetime(["2013-01-01", None, "2013-01-03"]),
        "z": pd.to_datetime(["2013-01-01", "2013-07-01", None]).tz_localize("America/New_York"),
        "b": [True, False, True],
        "i": pd.array([1, None, 3], dtype="Int64"),
    },
    index=pd.Index([7, 8, 9], name="row"),
)
VALUES: dict[str, tuple[object, Callable[..., None]]] = {
    "json": ({"b": [1, 2.5, None, "ü"], "a": {"t": True}}, same),
    "order": ({"b": 1, "a": 2}, lambda left, right: same(list(left), list(right))),
    "bytes": (b"\0\xff", same),
    "tuple": ((1, "a", (2.0,)), same),
    "nested": ({"model": b"1", "scores": [1, (2, 3)]}, same),
    "empty": ({}, same),
    "polars": (FRAME, same_frame),
    "lazy": (FRAME.lazy(), same_lazy),
    "series": (FRAME["x"], assert_series_equal),
    "array": (ROWS, lambda left, right: np.testing.assert_array_equal(left, right)),
    "texts": (np.array(["a", "bc"]), lambda left, right: np.testing.assert_array_equal(left, right)),
    "scalar": (np.float32(1.5), same),
    "pandas": (PANDAS, same_pandas),
    "pandas series": (PANDAS["s"].reset_index(drop=True), same_pandas),
    "pandas levels": (PANDAS.set_index("n", append=True)[["x"]], same_pandas),
    "pandas empty": (PANDAS.iloc[:0], same_pandas),
    "booster": (booster(), same_predictions),
    "sklearn": (make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, CLASSES), same_predictions),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_comes_back_as_it_was_stored(shelf: Shelf, kind: str) -> None:
    value, check = VALUES[kind]
    check(value, shelf.get(shelf.put(value, "test")))


@pytest.mark.parametrize("kind", VALUES)
def test_equal_values_have_equal_digests(shelf: Shelf, kind: str) -> None:
    value, _ = VALUES[kind]
    stored = shelf.put(value, "test")
    assert shelf.put(shelf.get(stored), "test").digest == stored.digest


def test_a_small_text_is_stored_without_a_blob(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "blobs")
    shelf = Shelf(blobs, tmp_path / "scratch")
    small, binary, large = (shelf.put(value, "test") for value in ({"a": 1}, b"\0\xff", "x" * ROOM_BYTES))
    assert small.text == '{"a":1}'
    assert Artifact.from_json(small.to_json()).text == small.text
    assert set(blobs.digests()) == {binary.digest, large.digest}
    assert not (tmp_path / "scratch").exists()


def test_items_share_the_room_of_the_whole(shelf: Shelf) -> None:
    stored = shelf.put(tuple("x" * 30 for _ in range(200)), "test")
    assert sum(len(item.text or "") for _, item in stored.items) <= ROOM_BYTES


def test_a_small_text_that_was_changed_is_not_given_back(shelf: Shelf) -> None:
    stored = shelf.put("as it was", "test")
    with pytest.raises(Corrupt, match="was changed after it was written"):
        shelf.get(replace(stored, text='"as it is"'))


def test_models_trained_alike_have_equal_digests(shelf: Shelf) -> None:
    first, second = (LogisticRegression().fit(ROWS, CLASSES) for _ in range(2))
    assert shelf.put(first, "test") == shelf.put(second, "test")


def test_a_lightgbm_estimator_comes_back(shelf: Shelf) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(pd.DataFrame(ROWS), CLASSES)
    back = shelf.get(shelf.put(model, "test"))
    assert isinstance(back, lightgbm.LGBMClassifier)
    np.testing.assert_array_equal(
        np.asarray(model.predict_proba(pd.DataFrame(ROWS))), np.asarray(back.predict_proba(pd.DataFrame(ROWS)))
    )


def test_a_file_comes_back_as_a_copy_that_cannot_be_written(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("all well")
    back = shelf.get(shelf.put(path, "test"))
    assert isinstance(back, Path)
    assert (back.read_text(), back.stat().st_mode & 0o222) == ("all well", 0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: 1, r"no codec stores a builtins.function\nwhere: test\ntry: return JSON"),
        ({"a": [object()]}, r"no codec stores a builtins.object\nwhere: test\[a\]\[0\]"),
        ({1: "one"}, "a dict with the key 1"),
        (Path("/no/such/file"), "which is no file"),
        (Path("/tmp"), "which is a folder"),
        (np.array([object()]), "an array of Python objects"),
        (FunctionTransformer(func=same), "this FunctionTransformer holds .*same"),
        (pd.DataFrame({"a": [1, "x"]}, dtype=object), "column 'a'"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(shelf: Shelf, value: object, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        shelf.put(value, "test")


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_like)
def test_json_takes_exactly_what_it_gives_back(value: object) -> None:
    assert json_values.takes(value)
    assert json_values.unpack(json_values.pack(value)) == value


def test_no_two_codecs_take_the_same_value() -> None:
    for value, _ in VALUES.values():
        assert sum(codec.takes(value) for codec in codecs().values()) <= 1
