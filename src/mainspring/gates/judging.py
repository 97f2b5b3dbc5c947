"""Runs the checks of a gate on a case and judges them together."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, MainspringError
from mainspring.core.values import dataclass
from mainspring.gates.checks import Check, build
from mainspring.gates.model import CheckResult, CheckSpec, GateSpec, SliceResult
from mainspring.gates.rules.finding import Finding, NotApplicable, Part
from mainspring.gates.rules.verdict import Judged, harmed, judge

if TYPE_CHECKING:
    from mainspring.gates.case import Case

_MOST_SLICES = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Measured:
    spec: CheckSpec
    finding: Finding | None = None
    slices: tuple[SliceResult, ...] = ()
    error: str = ""
    skipped: str = ""


def run_checks(gate: GateSpec, case: Case) -> tuple[CheckResult, ...]:
    """One result per check, in the order of the gate. A check that cannot measure gives `error`, not an exception."""
    measured = [_measure(spec, case) for spec in gate.checks]
    known = [(place, one.finding) for place, one in enumerate(measured) if one.finding is not None]
    judged = dict(zip((p for p, _ in known), judge([f for _, f in known], alpha=gate.alpha), strict=True))
    return tuple(_result(one, judged.get(place)) for place, one in enumerate(measured))


def all_errors(gate: GateSpec, error: MainspringError) -> tuple[CheckResult, ...]:
    """The results when nothing could be measured at all."""
    reason = in_one_line(error)
    return tuple(CheckResult(title=s.title, kind=s.kind, outcome="error", note=reason) for s in gate.checks)


def in_one_line(error: MainspringError) -> str:
    """What, where and the hint of an error, for the note of a result."""
    where = f"{error.where}: " if error.where else ""
    return f"{where}{error.what}" + (f" (try: {error.hint})" if error.hint else "")


def _measure(spec: CheckSpec, case: Case) -> _Measured:
    try:
        check = build(spec)
        finding = check.measure(case)
        if isinstance(finding, NotApplicable):
            return _Measured(spec, skipped=finding.reason)
        return _Measured(spec, finding, (*map(_shown, finding.parts), *_slices(check, case)))
    except MainspringError as reason:
        return _Measured(spec, error=in_one_line(reason))
    except Exception as reason:  # noqa: BLE001 - rows and models are foreign: one check takes no other along
        _log.exception("gates.check_broke: %s", spec.title)
        return _Measured(spec, error=f"the check broke: {type(reason).__name__}: {reason}"[:500])


def _shown(part: Part) -> SliceResult:
    low, high, line, value = (_finite(number) for number in (part.low, part.high, part.threshold, part.value))
    return SliceResult(
        name=part.name, state=part.state, n=part.n, value=value, low=low, high=high, threshold=line, note=part.note
    )


def _slices(check: Check, case: Case) -> tuple[SliceResult, ...]:
    """The slices a check asks for, each tested for being bad, with Benjamini-Hochberg over them."""
    columns: Sequence[str] = getattr(check, "slices", ())
    least: int = getattr(check, "min_rows", 0)
    found: list[tuple[SliceResult, Finding | None]] = []
    for column in columns:
        values = case.column(column).cast(str).fill_null("(missing)")
        names = values.unique().sort().to_list()
        if len(names) > _MOST_SLICES:
            raise Invalid(f"{column} has {len(names)} values, too many for slices", hint="slice by a coarser column")
        found += [_slice(check, case.only((values == name).to_numpy()), f"{column}={name}", least) for name in names]
    tested = [finding for _, finding in found if finding is not None]
    bad = iter(harmed(tested, alpha=case.alpha))
    return tuple(
        replace(result, state="bad") if finding is not None and next(bad) else result for result, finding in found
    )


def _slice(check: Check, part: Case, name: str, least: int) -> tuple[SliceResult, Finding | None]:
    try:
        finding = check.measure(part) if part.n >= least else None
    except Invalid:  # a class is missing in this slice: it is too small to be tested
        finding = None
    if not isinstance(finding, Finding):
        return SliceResult(name=name, state="small", n=part.n), None
    numbers = (finding.low, finding.high, finding.value, finding.threshold)
    low, high, value, line = (_finite(number) for number in numbers)
    return SliceResult(name=name, state="ok", n=part.n, value=value, low=low, high=high, threshold=line), finding


def _result(one: _Measured, judged: Judged | None) -> CheckResult:
    blank = CheckResult(title=one.spec.title, kind=one.spec.kind, outcome="error", note=one.error)
    if one.error:
        return blank
    if one.finding is None or judged is None:
        return replace(blank, outcome="skipped", note=one.skipped)
    finding, parts = one.finding, {part.name for part in one.finding.parts}
    bad = [result.name for result in one.slices if result.state == "bad" and result.name not in parts]
    notes = [finding.note, f"shown to be bad: {', '.join(bad)}" if bad else ""]
    return CheckResult(
        title=one.spec.title,
        kind=one.spec.kind,
        outcome="fail" if bad else judged.outcome,
        value=_finite(finding.value),
        low=_finite(finding.low),
        high=_finite(finding.high),
        threshold=_finite(finding.threshold),
        better=finding.better,
        p=judged.p,
        n=finding.n,
        rows_needed=None if bad else judged.needed,
        method=finding.method,
        note="; ".join(note for note in notes if note),
        slices=one.slices,
    )


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def reason_for(outcome: str, results: Sequence[CheckResult]) -> str:
    """The verdict in one sentence, naming what decided it.

    >>> reason_for("pass", [CheckResult(title="no leakage", kind="leakage", outcome="pass")])
    'all checks passed (1 of 1)'
    """
    if outcome == "pass":
        passed = sum(result.outcome == "pass" for result in results)
        reasons = sorted({result.note for result in results if result.outcome == "skipped"})
        rest = f", the others were skipped: {'; '.join(reasons)}" if reasons else ""
        return f"all checks passed ({passed} of {len(results)}{rest})"
    deciding = [result for result in results if result.outcome == outcome]
    if outcome == "error" and len(results) > 1 and len({(result.outcome, result.note) for result in results}) == 1:
        return f"nothing could be measured: {results[0].note}"
    deciding = deciding or [result for result in results if result.outcome == "undecided"]
    return "; ".join(_sentence(result) for result in deciding)


def _sentence(result: CheckResult) -> str:
    if result.outcome == "undecided" and result.rows_needed is not None:
        return f"{result.title} is undecided on {result.n} rows; about {result.rows_needed} would decide"
    if result.outcome == "undecided":
        return f"{result.title} is undecided on {result.n} rows"
    word = "failed" if result.outcome == "fail" else "could not be measured"
    return f"{result.title} {word}" + (f": {result.note}" if result.note else "")
