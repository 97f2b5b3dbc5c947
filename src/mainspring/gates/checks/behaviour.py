"""Behaviour tests of a file: minimum functionality, invariance, direction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from mainspring.core.errors import Invalid, MainspringError
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates.behaviour import Direction, Invariance, Label, Minimum, Test
    from mainspring.gates.case import Case, Mask
    from mainspring.gates.rules.finding import Finding, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{behaviour = "tests/behaviour.toml"}`.

    Args:
        behaviour: The file, from the project folder on.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("behaviour",)
    behaviour: str

    def __post_init__(self) -> None:
        if not self.behaviour.endswith(".toml"):
            raise Invalid(f"{self.behaviour!r} is no TOML file", hint='behaviour = "tests/behaviour.toml"')

    def title(self) -> str:
        """The check in a few words."""
        return f"behaviour by {self.behaviour}"[:58]

    def measure(self, case: Case) -> Finding:
        """Every test of the file; a test without allowance for failures is a plain fact, the others are estimates."""
        from mainspring.core.canonical import digest
        from mainspring.gates.behaviour import read_behaviour

        text = case.read(self.behaviour)
        found = [_tried(test, case) for test in read_behaviour(text, where=self.behaviour)]
        return _together(found, case, note=f"{self.behaviour} {digest(text.encode())[:12]}")


def _tried(test: Test, case: Case) -> tuple[Part, Finding | None]:
    """The part of a test, and its finding when some failures are allowed. A model that cannot answer has failed."""
    from mainspring.gates.rules.finding import Part
    from mainspring.gates.rules.proportion import share_above

    name, line = f"{type(test).__name__.lower()}: {test.name}", 1 - test.max_failures
    try:
        held, note = _held(test, case)
    except Invalid:
        raise
    except MainspringError as reason:
        return Part(
            name=name, value=0.0, n=0, threshold=line, state="bad", note=" ".join(reason.what.split())[:200]
        ), None
    hits, n = int(held.sum()), len(held)
    found = share_above(hits, n, floor=min(line, 1 - 1e-12), alpha=case.alpha)
    part = Part(name=name, value=found.value, low=found.low, high=found.high, threshold=line, n=n, note=note)
    if test.max_failures > 0:
        return part, found
    return (part if hits == n else replace(part, state="bad")), None


def _together(found: list[tuple[Part, Finding | None]], case: Case, note: str) -> Finding:
    from mainspring.gates.rules.finding import Finding

    tested = [(part, finding) for part, finding in found if finding is not None]
    failed = [part.name for part, _ in found if part.state == "bad"]
    likely = len(tested) * min((finding.p_fail for _, finding in tested), default=1.0)
    shown = {part.name for part, finding in tested if len(tested) * finding.p_fail <= case.alpha}
    parts = tuple(replace(part, state="bad") if part.name in shown else part for part, _ in found)
    worst = min(parts, key=lambda part: part.value - part.threshold)
    deciding = min((finding for _, finding in tested), key=lambda one: one.value - one.threshold, default=None)
    return Finding(
        value=worst.value,
        low=worst.low,
        high=worst.high,
        threshold=worst.threshold,
        n=sum(part.n for part in parts),
        settled=False if failed else True if deciding is None else None,
        p_pass=max((finding.p_pass for _, finding in tested), default=1.0),
        p_fail=min(1.0, likely),
        se=0.0 if deciding is None else deciding.se,
        method="CheckList, exact binomial where failures are allowed",
        parts=parts,
        note="; ".join([*(f"failed: {name}" for name in failed), f"{len(parts)} tests of {note}"]),
    )


def _held(test: Test, case: Case) -> tuple[Mask, str]:
    """Which rows did what they should, and a row that did not."""
    from mainspring.gates.behaviour import Invariance, Minimum

    if isinstance(test, Minimum):
        held = _minimum(test, case)
    elif isinstance(test, Invariance):
        held = _invariance(test, case)
    else:
        held = _direction(test, case)
    wrong = (~held).nonzero()[0]
    return held, f"row {int(wrong[0]) + 1} of {len(held)} does not" if len(wrong) else ""


def _minimum(test: Minimum, case: Case) -> Mask:
    import polars as pl

    version = case.version
    for row in test.rows:
        strange = next((name for name in row if name not in version.columns), None)
        if strange is not None:
            raise Invalid(
                f"{test.name}: the model has no input {strange!r}", hint=f"inputs: {', '.join(version.columns)}"
            )
    kinds = {name: case.frame.schema[name] for name in version.columns if name in case.frame.columns}
    try:
        rows = pl.DataFrame(test.rows, schema=kinds or None, strict=False)
    except (TypeError, pl.exceptions.PolarsError) as reason:
        raise Invalid(f"{test.name}: the rows are no table: {reason}", hint="one value of one type a column") from None
    scores, decided = case.beliefs(rows)
    if test.between is not None:
        low, high = test.between
        picked = scores[:, _place(test.outcome, case)]
        inside: Mask = (picked >= low) & (picked <= high)
        return inside
    if case.task == "regression":
        raise Invalid(f"{test.name}: a number has no label", hint="between = [0, 10]")
    right: Mask = decided == _place(test.label, case)
    return right


def _invariance(test: Invariance, case: Case) -> Mask:
    import numpy as np

    (before, decided), (after, then) = (case.beliefs(rows) for rows in _both(test, case))
    moved = np.abs(after - before).max(axis=1)
    if case.task == "regression" or test.tolerance is not None:
        stays: Mask = moved <= (test.tolerance or 0.0)
        return stays if case.task == "regression" else stays & (decided == then)
    same: Mask = decided == then
    return same


def _direction(test: Direction, case: Case) -> Mask:
    place = _place(test.outcome, case)
    (before, _), (after, _) = (case.beliefs(rows) for rows in _both(test, case))
    sign = 1 if test.expect == "up" else -1
    moves: Mask = sign * (after[:, place] - before[:, place]) >= -test.tolerance
    return moves


def _both(test: Invariance | Direction, case: Case) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Evaluation rows as they are and as changed."""
    import numpy as np

    from mainspring.gates.rules.changes import changed

    chosen = np.sort(np.random.default_rng(case.seed).permutation(case.n)[: test.rows])
    rows = case.frame[chosen.tolist()].drop(case.label)
    return rows, changed(rows, test.change)


def _place(outcome: Label | None, case: Case) -> int:
    """The place of a class; of two classes the second when none is named."""
    if case.task == "regression":
        return 0
    classes = list(case.version.classes)
    if outcome is None and len(classes) == 2:
        return 1
    if outcome not in classes:
        hint = "the model knows " + ", ".join(repr(value) for value in classes[:20])
        raise Invalid(f"{outcome!r} is no class of the model", hint=hint)
    return classes.index(outcome)
