"""The cells of every column, fixed once from a reference table."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.errors import Corrupt
from mainspring.core.values import dataclass
from mainspring.data.sketch.derivation import Derivation, packed, unpacked

Kind = Literal["numeric", "boolean", "timestamp", "categorical", "opaque"]
Floats = NDArray[np.float64]

QUANTILES = 257
TAIL = 16
LEVELS = 1000
SELECTION_BIAS = 0.002
_WORST_BIAS = 0.05
_FEW_VALUES = 64
_GROUPS = 10
_MAGIC = b"MSG2"


@dataclass(frozen=True, eq=False)
class GridColumn:
    """The cells of one column.

    Cells of a numeric column are right-closed intervals between `edges`; a value that many rows share (an atom) is a
    cell of its own, made of two edges with no other number between them. Cells of a categorical column are its `levels`
    in alphabetical order and one for every other level. An opaque column (list, struct, bytes) has one cell: present.

    Attributes:
        name: The column.
        kind: How its values are read.
        edges: Increasing, shape (cells - 1,), for the kinds that are numbers.
        levels: The levels that have a cell.
        origin: The reference median, about which squares are summed so that the variance keeps its digits.
        source: The column that this one stands for, "" for one of the table. Rows without a value there are not
            counted here.
    """

    name: str
    kind: Kind
    edges: Floats
    levels: tuple[str, ...] = ()
    origin: float = 0.0
    source: str = ""

    @property
    def is_number(self) -> bool:
        """Whether values are counted between edges."""
        return self.kind in ("numeric", "boolean", "timestamp")

    @property
    def cells(self) -> int:
        """How many cells the column has, nulls not among them."""
        if self.is_number:
            return len(self.edges) + 1
        return len(self.levels) + 1 if self.kind == "categorical" else 1

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """The coarse group of each cell, shape (cells,), fixed by the grid alone so that any two windows compare.

        A level is a group of its own, and so is a value of a column of few values, the gaps between them being one
        more. Of other numbers, the cells between the tails are cut into ten groups, and an atom is a group of its own.
        """
        if not self.is_number:
            return np.arange(self.cells)
        atoms = np.zeros(self.cells, bool)
        atoms[1:-1] = np.nextafter(self.edges[:-1], np.inf) == self.edges[1:]
        found = int(atoms.sum())
        few = 2 * found == len(self.edges)
        if found > _FEW_VALUES:
            atoms[:] = False
        between = np.flatnonzero(~atoms)
        tail = TAIL if len(between) > 4 * TAIL else 0
        groups = np.empty(self.cells, np.int64)
        groups[atoms] = _GROUPS + np.arange(int(atoms.sum()))
        steps = (np.arange(len(between)) - tail) * _GROUPS // max(len(between) - 2 * tail, 1)
        groups[between] = 0 if few else np.clip(steps, 0, _GROUPS - 1)
        return groups


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of a table: what makes two sketches comparable.

    Attributes:
        columns: The cells of each column.
        derivations: What texts and vectors are made into before they are counted.
    """

    columns: tuple[GridColumn, ...]
    derivations: tuple[Derivation, ...] = ()

    @cached_property
    def digest(self) -> bytes:
        """Eight bytes that name this grid; sketches carry them so that a mix-up is refused."""
        import blake3

        return blake3.blake3(self.to_bytes()).digest(length=8)

    @cached_property
    def ends(self) -> list[int]:
        """How many cells the columns have up to each one, it included."""
        return list(accumulate(column.cells for column in self.columns))

    def column(self, name: str) -> GridColumn | None:
        """The cells of a column, or None when the grid has no such column."""
        return next((column for column in self.columns if column.name == name), None)

    def to_bytes(self) -> bytes:
        """Compressed bytes that `from_bytes` reads back to an equal grid."""
        parts = [struct.pack("<I", len(self.columns))]
        for column in self.columns:
            kind = get_args(Kind).index(column.kind)
            parts += [
                _text(column.name),
                _text(column.source),
                struct.pack("<BdII", kind, column.origin, len(column.edges), len(column.levels)),
            ]
            parts += [column.edges.astype("<f8").tobytes(), *map(_text, column.levels)]
        parts.append(packed(self.derivations))
        return _MAGIC + zlib.compress(b"".join(parts), 6)

    @staticmethod
    def from_bytes(data: bytes) -> Grid:
        """Read a grid back.

        Raises:
            Corrupt: The bytes are not a grid.
        """
        if not data.startswith(_MAGIC):
            raise Corrupt(
                "these bytes are not a grid", where=repr(data[:4]), hint="read the profile of the dataset version again"
            )
        return _read_grid(zlib.decompress(data[len(_MAGIC) :]))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _read_grid(data: bytes) -> Grid:
    at, columns = 4, []

    def text() -> str:
        nonlocal at
        (size,) = struct.unpack_from("<I", data, at)
        at += 4 + size
        return data[at - size : at].decode()

    for _ in range(struct.unpack_from("<I", data)[0]):
        name, source = text(), text()
        kind, origin, edges, levels = struct.unpack_from("<BdII", data, at)
        at += struct.calcsize("<BdII")
        values = np.frombuffer(data, "<f8", edges, at).astype(np.float64)
        at += 8 * edges
        names = tuple(text() for _ in range(levels))
        columns.append(GridColumn(name, get_args(Kind)[kind], values, names, origin, source))
    return Grid(tuple(columns), unpacked(data, at))


