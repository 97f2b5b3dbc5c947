"""The values of the gates: what is asked (GateSpec, CheckSpec) and what was found (Verdict, CheckResult)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.ids import check_name
from mainspring.core.settings import fill
from mainspring.core.values import dataclass
from mainspring.gates.approving import read_approve

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates.rules.bootstrap import Floats

Outcome = Literal["pass", "fail", "undecided", "error", "skipped"]
UNDECIDED = ("hold", "shadow", "fail")
DEFAULT_ALPHA = 0.05
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One check as it was asked for.

    Args:
        kind: Name of the kind, which is the name of its file in `gates/checks/`.
        title: The check in a few words, unique in its gate: "roc_auc non-inferior by 0.005".
        options: What was written in the settings, plain JSON values.
    """

    kind: str
    title: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateSettings(Generic[C]):
    """`[gate.NAME]`: the checks a version has to pass, as they are written or as they were read.

    Args:
        name: Name of the gate.
        checks: At least one.
        alpha: One-sided chance of a wrong claim over all checks, in (0, 0.5).
        undecided: What doubt means: "hold" and "shadow" leave it open for whoever asked, "fail" refuses.
        data: The dataset to judge on, such as "flights-eval"; empty when the caller brings the rows.
        label: Column with the truth; empty when the caller says.
        baseline: Alias of the version to compare with.
        approve: Who has to approve a pass, and when, see `Terms`; empty for nobody.
    """

    name: str
    checks: Sequence[C] = ()
    alpha: float = DEFAULT_ALPHA
    undecided: str = "hold"
    data: str = ""
    label: str = ""
    baseline: str = "champion"
    approve: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WrittenGate(GateSettings[Mapping[str, object]]):
    """A gate as it is written, its checks as tables."""


@dataclass(frozen=True, slots=True)
class GateSpec(GateSettings[CheckSpec]):
    """A gate as it was read.

    Raises: Invalid: A value is out of range, or there is no check.
    """

    def __post_init__(self) -> None:
        check_name(self.name, "gate")
        where = f"gate.{self.name}"
        if not 0 < self.alpha < 0.5:
            raise Invalid(
                f"alpha is {self.alpha}", where=f"{where}.alpha", hint="use a level in (0, 0.5), such as 0.05"
            )
        if self.undecided not in UNDECIDED:
            hint = did_you_mean(self.undecided, UNDECIDED) or f"one of {', '.join(UNDECIDED)}"
            raise Invalid(f"undecided is {self.undecided!r}", where=f"{where}.undecided", hint=hint)
        if not self.checks:
            raise Invalid("a gate without checks lets everything pass", where=where, hint="add checks = [{...}]")


def parse_gate(name: str, table: Mapping[str, object]) -> GateSpec:
    """Reads a `[gate.NAME]` section.

    Args:
        name: Name of the gate.
        table: The section as TOML gives it.
    Raises: Invalid: A name is unknown (with the near ones), or a value has the wrong type or range.

    >>> gate = parse_gate("promote", {"checks": [{"metric": "roc_auc", "compare": "non_inferior", "margin": 0.005}]})
    >>> gate.checks[0].title
    'roc_auc non-inferior by 0.005'
    """
    from mainspring.gates.checks import parse_check

    where = f"gate.{name}"
    written = fill(WrittenGate, {**table, "name": name}, where=where)
    checks = written.checks
    if not isinstance(checks, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in checks):
        raise Invalid(
            "checks is not a list of tables", where=where, hint='checks = [{metric = "roc_auc", floor = 0.7}]'
        )
    specs = [
        spec for place, entry in enumerate(checks) for spec in parse_check(entry, where=f"{where}.checks[{place}]")
    ]
    return GateSpec(
        name=name,
        checks=tuple(_with_own_titles(specs)),
        alpha=float(written.alpha),
        undecided=written.undecided,
        data=written.data,
        label=written.label,
        baseline=written.baseline,
        approve=read_approve(written.approve, f"{where}.approve"),
    )


