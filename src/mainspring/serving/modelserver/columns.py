"""The columns a model takes: values of any protocol, checked against the signature before they join a batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

from mainspring.core.errors import Invalid, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["float", "int", "bool", "text"]
Cell = float | int | bool | str | None
Column: TypeAlias = "Sequence[Cell] | NDArray[np.float64]"
"""Checked values of one feature, one for each row: a list or, for numbers that came as an array, that array."""
Raw: TypeAlias = "Sequence[object] | NDArray[np.generic]"
"""Values as a protocol gives them: not checked yet."""
_HUGE = sys.float_info.max
_MANY_ROWS = 8  # from here on an array is made sooner than a list for each column
_FLOAT_MAX = {"float32": 3.4028234663852886e38, "float16": 65504.0}


class Declared(Protocol):
    """A column of a model's signature."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def dtype(self) -> str:
        """Its type, such as float64 or string."""

    @property
    def size(self) -> int:
        """How many values it has for each row."""


def kind_of(dtype: str) -> Kind:
    """How values of a column type travel.

    >>> kind_of("Float32"), kind_of("UInt8"), kind_of("Categorical")
    ('float', 'int', 'text')
    """
    lower = dtype.lower()
    if lower.startswith(("float", "double", "decimal", "fp")):
        return "float"
    if lower.startswith(("int", "uint")):
        return "int"
    return "bool" if lower.startswith("bool") else "text"


def are_plain(values: Sequence[object], largest: float) -> bool:
    """Whether all are floats that are finite and not beyond that number, as nearly all are: told without a loop."""
    if set(map(type, values)) != {float}:
        return False
    floats = cast("Sequence[float]", values)
    return all(map(isfinite, floats)) and (largest >= _HUGE or max(map(abs, floats)) <= largest)


class Feature:
    """One column of a model and what its values may be.

    `takes_missing` and `largest` are narrowed when a model is loaded: what it can't answer is refused at the door.
    """

    __slots__ = ("dtype", "highest", "kind", "largest", "lowest", "name", "takes_missing")

    def __init__(self, declared: Declared) -> None:
        self.name = declared.name
        self.dtype = declared.dtype
        self.kind: Kind = kind_of(declared.dtype)
        self.takes_missing = True
        self.largest = _FLOAT_MAX.get(declared.dtype.lower(), sys.float_info.max)
        self.lowest, self.highest = _bounds(declared.dtype.lower())

    @property
    def expects(self) -> str:
        """What it takes, in words."""
        words = {"float": "a number", "int": "a whole number", "bool": "true or false", "text": "a text"}
        return f"{words[self.kind]} ({self.dtype})"

    def check(self, values: Raw) -> Column:
        """The values, checked.

        Raises: Invalid: One is of another type, out of range, or missing where the model takes none.
        """
        column = _CHECKS[self.kind](self, values) if type(values) is list else self._array(values)
        self.check_missing(column)
        return column

    def check_missing(self, column: Column) -> None:
        """Refuse a column with a missing value where the model takes none.

        Raises: Invalid: It has one.
        """
        if not self.takes_missing and _has_missing(column):
            raise Invalid(f"input {self.name!r} has a missing value, and the model takes none: send {self.expects}")

    def _array(self, values: Raw) -> Column:
        import numpy as np

        array = np.asarray(values)
        if self.kind != "float" or array.dtype.kind not in "fiu":
            return _CHECKS[self.kind](self, array.tolist())
        numbers: NDArray[np.float64] = array.astype(np.float64, copy=False)
        if numbers.size and not np.nanmax(np.abs(numbers), initial=0.0) <= self.largest:
            raise self._out_of_range()
        return numbers

    def _out_of_range(self) -> Invalid:
        return Invalid(f"input {self.name!r} has a value that is not finite or too large for {self.expects}")

    def wrong(self, value: object) -> Invalid:
        """The refusal of a value of another type."""
        return Invalid(f"input {self.name!r} has a {type(value).__name__} where it takes {self.expects}")

    def floats(self, values: Sequence[object]) -> Column:
        """Numbers; NaN counts as missing."""
        if are_plain(values, self.largest):
            return cast("Sequence[float]", values)
        out: list[Cell] = []
        for value in values:
            if type(value) is float or type(value) is int:
                if value != value:
                    out.append(None)
                elif -self.largest <= value <= self.largest:
                    out.append(float(value))
                else:
                    raise self._out_of_range()
            elif value is None:
                out.append(None)
            else:
                raise self.wrong(value)
        return out

    def ints(self, values: Sequence[object]) -> Column:
        """Whole numbers, also sent as floats."""
        out: list[Cell] = []
        for value in values:
            if type(value) is float and value == value:
                if not value.is_integer():
                    raise self.wrong(value)
                value = int(value)
            if type(value) is int:
                if not self.lowest <= value <= self.highest:
                    raise Invalid(f"input {self.name!r} has a whole number out of range for {self.expects}")
                out.append(value)
            elif value is None or value != value:
                out.append(None)
            else:
                raise self.wrong(value)
        return out

    def bools(self, values: Sequence[object]) -> Column:
        """Truth values, also sent as 0 and 1."""
        for value in values:
            if value is not None and type(value) is not bool and value not in (0, 1):
                raise self.wrong(value)
        return [None if value is None else bool(value) for value in values]

    def texts(self, values: Sequence[object]) -> Column:
        """Texts."""
        out: list[Cell] = []
        for value in values:
            if value is not None and not isinstance(value, str):
                raise self.wrong(value)
            out.append(value)
        return out


