"""From a frame to the numbers a model was trained on: one piece of code for training, gates and model servers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.registry.model import Field, Scalar

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

UNKNOWN = -1.0
"""The code of a level that training did not know, and of a missing one. Tree models treat it as missing."""


class Encoder:
    """Turns columns into a matrix: numbers as they are (missing = NaN), text as the position of its level.

    Args:
        fields: The inputs of a signature, in the order of training.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self._codes: list[Mapping[str, float] | None] = [
            {level: float(code) for code, level in enumerate(entry.levels)} if entry.dtype == "string" else None
            for entry in fields
        ]
        self._is_plain = all(codes is None for codes in self._codes)

    def matrix(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """The matrix (rows, fields) of a frame; columns it does not know are left out.

        Raises:
            Invalid: A column is missing or has another type.
        """
        self.check(frame)
        if frame.height == 1:
            return self._one(frame)
        matrix = np.empty((frame.height, len(self.fields)), dtype=np.float64, order="F")
        for index, entry in enumerate(self.fields):
            matrix[:, index] = self._column(index, frame[entry.name])
        return np.ascontiguousarray(matrix)

    def matrix_of(self, columns: Sequence[Sequence[Scalar]]) -> NDArray[np.float64]:
        """The same matrix from plain values, one list for each field in order, whose types were checked before.

        A model server asks for every few rows; without a frame in between that costs a tenth. Lists that have their
        `matrix`, with NaN for what is missing, are that already; it may be of memory that can't be written.
        """
        if self._is_plain:
            matrix = getattr(columns, "matrix", None)
            if matrix is not None:
                return np.array(matrix, dtype=np.float64, order="C")
            return np.array(columns, dtype=np.float64).T.copy()  # None becomes NaN
        matrix = np.empty((len(columns[0]), len(self.fields)), dtype=np.float64)
        for index, (values, codes) in enumerate(zip(columns, self._codes, strict=True)):
            known = (
                values if codes is None else [codes.get(str(v), UNKNOWN) if v is not None else UNKNOWN for v in values]
            )
            matrix[:, index] = np.array(known, dtype=np.float64)  # None becomes NaN
        return matrix

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The columns as a frame, for models that select by name: text that has levels becomes its code.

        Raises:
            Invalid: A column is missing or has another type.
        """
        import polars as pl

        self.check(frame)
        columns: list[pl.Series] = []
        for index, entry in enumerate(self.fields):
            if entry.dtype == "string" and not entry.levels:
                columns.append(frame[entry.name].cast(pl.String))
            else:
                columns.append(pl.Series(entry.name, self._column(index, frame[entry.name])))
        return pl.DataFrame(columns)

    def check(self, frame: pl.DataFrame) -> None:
        """Refuse a frame that lacks a column or has text where a number belongs, or the other way round.

        Raises:
            Invalid: Which column, and what was expected.
        """
        schema = frame.schema
        for entry in self.fields:
            kind = schema.get(entry.name)
            if kind is None:
                hint = did_you_mean(entry.name, schema) or "send " + ", ".join(f.name for f in self.fields)
                raise Invalid(f"column {entry.name!r} is missing", where="inputs", hint=hint)
            name = type(kind).__name__ if not isinstance(kind, type) else kind.__name__
            if not _fits(entry.dtype, name):
                raise Invalid(f"expected {entry.dtype}, found {name}", where=f"column {entry.name}")

    def _column(self, index: int, series: pl.Series) -> NDArray[np.float64]:
        import polars as pl

        codes = self._codes[index]
        if codes is None:
            return series.cast(pl.Float64).fill_null(math.nan).to_numpy()
        known = list(codes)
        values = series.cast(pl.String).replace_strict(
            pl.Series(known, dtype=pl.String), list(codes.values()), default=UNKNOWN, return_dtype=pl.Float64
        )
        return values.fill_null(UNKNOWN).to_numpy()

    def _one(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        row = np.empty((1, len(self.fields)), dtype=np.float64)
        values = frame.row(0, named=True)
        for index, (entry, codes) in enumerate(zip(self.fields, self._codes, strict=True)):
            value = values[entry.name]
            if codes is not None:
                row[0, index] = codes.get(value, UNKNOWN)
            else:
                row[0, index] = math.nan if value is None else value
        return row


def _fits(dtype: str, polars_name: str) -> bool:
    if polars_name == "Null":
        return True
    if dtype == "string":
        return polars_name in ("String", "Categorical", "Enum")
    return polars_name in ("Boolean", "Decimal") or polars_name.startswith(("Int", "UInt", "Float"))
