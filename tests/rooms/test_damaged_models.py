"""Model files in which bytes were changed: whatever becomes of who reads them, the process that registers lives on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mainspring.core.clock import ManualClock
from mainspring.core.errors import Corrupt, Invalid, MainspringError, NotFound, Refused
from mainspring.registry import Field, Registry, Signature, packing
from mainspring.registry.importance import with_importance
from mainspring.registry.packages import build, open_file
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables

pytestmark = pytest.mark.usefixtures("warm_programs")

NAMES = ["a", "b", "c"]
ROWS = pl.DataFrame(np.random.default_rng(5).normal(size=(200, 3)), schema=NAMES)
LABEL = (ROWS["a"] > 0).cast(pl.Int64).to_numpy()
FLIPS = 14
READ = """
import sys
import polars as pl
from pathlib import Path
from mainspring.registry.packages import build, open_file
build(open_file(Path(sys.argv[1])), pl.read_ipc(sys.argv[2]))
"""


def of_lightgbm(file: Path) -> None:
    import lightgbm

    data = lightgbm.Dataset(ROWS.to_numpy(), LABEL, feature_name=NAMES)
    lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 10).save_model(str(file))


def of_xgboost(file: Path) -> None:
    import xgboost

    data = xgboost.DMatrix(ROWS.to_numpy(), LABEL, feature_names=NAMES)
    raw = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 10).save_raw("ubj")
    file.write_bytes(raw)


def of_catboost(file: Path) -> None:
    from catboost import CatBoostClassifier

    settings: dict[str, Any] = {"iterations": 10, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    CatBoostClassifier(**settings).fit(ROWS.to_pandas(), LABEL).save_model(str(file))


LIBRARIES: dict[str, Callable[[Path], None]] = {
    "lightgbm": of_lightgbm,
    "xgboost": of_xgboost,
    "catboost": of_catboost,
}


@pytest.fixture
def registry(sqlite_tables: Tables, tmp_path: Path) -> Registry:
    clock = ManualClock(1_000)
    journal, blobs = SqlJournal(sqlite_tables, clock), FileBlobs(tmp_path / "blobs")
    return Registry(tables=sqlite_tables, journal=journal, blobs=blobs, clock=clock, folder=tmp_path / "data")


def flipped(data: bytes, seed: int) -> bytes:
    """With some bytes changed, at places spread over the file but for its first few.

    Of a file of text they are digits, and become others: what is no text any more is refused before it is read.
    """
    rng = np.random.default_rng(seed)
    found = np.frombuffer(data, dtype=np.uint8).copy()
    digits = np.flatnonzero((found >= ord("0")) & (found <= ord("9"))) if data.isascii() else np.arange(len(found))
    places = rng.choice(digits[digits >= 16], size=int(rng.integers(1, 9)))
    if data.isascii():
        found[places] = rng.integers(ord("0"), ord("9") + 1, size=len(places))
    else:
        found[places] ^= rng.integers(1, 256, size=len(places)).astype(np.uint8)
    return found.tobytes()


def far_away(whole: bytes) -> bytes:
    """A text model whose first split is by a column that is 800 MB behind the row."""
    text = whole.decode()
    split, size = re.search(r"split_feature=(\d+)", text), re.search(r"tree_sizes=(\d+)", text)
    assert split is not None and size is not None
    longer = int(size[1]) + 9 - len(split[1])
    assert len(str(longer)) == len(size[1])
    return text.replace(split[0], "split_feature=100000000", 1).replace(size[0], f"tree_sizes={longer}", 1).encode()


@pytest.mark.parametrize("library", LIBRARIES)
def test_files_with_bytes_flipped_are_registered_or_refused_and_the_next_is_registered(
    registry: Registry, tmp_path: Path, library: str
) -> None:
    whole = tmp_path / "whole"
    LIBRARIES[library](whole)
    for seed in range(FLIPS):
        file = tmp_path / f"flipped-{seed}"
        file.write_bytes(flipped(whole.read_bytes(), seed))
        try:
            made = registry.register("m", file, example=ROWS.head(40))
        except MainspringError as error:
            assert error.code in ("corrupt", "invalid", "failed"), error
        else:
            assert made.flavour == library
    made = registry.register("m", whole, example=ROWS.head(40))
    expected = build(open_file(whole), ROWS.head(40))
    assert made.digest == with_importance(expected, open_file(whole), ROWS.head(40)).digest
    assert registry.importance(made) is not None
    assert registry.load("m").predict(ROWS)["probability"].shape == (200,)


def test_a_file_that_kills_its_reader_is_refused_with_how_it_ended(registry: Registry, tmp_path: Path) -> None:
    file, rows = tmp_path / "model.txt", tmp_path / "rows.arrow"
    of_lightgbm(file)
    file.write_bytes(far_away(file.read_bytes()))
    ROWS.head(3).write_ipc(rows)
    alone = subprocess.run([sys.executable, "-c", READ, str(file), str(rows)], capture_output=True, check=False)
    assert alone.returncode == -signal.SIGSEGV, "so would the process that registers end, if it read the file itself"
    with pytest.raises(Corrupt, match="the file of the model is damaged: its reader was killed by SIGSEGV") as refused:
        registry.register("m", file, example=ROWS.head(3))
    assert refused.value.where == str(file)
    assert registry.models() == []


def test_a_file_whose_reader_does_not_end_or_wants_all_memory_is_refused(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.txt"
    of_lightgbm(file)
    with monkeypatch.context() as little:
        little.setattr(packing, "SECONDS", 0.001)
        with pytest.raises(Corrupt, match="its reader was not done after"):
            registry.register("m", file, example=ROWS.head(3))
    with monkeypatch.context() as little:
        little.setattr(packing, "MEMORY", 1_000_000)
        with pytest.raises(Corrupt, match="the file"):
            registry.register("m", file, example=ROWS.head(3))
    assert registry.register("m", file, example=ROWS.head(3)).number == 1


def test_what_was_refused_of_files_before_is_refused_as_it_was(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no model at all")
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(NotFound, match="no such file"):
        registry.register("m", tmp_path / "nowhere", example=ROWS)
    with pytest.raises(Invalid, match="no known model format"):
        registry.register("m", tmp_path / "text", example=ROWS)
    with pytest.raises(Refused, match="pickle"):
        registry.register("m", tmp_path / "model.pkl", example=ROWS)
    of_lightgbm(tmp_path / "model.txt")
    with pytest.raises(Invalid, match="is no input"):
        registry.register("m", tmp_path / "model.txt", example=ROWS, importance={"d": 1.0})


def test_a_file_is_packed_with_what_is_said_of_it(registry: Registry, tmp_path: Path) -> None:
    of_lightgbm(tmp_path / "model.txt")
    words = ROWS.with_columns(c=pl.when(pl.col("c") > 0).then(pl.lit("up")).otherwise(pl.lit("down")))
    signature = Signature((Field("a", "float64"), Field("b", "float64"), Field("c", "string")))
    about: dict[str, Any] = {"signature": signature, "encoding": {"c": ["down", "up"]}, "importance": {"a": 3, "c": 1}}
    made = registry.register("m", tmp_path / "model.txt", example=words, **about)
    assert made.inputs[2].levels == ("down", "up")
    assert made.example.inputs["c"] == words["c"].head(5).to_list()
    importance = registry.importance(made)
    assert importance is not None
    assert (importance.method, importance.shares["a"]) == ("given", 0.75)
