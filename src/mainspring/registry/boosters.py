"""Models of LightGBM through its C library alone.

The Python package of LightGBM brings scikit-learn, SciPy and pandas along: a second of CPU at the start of every
process that answers, and 130 MB in each of them. To answer, none of these is needed.
"""

from __future__ import annotations

import ctypes
import json
import platform
import re
import sys
import weakref
from collections.abc import Callable
from functools import cache
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Corrupt, Failed, Invalid

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_NAMES = {"Darwin": "lib_lightgbm.dylib", "Windows": "lib_lightgbm.dll"}
_NORMAL, _CODES = 0, 3  # LightGBM's numbers for what it may be asked: answers, and the share of each column
_DOUBLES, _BY_ROW = 1, 1
_GAIN = {"split": 0, "gain": 1}
_HEAD_NAMES = re.compile(r"^feature_names=(.*)$", re.MULTILINE)
_HEAD_OUTPUTS = re.compile(r"^num_tree_per_iteration=(\d+)$", re.MULTILINE)
_PANDAS = "\npandas_categorical:"


@cache
def library() -> ctypes.CDLL:
    """LightGBM's C library, as its Python package loads it.

    Raises:
        ImportError: LightGBM is not installed.
    """
    if "lightgbm" not in sys.modules and (path := _path()) is not None:
        return ctypes.CDLL(str(path))
    loaded: ctypes.CDLL = vars(import_module("lightgbm.basic"))["_LIB"]
    return loaded


def _path() -> Path | None:
    """Where the library lies; None where the package must be asked.

    On Linux for ARM scikit-learn has to be loaded first, which the package does: https://github.com/lightgbm-org/LightGBM/issues/6509
    """
    if (platform.system(), platform.machine()) == ("Linux", "aarch64"):
        return None
    spec = util.find_spec("lightgbm")
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    name = _NAMES.get(platform.system(), "lib_lightgbm.so")
    places = (Path(folder) / inner / name for folder in folders for inner in ("..", "bin", "lib"))
    return next((place for place in places if place.is_file()), None)


class Booster:
    """A text model, read by LightGBM. It says what `lightgbm.Booster` says, by the same names. Safe to share between
    threads.

    Args:
        text: A whole text model.
    Attributes:
        pandas_categorical: The levels of pandas' categorical columns, as they are at the end of the text.
    Raises:
        Corrupt: LightGBM can't read it.
    """

    best_iteration = -1
    """As of every booster that was read: all of its rounds count."""

    def __init__(self, text: str) -> None:
        self._library = library()
        self._library.LGBM_GetLastError.restype = ctypes.c_char_p
        _, has_levels, levels = text.rpartition(_PANDAS)
        self.pandas_categorical: list[list[object]] | None = json.loads(levels) if has_levels else None
        self._handle = ctypes.c_void_p()
        rounds = ctypes.c_int()
        given = (text.encode(), ctypes.byref(rounds), ctypes.byref(self._handle))
        if self._library.LGBM_BoosterLoadModelFromString(*given):
            raise Corrupt(f"LightGBM can't read it: {self._said()}", where="model.txt")
        weakref.finalize(self, self._library.LGBM_BoosterFree, ctypes.c_void_p(self._handle.value))
        self._rounds = rounds.value
        names, outputs = _HEAD_NAMES.search(text), _HEAD_OUTPUTS.search(text)
        self._names = names[1].split(" ") if names and names[1] else []
        self._outputs = int(outputs[1]) if outputs else 1

    def _said(self) -> str:
        said: bytes = self._library.LGBM_GetLastError()
        return said.decode(errors="replace")

    def _call(self, function: Callable[..., int], *given: object) -> None:
        if function(self._handle, *given):
            raise Failed(f"LightGBM could not answer: {self._said()}", where="lightgbm")

    @property
    def handle(self) -> ctypes.c_void_p:
        """The handle of LightGBM's C functions, good as long as this lives."""
        return self._handle

    def model_to_string(self, num_iteration: int | None = None) -> str:
        """The text model, or its first so many rounds."""
        size, room = ctypes.c_int64(), 1 << 20
        while True:
            found = ctypes.create_string_buffer(room)
            rounds = (0, -1 if num_iteration is None else num_iteration, 0)
            self._call(
                self._library.LGBM_BoosterSaveModelToString, *rounds, ctypes.c_int64(room), ctypes.byref(size), found
            )
            if size.value <= room:
                break
            room = size.value
        return f"{found.value.decode()}{_PANDAS}{json.dumps(self.pandas_categorical)}\n"

    def feature_name(self) -> list[str]:
        """Names of the columns."""
        return list(self._names)

    def num_feature(self) -> int:
        """How many columns it takes."""
        return len(self._names)

    def num_model_per_iteration(self) -> int:
        """Trees of a round: one, or one for each class."""
        return self._outputs

    def current_iteration(self) -> int:
        """How many rounds it has."""
        return self._rounds

    def feature_importance(self, importance_type: str = "split") -> NDArray[np.float64]:
        """How much each column is split by ("split") and what that brought ("gain"), shape (columns,)."""
        import numpy as np

        found = np.zeros(len(self._names))
        place = ctypes.c_void_p(found.ctypes.data)
        self._call(self._library.LGBM_BoosterFeatureImportance, -1, _GAIN[importance_type], place)
        return found

    def predict(
        self, data: NDArray[np.floating] | pl.DataFrame, *, num_threads: int = 0, pred_contrib: bool = False
    ) -> NDArray[np.float64]:
        """The answers to rows, the same bits as `lightgbm.Booster.predict`.

        Args:
            data: Shape (rows, columns).
            num_threads: 0 are as many as OpenMP has.
            pred_contrib: The share of each column, and the mean of all answers, in place of the answer.
        Returns: Shape (rows,), or (rows, outputs) where a row has more than one.
        Raises:
            Invalid: The rows have another width.
        """
        import numpy as np

        rows = np.ascontiguousarray(data, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self._names):
            width = rows.shape[1] if rows.ndim == 2 else rows.ndim
            raise Invalid(f"rows of {width} features, the model has {len(self._names)}", where="lightgbm")
        kind, count = _CODES if pred_contrib else _NORMAL, ctypes.c_int64()
        size = (len(rows), kind, 0, -1, ctypes.byref(count))
        self._call(self._library.LGBM_BoosterCalcNumPredict, *size)
        found = np.empty(count.value)
        self._call(
            self._library.LGBM_BoosterPredictForMat,
            ctypes.c_void_p(rows.ctypes.data),
            _DOUBLES,
            *rows.shape,
            _BY_ROW,
            kind,
            0,
            -1,
            f"num_threads={num_threads}".encode(),
            ctypes.byref(count),
            ctypes.c_void_p(found.ctypes.data),
        )
        return found if found.size == len(rows) else found.reshape(len(rows), -1)
