"""What people say about a verdict: who may, what it is bound to, and where a version stands with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, cast

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Conflict, Invalid, Refused, did_you_mean
from mainspring.core.settings import fill
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    from mainspring.gates.model import Verdict

Decision = Literal["approved", "refused"]
Standing = Literal["go", "shadow", "wait", "stop"]
DECISIONS: tuple[Decision, ...] = ("approved", "refused")
WHEN = ("always", "production")
_MOST_WORDS = 2000
_MOST_PEOPLE = 20
_OWNER = "owner"
"""Who everybody is in a house without users."""
_EXAMPLE = 'approve = {role = "validator", when = "production"}'


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`approve = {...}` of a gate: who has to approve a pass, and when.

    Args:
        role: What the approvers are, for the record: users with roles are not known yet.
        when: "always" or "production".
        by: Who may approve; empty for everybody who may write approvals.
        people: How many different people have to approve.
        four_eyes: Nobody approves what they registered or asked the verdict for, the owner neither.
    Raises: Invalid: It is not said who, `when` is none of the known, or more people are asked for than are named.
    """

    role: str = ""
    when: str = "always"
    by: tuple[str, ...] = ()
    people: int = 1
    four_eyes: bool = False

    def __post_init__(self) -> None:
        if not self.role.strip():
            raise Invalid("it is not said who has to approve", where="approve", hint=_EXAMPLE)
        if self.when not in WHEN:
            hint = did_you_mean(self.when, WHEN) or f"one of {', '.join(WHEN)}"
            raise Invalid(f"when is {self.when!r}", where="approve.when", hint=hint)
        names = cast("object", self.by)
        fine = isinstance(names, tuple) and all(isinstance(name, str) and name for name in names)
        if not fine or len(set(self.by)) < len(self.by):
            raise Invalid(f"{names!r} are no people", where="approve.by", hint='by = ["ada", "grace"]')
        most = len(self.by) or _MOST_PEOPLE
        if not 1 <= self.people <= most:
            raise Invalid(f"{self.people} people asked for", where="approve.people", hint=f"use 1 to {most}")

    @property
    def is_beyond_the_owner(self) -> bool:
        """Whether a house that knows only the owner can never meet them."""
        return self.people > 1 or bool(self.by and _OWNER not in self.by)


def read_approve(value: object, where: str) -> dict[str, object]:
    """Reads `approve = {role = "validator", when = "production"}`, see `Terms`.

    Raises: Invalid: It is no table, has an unknown setting, or what `Terms` refuses.

    >>> read_approve({"role": "validator"}, "gate.g.approve")
    {'role': 'validator', 'when': 'always'}
    """
    if not isinstance(value, Mapping):
        raise Invalid("approve is not a table", where=where, hint=_EXAMPLE)
    if not value:
        return {}
    said = {str(key): tuple(entry) if isinstance(entry, list) else entry for key, entry in value.items()}
    try:
        terms = asdict(fill(Terms, {**said, "role": str(said.get("role", "")).strip()}, where=where))
    except Invalid as wrong:
        there = where + wrong.where.removeprefix(where).removeprefix("approve")
        raise Invalid(wrong.what, where=there, hint=wrong.hint) from None
    kept = {key: list(entry) if isinstance(entry, tuple) else entry for key, entry in terms.items()}
    return {key: kept[key] for key in kept if key in ("role", "when") or key in said}


def terms_of(approve: Mapping[str, object]) -> Terms | None:
    """The terms that a gate or verdict was given; None when nobody has to approve."""
    given = {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in approve.items()}
    return Terms(**cast("dict[str, Any]", given)) if given else None


def evidence_of(verdict: Verdict) -> str:
    """The digest of all that a verdict says."""
    import msgspec

    return digest(canonical_json(msgspec.to_builtins(verdict)))


def standing_of(verdict: Verdict, said: Sequence[Approval], *, target: str = "production") -> Standing:
    """Where a version stands: go on, go on in the shadow only, wait for people, or stop.

    Args:
        verdict: What the gate said.
        said: What people said about it. What is bound to another version or evidence does not count.
        target: Where the version is to go. A gate that asks for approval "when production" asks for no other place.
    """
    if verdict.outcome == "undecided" and verdict.undecided == "shadow":
        return "shadow"
    if verdict.outcome != "pass":
        return "stop"
    terms = terms_of(verdict.approve)
    if terms is None or (terms.when == "production" and target != "production"):
        return "go"
    if any(each.decision == "refused" for each in _bound(verdict, said)):
        return "stop"
    return "wait" if missing(verdict, said) else "go"


