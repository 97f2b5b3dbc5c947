"""From findings to one verdict: pass, fail, undecided with the number of rows that would decide, or error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mainspring.core.values import dataclass
from mainspring.gates.rules.finding import Finding, rows_needed
from mainspring.gates.rules.multiplicity import benjamini_hochberg, holm

Outcome = Literal["pass", "fail", "undecided", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a finding comes to once the other tests of the gate are counted.

    Args:
        outcome: pass, fail or undecided.
        p: Adjusted p-value of the claim that was made (for undecided, of passing); None for a plain fact.
        needed: Rows that would decide an undecided check, when a number can be given.
    """

    outcome: Outcome
    p: float | None = None
    needed: int | None = None


def judge(findings: Sequence[Finding], *, alpha: float) -> list[Judged]:
    """Decides every finding at level `alpha`, with Holm over the tests, in the order given.

    Two families are kept: the claims "good enough" and the claims "not good enough", each with at most a chance of
    `alpha` of even one false claim. So a bad model passes with a chance of at most `alpha`, and a good one fails with
    a chance of at most `alpha` however many checks a gate has.

    Args:
        findings: What the checks measured; plain facts take no part in the correction, and what is presumed good takes
            part in the second family alone.
        alpha: One-sided level, in (0, 0.5).
    """
    tests = [index for index, finding in enumerate(findings) if finding.settled is None]
    claims = [index for index in tests if not findings[index].presumed]
    passes = dict(zip(claims, holm([findings[i].p_pass for i in claims]), strict=True))
    fails = dict(zip(tests, holm([findings[i].p_fail for i in tests]), strict=True))
    return [
        _one(finding, passes.get(index), fails.get(index), alpha=alpha, tests=len(tests))
        for index, finding in enumerate(findings)
    ]


def _one(finding: Finding, p_pass: float | None, p_fail: float | None, *, alpha: float, tests: int) -> Judged:
    if p_fail is None:
        return Judged("pass" if finding.settled else "fail")
    if p_pass is None:  # presumed good: only the claim that it is not is tested
        return Judged("fail" if p_fail <= alpha else "pass", p_fail)
    if p_pass <= alpha:
        return Judged("pass", p_pass)
    if p_fail <= alpha:
        return Judged("fail", p_fail)
    return Judged("undecided", p_pass, rows_needed(finding, alpha=alpha / tests))


def harmed(findings: Sequence[Finding], *, alpha: float) -> list[bool]:
    """Which slices are shown to be on the wrong side, the share of false alarms among them at most `alpha` on average.

    A gate asks of the whole set that it is good enough and of a slice that it is not shown to be bad: asking proof of
    every small slice would leave every gate undecided.
    """
    adjusted = benjamini_hochberg([finding.p_fail for finding in findings])
    return [p <= alpha for p in adjusted]


def combine(outcomes: Sequence[Outcome], *, undecided: str = "hold") -> Outcome:
    """The outcome of a gate: what is shown to be bad comes first, then what could not be measured, then doubt.

    Args:
        outcomes: Of the checks; "skipped" takes no part.
        undecided: "fail" makes doubt a refusal; "hold" and "shadow" leave it to whoever asked.

    >>> combine(["pass", "undecided", "skipped"])
    'undecided'
    """
    found = set(outcomes)
    if "fail" in found:
        return "fail"
    if "error" in found:
        return "error"
    if "undecided" in found:
        return "fail" if undecided == "fail" else "undecided"
    return "pass"
