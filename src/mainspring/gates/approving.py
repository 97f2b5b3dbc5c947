"""A person's word on a verdict: what it is bound to, and where a version stands with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Conflict, Invalid, Refused, did_you_mean

if TYPE_CHECKING:
    from mainspring.gates.model import Verdict

Decision = Literal["approved", "refused"]
Standing = Literal["go", "shadow", "wait", "stop"]
DECISIONS: tuple[Decision, ...] = ("approved", "refused")
WHEN = ("always", "production")
_MOST_WORDS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What somebody decided about a verdict that asks for approval. Stored once, never changed.

    Args:
        verdict: Id of the verdict.
        decision: approved or refused.
        role: The role the gate asks for.
        actor: Who decided.
        reason: Why.
        at: Epoch microseconds.
        digest: Digest of the version's package.
        evidence: Digest of the verdict with its checks: whoever changes one of them voids the approval.
    """

    verdict: str
    decision: Decision
    role: str
    actor: str
    reason: str
    at: int
    digest: str
    evidence: str


def read_approve(value: object, where: str) -> dict[str, str]:
    """Reads `approve = {role = "validator", when = "production"}`.

    Raises: Invalid: It is no table of texts, has no role, or `when` is none of the known.

    >>> read_approve({"role": "validator"}, "gate.g.approve")
    {'role': 'validator', 'when': 'always'}
    """
    example = 'approve = {role = "validator", when = "production"}'
    if not isinstance(value, Mapping) or not all(isinstance(entry, str) for entry in value.values()):
        raise Invalid("approve is not a table of texts", where=where, hint=example)
    if not value:
        return {}
    for key in value:
        if key not in ("role", "when"):
            hint = did_you_mean(key, ("role", "when")) or "known: role, when"
            raise Invalid(f"unknown setting {key!r}", where=where, hint=hint)
    role, when = str(value.get("role", "")).strip(), str(value.get("when", "always"))
    if not role:
        raise Invalid("it is not said who has to approve", where=where, hint=example)
    if when not in WHEN:
        hint = did_you_mean(when, WHEN) or f"one of {', '.join(WHEN)}"
        raise Invalid(f"when is {when!r}", where=f"{where}.when", hint=hint)
    return {"role": role, "when": when}


def evidence_of(verdict: Verdict) -> str:
    """The digest of all that a verdict says."""
    import msgspec

    return digest(canonical_json(msgspec.to_builtins(verdict)))


def standing_of(verdict: Verdict, approval: Approval | None, *, target: str = "production") -> Standing:
    """Where a version stands: go on, go on in the shadow only, wait for a person, or stop.

    Args:
        verdict: What the gate said.
        approval: What a person said, if anybody did.
        target: Where the version is to go. A gate that asks for approval "when production" asks for no other place.
    """
    if verdict.outcome == "undecided" and verdict.undecided == "shadow":
        return "shadow"
    if verdict.outcome != "pass":
        return "stop"
    if not verdict.approve or (verdict.approve.get("when") == "production" and target != "production"):
        return "go"
    if approval is None or (approval.digest, approval.evidence) != (verdict.candidate_digest, evidence_of(verdict)):
        return "wait"
    return "go" if approval.decision == "approved" else "stop"


def check_decision(verdict: Verdict, before: Approval | None, *, decision: str, reason: str, actor: str) -> Decision:
    """Return the decision when `actor` may take it.

    Raises:
        Invalid: The decision is none of the known, or no reason is given.
        Refused: The verdict asks for no approval, did not pass, or was asked for by the same person.
        Conflict: Somebody decided before.
    """
    where = verdict.ref
    chosen = next((each for each in DECISIONS if each == decision), None)
    if chosen is None:
        hint = did_you_mean(decision, DECISIONS) or "approved or refused"
        raise Invalid(f"the decision is {decision[:60]!r}", where=where, hint=hint)
    if not reason.strip() or len(reason) > _MOST_WORDS:
        raise Invalid(
            f"the reason has {len(reason.strip())} letters", where=where, hint=f"say why in 1 to {_MOST_WORDS}"
        )
    if not verdict.approve:
        raise Refused("the gate asks for no approval", where=where, hint='approve = {role = "..."} in its section')
    if verdict.outcome != "pass":
        raise Refused(f"the verdict is {verdict.outcome}, and only a pass can be approved", where=where)
    if before is not None:
        raise Conflict(f"{before.actor} {before.decision} it before: {before.reason}", where=where)
    if actor == verdict.actor and actor != "owner":
        raise Refused("who asked for the verdict does not approve it", where=where, hint="ask somebody else")
    return chosen
