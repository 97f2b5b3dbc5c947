"""Decisions about plans: what differs, and what drifted. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mainspring.core.canonical import canonical_json, digest
from mainspring.gates.approving import terms_of
from mainspring.loop.planning.model import KINDS, Applied, Change, Drift, Object, differences

Key = tuple[str, str]
RESTART = "monitors follow when the server is started again"
ALONE = "what passes it waits until there are users: this house knows only the owner, who cannot approve it alone"


def changes(declared: Sequence[Object], live: Sequence[Object], waits: Mapping[Key, str]) -> tuple[Change, ...]:
    """What becomes of every object, in the order of kinds and names; what stays as it is has no entry.

    Args:
        declared: What the file says.
        live: What lives.
        waits: Declared objects that can't live yet, and why.
    """
    before, after = {each.key: each for each in live}, {each.key: each for each in declared}
    found = [_change(before.get(key), after.get(key), waits.get(key, "")) for key in {*before, *after}]
    kept = [each for each in found if each is not None]
    return tuple(sorted(kept, key=lambda each: (KINDS.index(each.kind), each.name)))


def _change(before: Object | None, after: Object | None, wait: str) -> Change | None:
    if after is None:
        if before is None or before.kind == "deployment":
            return None  # a deployment was made by a person, and the file need not name it
        note = "the file does not say it any more; --prune takes it away"
        return Change("keep", before.kind, before.name, before.spec, note=note)
    if wait:
        return Change("wait", after.kind, after.name, after.spec, note=wait, place=after.place)
    told = differences(before.spec if before else {}, after.spec)
    if before is not None and not told:
        return None
    note = RESTART if after.kind == "monitor" else ALONE if _waits_for_users(after) else ""
    action = "update" if before else "create"
    return Change(action, after.kind, after.name, after.spec, told, note, after.place)


def _waits_for_users(gate: Object) -> bool:
    approve = gate.spec.get("approve") if gate.kind == "gate" else None
    terms = terms_of(approve) if isinstance(approve, Mapping) else None
    return terms is not None and terms.is_beyond_the_owner


def drifted(applied: Applied, live: Object, *, by: str, at: int) -> Drift | None:
    """How an object differs from what was applied last; None when it does not."""
    told = differences(applied.object.spec, live.spec)
    if not told:
        return None
    what = ", ".join(f"{each.name} {_short(each.before)} -> {_short(each.after)}" for each in told)
    return Drift(live.kind, live.name, what, by, at, is_undone=True)


def state_digest(serial: int, live: Sequence[Object]) -> str:
    """What a plan holds on to: another digest means that something moved."""
    said = [[each.kind, each.name, dict(each.spec)] for each in sorted(live, key=lambda each: each.key)]
    return digest(canonical_json([serial, said]))


def _short(value: object) -> str:
    text = "not said" if value is None else canonical_json(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
