"""What a scan found, and how far it may go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mainspring.core.values import dataclass

Verdict = Literal["safe", "unsafe"]
MOST_FINDINGS = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a scan gives up, which makes the file unsafe.

    Args:
        bytes: Most bytes in all, those that come out of compressed parts included.
        depth: Most containers inside each other.
        parts: Most files and byte strings that are looked into.
        opcodes: Most opcodes in all.
        seconds: Longest time of the scanning process.
        memory: Most memory of the scanning process, beside the file itself.
    """

    bytes: int = 2 * 1024**3
    depth: int = 6
    parts: int = 20_000
    opcodes: int = 20_000_000
    seconds: float = 60.0
    memory: int = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that makes a file unsafe.

    Args:
        part: Where: the name of the file, after "!" that of a file inside it.
        offset: The byte in that part.
        reason: What was found there.
    """

    part: str
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.part} at byte {self.offset}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a scan. Safe means: every name a load would import or call is on the allow-list.

    Args:
        findings: Why it is unsafe; empty when it is safe.
        names: Every "module.name" that was met, allowed or not, sorted.
        pickles: How many pickles were read.
    """

    findings: tuple[Finding, ...] = ()
    names: tuple[str, ...] = ()
    pickles: int = 0

    @property
    def verdict(self) -> Verdict:
        """`safe` or `unsafe`."""
        return "unsafe" if self.findings else "safe"

    def said(self) -> str:
        """The verdict in a sentence.

        >>> Report((Finding("m.pkl", 2, "names os.system, which is not on the allow-list"),)).said()
        'm.pkl at byte 2: names os.system, which is not on the allow-list'
        """
        if not self.findings:
            return f"{self.pickles} pickles, {len(self.names)} names, all on the allow-list"
        more = len(self.findings) - 1
        return str(self.findings[0]) + (f" (and {more} more)" if more else "")


def joined(reports: Sequence[Report]) -> Report:
    """Several reports as one."""
    findings = tuple(entry for report in reports for entry in report.findings)
    names = sorted({name for report in reports for name in report.names})
    return Report(findings[:MOST_FINDINGS], tuple(names), sum(report.pickles for report in reports))
