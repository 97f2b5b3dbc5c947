"""Values of splits."""

from __future__ import annotations

from dataclasses import asdict, field

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

KINDS = ("random", "stratified", "group", "time")
TEST = 0
"""In an assignment: the row is sealed."""
HISTORY = 255
"""In an assignment: the row trains every fold and validates none; the first stretch of a split by time."""
MOST_FOLDS = 50
_NEEDS = {"stratified": "the classes", "group": "the groups", "time": "the times"}


@dataclass(frozen=True, slots=True)
class SplitSpec:
    """How rows are to be parted.

    Args:
        kind: `random`; `stratified`: each part has the classes of `column` in the same shares (of numbers: their
            tenths); `group`: rows with the same value of `column` stay together; `time`: a fold is later than all that
            it is validated on, and the sealed rows are the latest.
        folds: How many folds, 2 to 50.
        test: Share of the rows that is sealed, 0 to below 0.9.
        column: What `kind` goes by.
        seed: Another seed deals the rows otherwise.

    >>> SplitSpec("group", column="customer").folds
    5
    """

    kind: str = "random"
    folds: int = 5
    test: float = 0.2
    column: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            hint = did_you_mean(self.kind, KINDS) or "known are " + ", ".join(KINDS)
            raise Invalid(f"no way to split is called {self.kind!r}", where="split kind", hint=hint)
        if not 2 <= self.folds <= MOST_FOLDS:
            raise Invalid(f"{self.folds} folds asked for", where="split folds", hint=f"use 2 to {MOST_FOLDS}")
        if not 0 <= self.test < 0.9:
            raise Invalid(
                f"a sealed share of {self.test:g}", where="split test", hint="use 0 to below 0.9, such as 0.2"
            )
        if self.kind in _NEEDS and not self.column:
            raise Invalid(
                f"a {self.kind} split goes by a column",
                where="split column",
                hint=f"name the column with {_NEEDS[self.kind]}",
            )
        if not -(2**31) <= self.seed < 2**31:
            raise Invalid(f"a seed of {self.seed}", where="split seed", hint="use a whole number of 32 bits")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split: its name (`test`, `history`, `fold-1`, ...), its rows, and the digest of their ids.

    The id of a row is its place in the dataset version, from 0.
    """

    name: str
    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A split of a dataset version. Its digest is that of the manifest: version, wish, and the parts with their ids.

    `uses` counts how often the sealed rows were opened, as of when the split was looked up.
    """

    name: str
    number: int
    dataset: str
    dataset_digest: str
    spec: SplitSpec
    parts: tuple[Part, ...]
    digest: str
    assignment: str
    created_at: int
    uses: int = 0

    @property
    def ref(self) -> str:
        """Its reference, such as `splits/flights/3`."""
        return f"splits/{self.name}/{self.number}"

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    def part(self, name: str) -> Part | None:
        """One part by name."""
        return next((part for part in self.parts if part.name == name), None)


@dataclass(frozen=True, slots=True)
class TestUse:
    """One opening of the sealed rows: the how-manieth, who, what for, when."""

    __test__ = False  # pytest takes every Test... for one of its own

    number: int
    actor: str
    purpose: str
    at: int


def manifest_of(dataset_digest: str, spec: SplitSpec, parts: tuple[Part, ...]) -> bytes:
    """The manifest: canonical JSON of what the split says, without its name."""
    plain = {"format": 1, "dataset_digest": dataset_digest, "spec": asdict(spec), "parts": [asdict(p) for p in parts]}
    return canonical_json(plain)


@dataclass(frozen=True, slots=True)
class Uses:
    """The uses of the sealed rows of a split, newest first."""

    split: str
    uses: tuple[TestUse, ...] = field(default_factory=tuple)