_CHECKS: dict[Kind, Callable[[Feature, Sequence[object]], Column]] = {
    "float": Feature.floats,
    "int": Feature.ints,
    "bool": Feature.bools,
    "text": Feature.texts,
}


def _bounds(dtype: str) -> tuple[int, int]:
    bits = "".join(letter for letter in dtype if letter.isdigit()) or "64"
    size = int(bits) if int(bits) in (8, 16, 32, 64) else 64
    return (0, (1 << size) - 1) if dtype.startswith("uint") else (-(1 << (size - 1)), (1 << (size - 1)) - 1)


def _has_missing(column: Column) -> bool:
    if type(column) is list:
        return None in column
    import numpy as np

    return bool(np.isnan(np.asarray(column)).any())


def plain(column: Column) -> list[Cell]:
    """A column as a list, with None for what is missing."""
    if type(column) is list:
        return column
    import numpy as np

    values: list[Cell] = np.asarray(column).tolist()
    return [None if value != value else value for value in values]


class Whole(list[Column]):
    """The columns of a matrix of numbers, which models of numbers take as it is: `matrix`, (rows, columns).

    None of them is missing.
    """

    __slots__ = ("matrix",)

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        super().__init__(matrix.T)
        self.matrix = matrix


class Features:
    """The columns a model asks for, and how what a request brings becomes them.

    Columns that are no feature are left alone: while two versions share an endpoint, one may ask for more than the
    other. A missing one is refused, but for those that something stands in for: see the attributes.

    Attributes:
        may_lack: Features that a request may leave out.
        keys: Columns by which features are looked up that were left out.
        either: Names of features, and of the keys that a request has if it has not all of them.
    """

    may_lack: frozenset[str] = frozenset()
    keys: Sequence[Declared] = ()
    either: Sequence[tuple[Sequence[str], Sequence[str]]] = ()

    def __init__(self, inputs: Sequence[Declared], *, max_rows: int = 10_000) -> None:
        self.fields = [Feature(field) for field in inputs]
        self.names = [field.name for field in inputs]
        self.by_name = {field.name: field for field in self.fields}
        self.kinds: list[Kind] = [field.kind for field in self.fields]
        self.max_rows = max_rows
        self.are_floats = all(kind == "float" for kind in self.kinds)

    @cached_property
    def largest(self) -> float:
        """What no number of any feature may exceed, once it is known what the model takes."""
        return min(field.largest for field in self.fields)

    def narrow(self, indices: Iterable[int], largest: float) -> None:
        """Say of some features that no number of theirs may exceed this one."""
        for index in indices:
            self.fields[index].largest = largest
        self.__dict__.pop("largest", None)

    def check_rows(self, rows: int) -> None:
        """Refuse a request without rows, or with too many.

        Raises: Invalid: It has.
        """
        if not 1 <= rows <= self.max_rows:
            raise Invalid(f"a request has 1 to {self.max_rows} rows, found {rows}")

    def from_named(self, columns: Mapping[str, Raw]) -> list[Column]:
        """Checked values, one column for each feature in the signature's order, from columns by name.

        Raises: Invalid: A column is missing, of another length, or has values of another type.
        """
        found: list[Column] = []
        rows = -1
        for field in self.fields:
            values = columns.get(field.name)
            if values is None:
                raise self._missing(field, columns)
            if len(values) != rows:
                if rows >= 0:
                    raise Invalid(f"input {field.name!r} has {len(values)} values, those before it have {rows}")
                rows = len(values)
                self.check_rows(rows)
            found.append(field.check(values))
        return found

    def from_flat(self, flat: Raw, shape: Sequence[int], what: str) -> list[Column]:
        """The same from a matrix in row-major order with one column for each feature.

        Raises: Invalid: It is no matrix of that width, or has values of another type.
        """
        width = len(self.names)
        if len(shape) != 2 or shape[1] != width:
            names = ", ".join(self.names[:20]) + (", ..." if width > 20 else "")
            raise Invalid(f"{what} has shape {list(shape)}, the model takes [n, {width}]", hint=f"columns: {names}")
        self.check_rows(shape[0])
        as_array = type(flat) is not list or (shape[0] >= _MANY_ROWS and set(map(type, flat)) == {float})
        if as_array and (matrix := self._plain_matrix(flat, shape)) is not None:
            return Whole(matrix)
        if self.are_floats and type(flat) is list and are_plain(flat, self.largest):
            return [[value] for value in flat] if shape[0] == 1 else [flat[i::width] for i in range(width)]
        return [field.check(flat[i::width]) for i, field in enumerate(self.fields)]

    def _plain_matrix(self, flat: Raw, shape: Sequence[int]) -> NDArray[np.float64] | None:
        """All numbers at once, if none is missing or out of any feature's range; None lets each column have its say."""
        import numpy as np

        array = np.asarray(flat)
        if array.dtype.kind not in "fiu" or not self.are_floats:
            return None
        numbers: NDArray[np.float64] = array.astype(np.float64, copy=False)
        if not np.abs(numbers).max(initial=0.0) <= self.largest:
            return None
        return numbers.reshape(tuple(shape))

    def from_rows(self, rows: Sequence[object], what: str) -> list[Column]:
        """The same from rows: each a list with a value for each feature, or an object with values by name.

        Raises: Invalid: A row is neither, or not like the first one, or does not fit.
        """
        self.check_rows(len(rows))
        if isinstance(rows[0], dict):
            return self.from_named(_by_name(rows, what, self.by_name))
        width = len(self.names)
        lists = [row if isinstance(row, list) else [row] for row in rows]
        for number, row in enumerate(lists):
            if len(row) != width:
                raise Invalid(
                    f"row {number} of {what} has {len(row)} values, the model takes {width}",
                    hint="columns: " + ", ".join(self.names[:20]),
                )
        return [field.check([row[i] for row in lists]) for i, field in enumerate(self.fields)]

    def _missing(self, feature: Feature, given: Iterable[str]) -> Invalid:
        extra = [other for other in given if other not in self.names]
        hint = did_you_mean(feature.name, extra) or f"send it as {feature.expects}"
        return Invalid(f"input {feature.name!r} is missing", hint=hint)


def _by_name(rows: Sequence[object], what: str, names: Iterable[str]) -> dict[str, list[object]]:
    """Objects as columns. A name that some rows lack is missing in them; one that all lack is not there at all."""
    found: list[dict[str, object]] = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Invalid(f"row {number} of {what} is a {type(row).__name__}, the first one is an object")
        found.append(row)
    present = dict.fromkeys(name for row in found for name in row)
    wanted = set(names)
    return {name: [row.get(name) for row in found] if name in wanted else [None] * len(found) for name in present}