def gates_of(table: object) -> dict[str, GateSpec]:
    """Every gate of the `gate` table of `mainspring.toml`, by name.

    Raises:
        Invalid: The table is not made of sections, or a section is not written as a gate is.
    """
    if not isinstance(table, Mapping):
        raise Invalid("gate is no section", where="mainspring.toml", hint="write [gate.NAME]")
    for name, entry in table.items():
        if not isinstance(entry, Mapping):
            raise Invalid(f"gate.{name} is a value", where=f"gate.{name}", hint=f"write a section: [gate.{name}]")
    return {str(name): parse_gate(str(name), entry) for name, entry in table.items()}


def _with_own_titles(specs: list[CheckSpec]) -> list[CheckSpec]:
    """The second check of a title gets a number, so that results can be told apart."""
    seen: dict[str, int] = {}
    found = []
    for spec in specs:
        seen[spec.title] = count = seen.get(spec.title, 0) + 1
        found.append(spec if count == 1 else CheckSpec(spec.kind, f"{spec.title} ({count})", spec.options))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found.

    Args:
        title: The check in a few words.
        kind: Name of its kind.
        outcome: pass, fail, undecided, error or skipped.
        value: The estimate; for a comparison candidate minus champion, positive when the candidate is better. None
            without one.
        low: Lower end of the interval (a one-sided bound at the gate's alpha, not adjusted for the other checks).
        high: Upper end of the interval.
        threshold: The line it is held against: minus the margin, the floor or the limit.
        better: Which side of the line is good.
        p: P-value after Holm's correction; None for a plain fact.
        n: Rows it rests on.
        rows_needed: Rows in total that would decide, when undecided and a number can be given.
        method: Name of the method.
        note: One sentence for the reader.
        slices: Outcome per slice, such as "region=north", of those that were asked for.
    """

    title: str
    kind: str
    outcome: Outcome
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    better: str = "higher"
    p: float | None = None
    n: int = 0
    rows_needed: int | None = None
    method: str = ""
    note: str = ""
    slices: tuple[SliceResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceResult:
    """What a check found on one slice or part: "ok", "bad" (shown to be, after Benjamini-Hochberg) or "small".

    Args:
        name: Such as "region=north", "tpr over sex: f" or "invariance: the airline's name".
        state: "small" is one that was not tested.
        n: Rows it rests on.
        value: The estimate.
        low: Lower end of its interval.
        high: Upper end.
        threshold: The line it is held against; None when it has none of its own.
        note: What to look at.
    """

    name: str
    state: Literal["ok", "bad", "small"]
    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What a version said to rows it was judged on, which it was not trained on.

    Args:
        data_ref: The data version they are.
        label: Column with the truth.
        rows: How many.
        scores: For two classes: rows of class 0, rows of class 1 and the sum of their scores, by the cell of the score
            as `core.scores` has it; empty for other tasks.
    """

    data_ref: str
    label: str
    rows: int
    scores: dict[str, tuple[float, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutRows:
    """Rows a version was judged on, what it says to them, and what was true.

    Args:
        inputs: What it takes, one row each.
        scores: Probability of class 1, or the predicted number, shape (rows,).
        truth: 0 or 1, or the number.
    """

    inputs: pl.DataFrame
    scores: Floats
    truth: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate came to, with its evidence. Stored once, never changed.

    Args:
        id: Its id.
        gate: Name of the gate.
        model: Name of the model.
        version: The candidate.
        champion: The version it was compared with; None when there was none.
        outcome: pass, fail, undecided or error.
        undecided: What the gate says about doubt.
        checks: One result per check, in the order of the gate.
        n: Rows of the evaluation.
        data_ref: The data version it was judged on.
        use: How often this data version had been used for a verdict, this one included: a test set wears out.
        alpha: One-sided level.
        seed: Seed of the resampling.
        candidate_digest: Digest of the candidate's package.
        champion_digest: Digest of the champion's; empty when there was none.
        created_at: Epoch microseconds.
        actor: On whose behalf.
        reason: The verdict in one sentence.
        approve: Who has to approve it, and when, see `Terms`; empty for nobody.
    """

    id: str
    gate: str
    model: str
    version: int
    champion: int | None
    outcome: Outcome
    undecided: str
    checks: tuple[CheckResult, ...]
    n: int
    data_ref: str
    use: int
    alpha: float
    seed: int
    candidate_digest: str
    champion_digest: str
    created_at: int
    actor: str
    reason: str
    approve: Mapping[str, object] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """Its reference: `verdicts/ID`."""
        return f"verdicts/{self.id}"
