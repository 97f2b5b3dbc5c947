"""Values of the data room: datasets, their immutable versions, columns, and the checks rows must pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mainspring.core.errors import Invalid, did_you_mean

CheckKind = Literal["not_null", "unique", "in_range", "in_set", "matches"]
KINDS: tuple[CheckKind, ...] = ("not_null", "unique", "in_range", "in_set", "matches")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a dataset version: its name, its type as Polars names it, and how many rows have no value."""

    name: str
    dtype: str
    nulls: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """What every row of a column must hold; rows that do not are quarantined with the reason.

    Args:
        column: Name of the column.
        kind: `not_null`, `unique`, `in_range` (with `low`, `high`, ends included), `in_set` (with `values`) or
            `matches` (a regular expression on the whole text). Missing values only fail `not_null`.
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

    def __post_init__(self) -> None:
        where = f"check of column {self.column!r}"
        if self.kind not in KINDS:
            hint = did_you_mean(str(self.kind), KINDS) or "known are " + ", ".join(KINDS)
            raise Invalid(f"unknown check {self.kind!r}", where=where, hint=hint)
        if self.kind == "in_range" and self.low is None and self.high is None:
            raise Invalid("a range without ends", where=where, hint="give low, high or both")
        if self.kind == "in_set" and not self.values:
            raise Invalid("a set without values", where=where, hint="give values=(...)")
        if self.kind == "matches" and not self.pattern:
            raise Invalid("no pattern to match", where=where, hint='give pattern="..."')

    @property
    def text(self) -> str:
        """The check in a few words, as it stands beside a quarantined row."""
        detail = {
            "in_range": f" {'' if self.low is None else self.low} to {'' if self.high is None else self.high}",
            "in_set": f" {', '.join(map(str, self.values[:5]))}{' ...' if len(self.values) > 5 else ''}",
            "matches": f" {self.pattern}",
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
        digest: BLAKE3 of the rows in Arrow IPC form.
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
