"""Values of plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import cast

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.clock import iso
from mainspring.core.errors import Corrupt, Invalid
from mainspring.core.values import dataclass

KINDS = ("gate", "monitor", "deployment", "policy", "trigger")
"""What is declared, in an order in which each needs only what is before it."""
MONITOR = "all"
"""What the one section `[monitor]` is called."""
FORMAT = "mainspring-plan-1"
SIGNS = {"create": "+", "update": "~", "delete": "-", "keep": " ", "wait": "?"}
Spec = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Object:
    """One declared thing: a kind of `KINDS`, its name, what is said of it as plain JSON values, and where."""

    kind: str
    name: str
    spec: Spec
    place: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return self.kind, self.name

    @property
    def ref(self) -> str:
        """Its reference in the event log, such as `triggers/nightly`."""
        return f"{'policies' if self.kind == 'policy' else self.kind + 's'}/{self.name}"


@dataclass(frozen=True, slots=True)
class Applied:
    """An object as it was applied last: by whom, and when."""

    object: Object
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that becomes another. None: it is not said."""

    name: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one object.

    Attributes:
        action: "create", "update", "delete", "keep" (it lives, and the file says nothing of it) or "wait" (the file
            says something of it, and it can't live yet).
        spec: What is said of it afterwards; of what is deleted or kept, what lives.
        differences: Which settings become others.
        note: What a reader should know beyond that.
        place: File and line that declare it; empty for what no file does.
    """

    action: str
    kind: str
    name: str
    spec: Spec
    differences: tuple[Difference, ...] = ()
    note: str = ""
    place: str = ""

    @property
    def object(self) -> Object:
        """The object it is about."""
        return Object(self.kind, self.name, self.spec)

    @property
    def sign(self) -> str:
        """One character that says the action."""
        return SIGNS[self.action]


@dataclass(frozen=True, slots=True)
class Drift:
    """What somebody changed by hand since the last apply, and whether an apply changes it back."""

    kind: str
    name: str
    what: str
    by: str
    at: int
    is_undone: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What an apply would change, and in which state that was found.

    Attributes:
        serial: How many objects were changed by applies so far.
        state: Digest of everything the plan was made from that lives.
    """

    project: str
    serial: int
    state: str
    made_at: int
    changes: tuple[Change, ...]
    drifts: tuple[Drift, ...]

    def work(self, *, prune: bool = False) -> list[Change]:
        """What an apply does, in its order: first what is made, then what is taken away, in the opposite order."""
        made = [each for each in self.changes if each.action in ("create", "update")]
        gone = [each for each in self.changes if prune and each.action == "keep"]
        made.sort(key=lambda each: (KINDS.index(each.kind), each.name))
        gone.sort(key=lambda each: (-KINDS.index(each.kind), each.name))
        return [*made, *(Change("delete", each.kind, each.name, each.spec) for each in gone)]

    def lines(self, *, prune: bool = False) -> list[str]:
        """The plan for people."""
        shown = [*self.work(prune=prune), *(each for each in self.changes if each.action == "wait")]
        shown += [each for each in self.changes if each.action == "keep" and not prune]
        lines = [line for each in shown for line in _lines(each)]
        lines += [
            f"! {each.kind} {each.name}: {each.what}, by {each.by or 'somebody'} at {iso(each.at)[:19]}"
            + ("; an apply changes it back" if each.is_undone else "; an apply leaves it")
            for each in self.drifts
        ]
        return [*lines, self.summary(prune=prune)]

    def summary(self, *, prune: bool = False) -> str:
        """How much there is to do, in one line."""
        work = self.work(prune=prune)
        counts = [sum(each.action == action for each in work) for action in ("create", "update", "delete")]
        if not work:
            return "nothing to do: what is declared lives"
        return "{} to create, {} to change, {} to take away".format(*counts)

    def to_json(self) -> dict[str, object]:
        """As a JSON object that `from_json` reads, with a digest of itself."""
        from mainspring.core.console import plain

        said = cast("dict[str, object]", plain(self))
        return {"format": FORMAT, **said, "digest": digest(canonical_json(said))}

    @classmethod
    def from_json(cls, found: object, where: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises:
            Invalid: It is no plan, or one of another release.
            Corrupt: Somebody changed it.
        """
        hint = "make it with: mainspring plan --out plan.json"
        if not isinstance(found, Mapping) or found.get("format") != FORMAT:
            raise Invalid("this is no plan of this release", where=where, hint=hint)
        said = {key: value for key, value in found.items() if key not in ("format", "digest")}
        if digest(canonical_json(said)) != found.get("digest"):
            raise Corrupt("the plan was changed after it was made", where=where, hint=hint)
        changes = [
            Change(**{**each, "differences": tuple(Difference(**one) for one in each["differences"])})
            for each in said.pop("changes")
        ]
        drifts = [Drift(**each) for each in said.pop("drifts")]
        return cls(**said, changes=tuple(changes), drifts=tuple(drifts))


def _lines(change: Change) -> list[str]:
    told = "; ".join(filter(None, (change.place, change.note)))
    note = f"  ({told})" if told else ""
    lines = [f"{change.sign} {change.kind} {change.name}{note}"]
    if change.action in ("create", "update"):
        lines += [f"    {each.name}: {_shown(each)}" for each in change.differences]
    return lines


def _shown(each: Difference) -> str:
    after = "not said" if each.after is None else _text(each.after)
    return after if each.before is None else f"{_text(each.before)} -> {after}"


def _text(value: object) -> str:
    return canonical_json(value).decode()


def differences(before: Spec, after: Spec) -> tuple[Difference, ...]:
    """The settings in which two specs differ, sorted.

    >>> differences({"a": 1, "b": 2}, {"a": 1, "b": 3})
    (Difference(name='b', before=2, after=3),)
    """
    names: Sequence[str] = sorted({*before, *after})
    return tuple(
        Difference(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )
