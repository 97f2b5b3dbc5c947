"""From a declaration to a composed model: its versions found, checked and packed, and the one signature they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Protocol

from mainspring.core.errors import Conflict, Corrupt, Invalid, Refused
from mainspring.core.expressions import Expression
from mainspring.core.values import dataclass
from mainspring.registry.flavours import flavour
from mainspring.registry.flavours.composed import NO_PARTS, SCORE, Composed, Composition, Packed, Step, check_part
from mainspring.registry.model import Field, ModelVersion, Scalar, Signature
from mainspring.registry.rules import check_usable, field_dtype, holds

if TYPE_CHECKING:
    import polars as pl

    from mainspring.registry.manifests import Manifest


class Shelf(Protocol):
    """Where registered versions are."""

    def get(self, name: str, version: int | str = ...) -> ModelVersion:
        """A version."""

    def manifest(self, name: str, version: int | str) -> Manifest | None:
        """Its manifest."""

    def file(self, name: str, version: int | str, file: str) -> bytes:
        """One of its files."""


@dataclass(slots=True)
class _Needs:
    """The columns that a composed model takes, found by walking through its parts."""

    fields: dict[str, Field | None] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def take(self, version: ModelVersion) -> None:
        """All inputs of a version that no step made."""
        for entry in version.inputs:
            if entry.name not in self.made:
                self._add(replace(entry, levels=()), version.ref)

    def look(self, names: Sequence[str]) -> None:
        """Columns that an expression looks at."""
        for name in names:
            if name not in self.made:
                self.fields.setdefault(name, None)

    def _add(self, entry: Field, ref: str) -> None:
        there = self.fields.get(entry.name)
        if there is None or holds(there.dtype, entry.dtype):
            self.fields[entry.name] = entry
        elif not holds(entry.dtype, there.dtype):
            said = f"{ref} takes {entry.name!r} as {entry.dtype}, another part as {there.dtype}"
            raise Invalid(said, where="members", hint="compute a column of its own for one of them")


def compose(
    shelf: Shelf, composition: Composition, example: pl.DataFrame | None
) -> tuple[Composed, Signature, pl.DataFrame]:
    """The model of a composition, its signature, and rows that show it.

    Args:
        shelf: Has the versions.
        composition: What it is made of; its references become those of numbers.
        example: Rows of its inputs; taken from the examples of its parts when absent.
    Raises:
        NotFound: There is no such version.
        Invalid: The parts do not fit each other, or the example lacks a column.
        Refused: A part is a pickle, or composed itself.
    """
    versions = {ref: _version(shelf, ref) for ref in composition.models}
    names = {ref: f"{found.model}/{found.number}" for ref, found in versions.items()}
    said = _pinned(composition, names)
    parts = {names[ref]: _packed(shelf, found) for ref, found in versions.items()}
    by_name = {names[ref]: found for ref, found in versions.items()}
    answer = _answering(said, by_name)
    fields = _inputs(said, by_name)
    rows = _example(fields, list(by_name.values())) if example is None else example
    typed = tuple(_typed(name, entry, rows) for name, entry in fields.items())
    truths = tuple(entry.name for entry in typed if entry.dtype == "bool")
    model = Composed(said, parts, tuple(fields), truths, answer.task, answer.classes)
    return model, Signature(typed), rows


def _version(shelf: Shelf, ref: str) -> ModelVersion:
    name, slash, number = ref.removeprefix("models/").rpartition("/")
    if not slash or not name or not number:
        raise Invalid(f"{ref!r} names no version", where="model", hint='write "NAME/VERSION" or "NAME/ALIAS"')
    found = check_usable(shelf.get(name, int(number) if number.isdecimal() else number))
    if found.flavour in NO_PARTS:
        said = f"a model of format {found.flavour} is no part of a composed model"
        raise Refused(
            said, where=found.ref, hint="name the parts of a composed model, and keep pickles in a safe format"
        )
    return found


def _packed(shelf: Shelf, found: ModelVersion) -> Packed:
    manifest = shelf.manifest(found.model, found.number)
    if manifest is None:
        raise Corrupt("it has no manifest", where=found.ref)
    data = shelf.file(found.model, found.number, flavour(found.flavour).FILE)
    part = Packed(found.digest, manifest.to_bytes(), data)
    check_part(found.ref, part)
    return part


def _pinned(said: Composition, names: Mapping[str, str]) -> Composition:
    """The same with numbers for aliases."""

    def steps(given: Sequence[Step]) -> tuple[Step, ...]:
        return tuple(replace(step, model=names[step.model]) if step.model else step for step in given)

    members = tuple(replace(member, model=names[member.model]) for member in said.members)
    final = names[said.final] if said.final else ""
    return replace(said, members=members, before=steps(said.before), after=steps(said.after), final=final)


def _answering(said: Composition, versions: Mapping[str, ModelVersion]) -> ModelVersion:
    """The version whose task and classes the whole has, checked against the others."""
    first = versions[said.members[0].model]
    for member in said.members:
        other = versions[member.model]
        if (other.task, other.classes) != (first.task, first.classes):
            found = f"{other.ref} is {other.task} over {list(other.classes)}, {first.ref} {first.task}"
            raise Conflict(found, where="members", hint="members answer the same question")
    if said.combine == "vote" and first.task == "regression":
        raise Invalid("numbers have no vote", where="combine", hint='use combine = "mean"')
    one_number = [step.model for step in (*said.before, *said.after) if step.model]
    if said.combine == "stack":
        one_number += [member.model for member in said.members]
    for ref in one_number:
        if versions[ref].task == "multiclass":
            raise Invalid("it answers with many numbers, a column takes one", where=versions[ref].ref)
    answer = versions[said.final] if said.final else first
    if said.after and answer.task == "multiclass":
        raise Invalid("steps after a model of many classes have no one score", where="after", hint="leave them out")
    if said.after and SCORE not in [step.column for step in said.after]:
        raise Invalid(f"no step after the model gives {SCORE!r}", where="after", hint=f'column = "{SCORE}"')
    return answer


def _inputs(said: Composition, versions: Mapping[str, ModelVersion]) -> dict[str, Field | None]:
    needs = _Needs()

    def step_through(steps: Sequence[Step]) -> None:
        for step in steps:
            if step.model:
                needs.take(versions[step.model])
            else:
                needs.look(Expression(step.expression).names)
            needs.made.add(step.column)

    step_through(said.before)
    for member in said.members:
        needs.take(versions[member.model])
    if said.final:
        needs.made.update(member.label for member in said.members)
        needs.take(versions[said.final])
    needs.made.add(SCORE)
    step_through(said.after)
    return needs.fields


def _example(fields: Mapping[str, Field | None], versions: Sequence[ModelVersion]) -> pl.DataFrame:
    """Rows out of the examples of the parts."""
    from mainspring.registry.packages import to_frame

    shown: dict[str, Sequence[Scalar]] = {}
    for name in fields:
        found = next((v.example.inputs[name] for v in versions if v.example.inputs.get(name)), None)
        if found is None:
            hint = "give rows with it: --example ROWS.csv"
            raise Invalid(f"no part has an example of {name!r}", where="example", hint=hint)
        shown[name] = list(found)
    rows = min(len(values) for values in shown.values())
    given = [entry or Field(name, _plain_dtype(shown[name])) for name, entry in fields.items()]
    return to_frame({name: values[:rows] for name, values in shown.items()}, given)


def _plain_dtype(values: Sequence[Scalar]) -> str:
    kinds = {type(value) for value in values if value is not None}
    return "bool" if kinds == {bool} else "string" if kinds == {str} else "float64"


def _typed(name: str, entry: Field | None, rows: pl.DataFrame) -> Field:
    if name not in rows.columns:
        raise Invalid(f"the example has no column {name!r}", where="example", hint="give rows with it")
    return entry or Field(name, field_dtype(type(rows.schema[name]).__name__, name))
