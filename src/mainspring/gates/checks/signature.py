"""Whether whoever calls the champion can call the candidate unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from mainspring.core.values import dataclass

if TYPE_CHECKING:
    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding, NotApplicable


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{signature = "backward_compatible"}`.

    Args:
        signature: "backward_compatible": no new input, no narrower type of an input, no output gone or changed.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("signature",)
    signature: Literal["backward_compatible"]

    def title(self) -> str:
        """The check in a few words."""
        return "signature backward compatible"

    def measure(self, case: Case) -> Finding | NotApplicable:
        """The differences that would break a caller."""
        from mainspring.gates.rules.finding import NO_CHAMPION, NotApplicable, fact
        from mainspring.registry import breaking_changes

        if case.champion is None:
            return NO_CHAMPION
        if case.champion.signature is None or case.version.signature is None:
            return NotApplicable("a version has no signature")
        broken = breaking_changes(case.champion.signature, case.version.signature)
        return fact(not broken, value=len(broken), method="comparison of the signatures", note="; ".join(broken))
