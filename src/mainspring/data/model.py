"""Values of the data room: datasets, their immutable versions, columns, and the checks rows must pass."""

from __future__ import annotations

from dataclasses import field
from typing import Literal, get_args

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.settings import fill
from mainspring.core.values import dataclass

CheckKind = Literal["not_null", "unique", "in_range", "in_set", "matches", "type"]
KINDS: tuple[CheckKind, ...] = get_args(CheckKind)
ColumnKind = Literal["boolean", "integer", "number", "date", "time", "text"]
COLUMN_KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a dataset version: its name, its type as Polars names it, and how many rows have no value.

    Of a table with a `personal` column storage keeps no least and greatest values.
    """

    name: str
    dtype: str
    nulls: int = 0
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """What every row of a column must hold; rows that do not are quarantined with the reason.

    Args:
        column: Name of the column.
        kind: `not_null`, `unique` (every row of a value that is there twice fails), `in_range` (with `low`, `high`,
            ends included), `in_set` (with `values`), `matches` (`pattern`, a regular expression for the whole text) or
            `type` (with `column_kind`; the other rows get that type). Missing values only fail `not_null`.
    Raises:
        Invalid: The kind is unknown, or what it needs is not given.

    >>> Check("age", "in_range", low=0, high=120).text
    'age in_range 0 to 120'
    """

    column: str
    kind: CheckKind
    low: float | None = None
    high: float | None = None
    values: tuple[str | float | bool, ...] = ()
    pattern: str = ""
    column_kind: ColumnKind | Literal[""] = ""

    def __post_init__(self) -> None:
        where = f"check of column {self.column!r}"
        if self.kind not in KINDS:
            hint = did_you_mean(str(self.kind), KINDS) or "known are " + ", ".join(KINDS)
            raise Invalid(f"unknown check {self.kind!r}", where=where, hint=hint)
        for end in (self.low, self.high):
            if end is not None and (isinstance(end, bool) or not isinstance(end, (int, float))):
                raise Invalid(f"{end!r} is no number", where=where, hint="give low and high as numbers")
        if self.kind == "in_range" and self.low is None and self.high is None:
            raise Invalid("a range without ends", where=where, hint="give low, high or both")
        if self.kind == "in_set" and not self.values:
            raise Invalid("a set without values", where=where, hint="give values=(...)")
        if self.kind == "matches" and not self.pattern:
            raise Invalid("no pattern to match", where=where, hint='give pattern="..."')
        if self.kind == "type" and self.column_kind not in COLUMN_KINDS:
            hint = did_you_mean(self.column_kind, COLUMN_KINDS) or "known are " + ", ".join(COLUMN_KINDS)
            raise Invalid(f"unknown type {self.column_kind!r}", where=where, hint=hint)

    @property
    def text(self) -> str:
        """The check in a few words, as it stands beside a quarantined row."""
        detail = {
            "in_range": f" {'' if self.low is None else self.low} to {'' if self.high is None else self.high}",
            "in_set": f" {', '.join(map(str, self.values[:5]))}{' ...' if len(self.values) > 5 else ''}",
            "matches": f" {self.pattern}",
            "type": f" {self.column_kind}",
        }.get(self.kind, "")
        return f"{self.column} {self.kind}{detail}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table that grows by versions."""

    name: str
    latest: int
    rows: int
    created_at: int
    changed_at: int

    @property
    def ref(self) -> str:
        """Its reference."""
        return f"datasets/{self.name}"


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """An immutable state of a dataset.

    Attributes:
        number: From 1, without gaps.
        rows: Rows that passed every check.
        quarantined: Rows that did not.
        digest: BLAKE3 of the rows as one uncompressed Parquet file: equal rows, equal digest.
        profile: Digest of the blob that holds the profile, the reference for drift.
        parents: References of what it was made from.
        delta_version: Version of the Delta table that holds the rows.
    """

    dataset: str
    number: int
    id: str
    rows: int
    quarantined: int
    columns: tuple[Column, ...]
    checks: tuple[str, ...]
    digest: str
    profile: str
    parents: tuple[str, ...]
    created_at: int
    delta_version: int
    source: str = ""
    time_column: str = ""

    @property
    def ref(self) -> str:
        """Its reference, such as `datasets/flights/3`."""
        return f"datasets/{self.dataset}/{self.number}"


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """A column as people look at it. Values are text, in the form of the column; empty where there is none.

    Attributes:
        nulls: Share of the rows without a value, 0 to 1.
        bars: Rows per bar.
        labels: What each bar counts: a value, the lower end of an interval, or a level.
    """

    name: str
    dtype: str
    nulls: float
    least: str = ""
    median: str = ""
    mean: str = ""
    most: str = ""
    bars: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guess:
    """What a table seems to be for.

    Attributes:
        task: `binary`, `multiclass` or `regression`.
        features: Columns to learn from.
        text: Those of them that are text, to be read as categories.
        left_out: Columns that are no features, with the reason.
        time_column: The one column that tells the time, if there is one.
    """

    task: Literal["binary", "multiclass", "regression"]
    features: tuple[str, ...]
    text: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    time_column: str = ""


def parse_checks(text: str) -> list[Check]:
    """Checks from a JSON list of objects, as commands and requests give them; none from an empty text.

    Raises:
        Invalid: It is no such list, or a name or value in it is wrong.

    >>> parse_checks('[{"column": "age", "kind": "in_range", "low": 0}]')[0].text
    'age in_range 0 to '
    """
    import json

    hint = 'write [{"column": "age", "kind": "not_null"}]'
    if not text.strip():
        return []
    try:
        entries = json.loads(text)
    except ValueError as reason:
        raise Invalid(f"checks are not JSON: {reason}", where="checks", hint=hint) from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Invalid("checks are not a list of objects", where="checks", hint=hint)
    return [_check_of(entry, f"checks, entry {number}") for number, entry in enumerate(entries, start=1)]


def _check_of(entry: dict[str, object], where: str) -> Check:
    values = entry.get("values", [])
    if not isinstance(values, list) or not all(isinstance(value, (str, int, float)) for value in values):
        raise Invalid("values are not a list of texts or numbers", where=where, hint='write "values": ["a", "b"]')
    return fill(Check, {**entry, "values": tuple(values)}, where=where)