def kind_of(dtype: pl.DataType) -> Kind:
    """How a column of this polars type is read."""
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in (pl.Date, pl.Datetime, pl.Time):
        return "timestamp"
    if dtype.is_numeric() or dtype in (pl.Duration, pl.Null):
        return "numeric"
    return "categorical" if dtype in (pl.String, pl.Categorical, pl.Enum) else "opaque"


def numbers(column: pl.Series) -> tuple[Floats, int]:
    """The values of a column as sorted numbers, and how many rows could not be read as one.

    Nulls and NaN are left out; infinities stay, at the ends.
    """
    if kind_of(column.dtype) == "opaque":
        return np.empty(0), column.len() - column.null_count()
    read = floats(column)
    values = read.to_numpy(
        writable=True
    )  # a copy of our own, so that a million rows are in memory twice, not four times
    values.sort()
    ordered = values[: len(values) - np.count_nonzero(np.isnan(values))]  # NaN, as nulls are here, is last
    ordered += 0.0  # no -0.0
    return ordered, read.null_count() - column.null_count()


def floats(column: pl.Series) -> pl.Series:
    """The values of a column that is not opaque as Float64, null where one cannot be read as a number."""
    if column.dtype in (pl.Date, pl.Datetime):
        column = column.cast(pl.Datetime("us"))
    if column.dtype.is_temporal():
        column = column.to_physical()
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    return column if column.dtype == pl.Float64 else column.cast(pl.Float64, strict=False)


def learn_grid(frame: pl.DataFrame, *, columns: Sequence[str] | None = None) -> Grid:
    """Fix the cells of every column from a reference table.

    Args:
        frame: The reference, any number of rows, also none.
        columns: Which columns; all when None. A name the table lacks gives a column whose every row is null.
    Returns:
        The grid. A numeric column gets at most 257 quantiles and 16 finer ones in each tail, all of them values that
        occurred.

    >>> learn_grid(pl.DataFrame({"late": [True, False, True]})).columns[0].kind
    'boolean'
    """
    names = frame.columns if columns is None else columns
    return Grid(
        tuple(_learn_column(frame[name] if name in frame.columns else pl.Series(name, [], pl.Null)) for name in names)
    )


def _learn_column(column: pl.Series) -> GridColumn:
    kind = kind_of(column.dtype)
    if kind == "opaque":
        return GridColumn(column.name, kind, np.empty(0))
    if kind == "categorical":
        return GridColumn(column.name, kind, np.empty(0), learn_levels(rows_of_levels(column)))
    return learn_cells(column.name, kind, numbers(column)[0])