def missing(verdict: Verdict, said: Sequence[Approval]) -> int:
    """How many more people have to approve."""
    terms = terms_of(verdict.approve)
    approved = {each.actor for each in _bound(verdict, said) if each.decision == "approved"}
    return 0 if terms is None else max(0, terms.people - len(approved))


def waits_for(verdict: Verdict, said: Sequence[Approval]) -> str:
    """For whom a pass waits, in words; empty when for nobody.

    Such as "a validator", or "2 of 3 validators: ada, grace, joan".
    """
    terms, left = terms_of(verdict.approve), missing(verdict, said)
    if terms is None or not left:
        return ""
    told = f"a {terms.role}" if terms.people == 1 else f"{left} of {terms.people} approvals as {terms.role}"
    return f"{told}: {', '.join(terms.by)}" if terms.by else told


def _bound(verdict: Verdict, said: Sequence[Approval]) -> list[Approval]:
    """What is about this version and this evidence."""
    evidence = evidence_of(verdict) if said else ""
    return [each for each in said if (each.digest, each.evidence) == (verdict.candidate_digest, evidence)]


def check_decision(
    verdict: Verdict, before: Sequence[Approval], *, decision: str, reason: str, actor: str, maker: str
) -> Decision:
    """Return the decision when `actor` may take it.

    Args:
        verdict: What it is about.
        before: What people said before.
        decision: What is said now.
        reason: Why.
        actor: Who says it.
        maker: Who registered the version.
    Raises:
        Invalid: The decision is none of the known, or no reason is given.
        Refused: The verdict asks for no approval, did not pass, or this person has no say in it.
        Conflict: It is decided, or the same person spoke before.
    """
    where, terms = verdict.ref, terms_of(verdict.approve)
    chosen = next((each for each in DECISIONS if each == decision), None)
    if chosen is None:
        hint = did_you_mean(decision, DECISIONS) or "approved or refused"
        raise Invalid(f"the decision is {decision[:60]!r}", where=where, hint=hint)
    if not reason.strip() or len(reason) > _MOST_WORDS:
        raise Invalid(
            f"the reason has {len(reason.strip())} letters", where=where, hint=f"say why in 1 to {_MOST_WORDS}"
        )
    if terms is None:
        raise Refused("the gate asks for no approval", where=where, hint='approve = {role = "..."} in its section')
    if verdict.outcome != "pass":
        raise Refused(f"the verdict is {verdict.outcome}, and only a pass can be approved", where=where)
    _check_open(verdict, before, actor)
    _check_person(verdict, terms, actor, maker)
    return chosen


def _check_open(verdict: Verdict, before: Sequence[Approval], actor: str) -> None:
    final = next((each for each in before if each.decision == "refused"), None)
    mine = next((each for each in before if each.actor == actor), None)
    last = final or mine or (before[-1] if before and not missing(verdict, before) else None)
    if last is None:
        return
    left = missing(verdict, before)
    hint = f"it waits for {waits_for(verdict, before)}" if last is mine and left and last is not final else ""
    raise Conflict(f"{last.actor} {last.decision} it before: {last.reason}", where=verdict.ref, hint=hint)


def _check_person(verdict: Verdict, terms: Terms, actor: str, maker: str) -> None:
    alone = " (a house without users knows only the owner)" if actor == _OWNER else ""
    if terms.by and actor not in terms.by:
        hint = f"ask {' or '.join(terms.by)}{alone}"
        raise Refused(f"{actor} is none of those who decide this", where=verdict.ref, hint=hint)
    if terms.four_eyes and actor in (verdict.actor, maker):
        what = "asked for the verdict" if actor == verdict.actor else "registered the version"
        hint = f"ask somebody else{alone}; what a policy or a trigger trained and judged, the owner may approve"
        raise Refused(f"{actor} {what}, and the gate wants four eyes", where=verdict.ref, hint=hint)
    if actor == verdict.actor and actor != _OWNER:
        raise Refused("who asked for the verdict does not approve it", where=verdict.ref, hint="ask somebody else")
