"""The gates: when is a version good enough?

Nouns: gate, check, verdict, approval. Invariants: a comparison is a test on rows that both models scored, never `>`; a
verdict is pass, fail, undecided (with the number of rows that would decide) or error; it is stored once with its
evidence and never changes; a bad model passes with a chance of at most alpha; how often a data version was used is
counted; an approval is bound to the digests of the version and of the verdict, and is given once.

The statistics are in `rules/`, the kinds of checks one file each in `checks/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.gates.approving import Approval
from mainspring.gates.model import CheckResult, CheckSpec, GateSpec, SliceResult, Verdict, gates_of, parse_gate

if TYPE_CHECKING:
    from mainspring.gates.service import Gates

__all__ = [
    "Approval",
    "CheckResult",
    "CheckSpec",
    "GateSpec",
    "Gates",
    "SliceResult",
    "Verdict",
    "gates_of",
    "parse_gate",
]


def __getattr__(name: str) -> object:
    if name != "Gates":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mainspring.gates.service import Gates

    return Gates