def learn_cells(name: str, kind: Kind, values: Floats) -> GridColumn:
    """The cells of a column that is read as numbers, from its sorted values."""
    if kind == "boolean":
        return GridColumn(name, kind, _around(np.array([0.0, 1.0])))
    finite = values[np.isfinite(values)]
    origin = float(finite[len(finite) // 2]) if len(finite) else 0.0
    return GridColumn(name, kind, learn_edges(finite), (), origin)


def learn_edges(values: Floats) -> Floats:
    """Edges of the cells of a numeric column.

    Args:
        values: Sorted finite numbers, shape (rows,).
    Returns:
        Increasing edges: the quantiles i/256, tail quantiles 2**-8.5 to 2**-16 from either end, and a pair around every
        atom. Every other quantile that many rows share ends the cell before it instead of its own: a distribution of
        whole numbers is so seen both before and after its steps, between which another one may be furthest from it.
        A column of at most 64 distinct values has only atoms.
    """
    rows = len(values)
    if not rows:
        return np.empty(0)
    begins = values[1:] != values[:-1]  # they are sorted already
    if np.count_nonzero(begins) < _FEW_VALUES:
        return _around(np.append(values[:1], values[1:][begins]))
    others = max(3, -(-rows // (QUANTILES - 1))) - 1  # of an atom, beside its first row
    first = values[others:] == values[:-others]
    first[1:] &= begins[: rows - others - 1]
    atoms = values[:-others][first]
    tail = 2.0 ** -(8 + np.arange(1, TAIL + 1) / 2)
    shares = np.concatenate([np.linspace(0, 1, QUANTILES), tail, 1 - tail])
    at = np.clip(np.ceil(shares * rows).astype(np.int64) - 1, 0, rows - 1)
    quantiles = values[at]
    repeated = (values[np.maximum(at - 1, 0)] == quantiles) | (values[np.minimum(at + 1, rows - 1)] == quantiles)
    repeated[::2] = False
    quantiles[repeated] = np.nextafter(quantiles[repeated], -np.inf)
    below_least = np.nextafter(values[:1], -np.inf)
    return np.unique(np.concatenate([below_least, quantiles, _around(atoms)]))


def _around(atoms: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.unique(np.concatenate([np.nextafter(atoms, -np.inf), atoms]))


def rows_of_levels(column: pl.Series | pl.LazyFrame) -> pl.DataFrame:
    """How many rows each level has: `level`, null for rows without one, and `count`, in no order.

    Args:
        column: Levels, or a frame of one column of levels that is read and counted a batch at a time.
    """
    if isinstance(column, pl.Series):
        return column.cast(pl.String).rename("level").value_counts(name="count")
    levels = column.select(pl.all().cast(pl.String).alias("level"))
    return levels.group_by("level").agg(pl.len().alias("count")).collect(engine="streaming")


def learn_levels(counted: pl.DataFrame) -> tuple[str, ...]:
    """The levels that get a cell of their own, in alphabetical order.

    Args:
        counted: The rows of each level, as `rows_of_levels` gives them.

    Levels are kept from the lowest frequency k at which choosing them by their own count biases their joint share by at
    most 0.2 % (Good-Turing: rows of levels seen k - 1 times turn up with the frequency of those seen k times, so the
    bias is about k f_k / n, and f_1 / n when every level is kept), else from the k of the least bias, and at most 1,000
    of them; none when that bias is above 5 %. Rarer levels share the cell `other`: an identifier column thus has few
    levels or none, and new identifiers are not drift. The order is alphabetical and not by frequency, as an order taken
    from the counts would itself fit their noise.

    Source: Good (1953), The population frequencies of species, section 2.
    """
    counted = counted.drop_nulls("level")
    counts = np.sort(counted["count"].to_numpy().astype(np.int64))
    if not len(counts):
        return ()
    rows = int(counts.sum())
    thresholds = np.unique(counts)
    spread = np.ceil(np.sqrt(thresholds))
    near = np.searchsorted(counts, thresholds + spread, "right") - np.searchsorted(counts, thresholds - spread, "left")
    bias = thresholds * near / (2 * spread + 1) / rows
    bias[0] = np.count_nonzero(counts == 1) / rows
    kept = len(counts) - np.searchsorted(counts, thresholds, "left")
    bias = np.where(kept <= LEVELS, bias, np.inf)
    best = int(np.argmax(bias <= SELECTION_BIAS)) if (bias <= SELECTION_BIAS).any() else int(np.argmin(bias))
    if bias[best] > max(_WORST_BIAS, 10 / rows):
        return ()
    return tuple(sorted(counted.filter(pl.col("count") >= int(thresholds[best]))["level"].to_list()))
