"""Registered versions as one model: steps before, an ensemble or a single model, and steps after, by declaration.

The archive has the declaration and, whole, the package of every version it names, each checked against the digest that
it was registered with. So a composed version never changes, as any other: nothing of it is looked up when it is loaded.
A step is an expression, which is data, or a registered version; one that is a Python function has a process of its own.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from mainspring.core.canonical import digest
from mainspring.core.errors import Corrupt, Failed, Invalid, Refused
from mainspring.core.expressions import Expression
from mainspring.core.values import dataclass
from mainspring.registry.flavours import Scorer, Trait, flavour
from mainspring.registry.model import Label, Scalar
from mainspring.registry.pickles.archives import Bad, zip_members

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.model import Field
    from mainspring.registry.packages import Predictor
    from mainspring.registry.reasons import Cells, Explainer

T = TypeVar("T")
NAME = "composed"
FILE = "composed.zip"
PACKAGES = ("numpy", "polars")
SCORE = "score"
"""The column that steps after the model find its answer in, and leave theirs in."""
Combine = Literal["mean", "vote", "stack"]
COMBINES: tuple[Combine, ...] = ("mean", "vote", "stack")
_ABOUT = "composed.json"
_MANIFEST = "manifest.json"
_THEN = (1980, 1, 1, 0, 0, 0)
NO_PARTS = ("composed", "mlflow", "pickle")
"""Formats that are no part of a composed model: what needs a grant, and what is not data."""
MOST_PARTS = 50
"""Steps and members of one composed model."""


@dataclass(frozen=True, slots=True)
class Step:
    """A column that is computed: by an expression, or by a registered version whose number it is.

    Args:
        column: Its name.
        expression: Over the columns that are there by then.
        model: Reference such as "NAME/VERSION"; of a model with two classes the probability of the second.
    """

    column: str
    expression: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        """Raises: Invalid: No column, or not just one way to compute it."""
        if not self.column or bool(self.expression) == bool(self.model):
            hint = 'column = "late" with expression = "delay > 15", or with model = "NAME/VERSION"'
            raise Invalid("a step is a column with an expression or a model", where=self.column, hint=hint)
        if self.expression:
            Expression(self.expression)

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.column} = {self.expression or self.model}"


@dataclass(frozen=True, slots=True)
class Member:
    """One model of an ensemble.

    Args:
        model: Reference such as "NAME/VERSION".
        name: What it is called in errors, and for a stack the column of its answer; "" is the reference.
        weight: Of its answer or vote, above 0.
    """

    model: str
    name: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raises: Invalid: No model, or no weight."""
        if not self.model or not 0.0 < self.weight < 1e9:
            raise Invalid(f"a member {self.model!r} with weight {self.weight}", where="members", hint="above 0")

    @property
    def label(self) -> str:
        """Its name, or its reference."""
        return self.name or self.model


@dataclass(frozen=True, slots=True)
class Composition:
    """What a composed model is made of.

    Args:
        members: The models that answer.
        combine: The "mean" of their answers, their "vote" (as a share), or a "stack": `final` takes their answers.
        before: Columns that are computed first, in order.
        after: Columns that are computed then, in order, with the answer in the column "score".
        final: For a stack, the reference of the version that answers.
    Raises:
        Invalid: No member, or something that means nothing.
    """

    members: tuple[Member, ...]
    combine: Combine = "mean"
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    final: str = ""

    def __post_init__(self) -> None:
        if not self.members or len(self.members) + len(self.before) + len(self.after) > MOST_PARTS:
            raise Invalid(f"{len(self.members)} members", where="composition", hint=f"1 to {MOST_PARTS} parts in all")
        if self.combine not in COMBINES:
            raise Invalid(f"combine = {self.combine!r}", where="composition", hint=f"use {', '.join(COMBINES)}")
        if (self.combine == "stack") != bool(self.final):
            raise Invalid("a stack has a final model, nothing else has", where="final", hint='final = "NAME/VERSION"')
        labels = [member.label for member in self.members]
        for label in labels:
            if labels.count(label) > 1:
                raise Invalid(f"{label!r} is there twice", where="members", hint="give members names of their own")

    @property
    def models(self) -> tuple[str, ...]:
        """The versions it names, each once, in the order they are asked."""
        steps = [step.model for step in self.before], [member.model for member in self.members], [self.final]
        named = [ref for part in (*steps, [step.model for step in self.after]) for ref in part if ref]
        return tuple(dict.fromkeys(named))

    @property
    def text(self) -> list[str]:
        """In words, a line each."""
        weights = [f" x {m.weight:g}" if m.weight != 1.0 else "" for m in self.members]
        named = ", ".join(f"{m.label}{w}" for m, w in zip(self.members, weights, strict=True))
        how = named if len(self.members) == 1 and not self.final else f"{self.combine} of {named}"
        answer = f"{SCORE} = {how}" + (f", by {self.final}" if self.final else "")
        return [*(step.text for step in self.before), answer, *(step.text for step in self.after)]


@dataclass(frozen=True, slots=True)
class Packed:
    """The package of a version that is part of a composed model: its digest, its manifest and its model file."""

    digest: str
    manifest: bytes
    file: bytes


@dataclass(frozen=True, slots=True)
class Composed:
    """A composed model with all that it is made of, by reference."""

    composition: Composition
    parts: Mapping[str, Packed]
    inputs: tuple[str, ...]
    truths: tuple[str, ...] = ()
    task: str = "regression"
    classes: tuple[Label, ...] = ()


def handles(model: object) -> bool:
    """Whether it is a `Composed`."""
    return isinstance(model, Composed)


def recognises(data: bytes) -> bool:
    """Whether it is an archive that begins with a declaration."""
    return data.startswith(b"PK\x03\x04") and data[30 : 30 + len(_ABOUT)] == _ABOUT.encode()


def trait(model: object) -> Trait:
    """What its members say."""
    made = cast(Composed, model)
    return Trait(task=made.task, classes=made.classes, trained_on=made.inputs, wants_frame=True)


def notes(model: object) -> dict[str, object]:
    """For the manifest: the declaration, and the digest of every version in it."""
    made = cast(Composed, model)
    digests = {ref: part.digest for ref, part in made.parts.items()}
    return {"composition": _plain(made.composition), "composition_text": made.composition.text, "digests": digests}


def dump(model: object) -> bytes:
    """The archive: the same model gives the same bytes."""
    made = cast(Composed, model)
    about = {
        "composition": _plain(made.composition),
        "digests": {ref: part.digest for ref, part in made.parts.items()},
        "inputs": list(made.inputs),
        "truths": list(made.truths),
        "task": made.task,
        "classes": list(made.classes),
    }
    files = {_ABOUT: json.dumps(about, sort_keys=True).encode()}
    for place, (_, part) in enumerate(sorted(made.parts.items())):
        files |= {f"{place}/{_MANIFEST}": part.manifest, f"{place}/model": part.file}
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, _THEN), data)
    return held.getvalue()


def read(data: bytes) -> object:
    """The model of an archive, every part checked against its digest."""
    try:
        files = {member.name: member.read() for member in zip_members(memoryview(data))}
        about = json.loads(files[_ABOUT])
        parts = {
            str(ref): Packed(str(key), files[f"{place}/{_MANIFEST}"], files[f"{place}/model"])
            for place, (ref, key) in enumerate(sorted(about["digests"].items()))
        }
        made = Composed(
            composition_of(about["composition"]),
            parts,
            tuple(about["inputs"]),
            tuple(about["truths"]),
            str(about["task"]),
            tuple(about["classes"]),
        )
    except (Bad, KeyError, ValueError, TypeError, AttributeError, Invalid) as reason:
        raise Corrupt(f"not a composed model: {reason}", where=FILE) from None
    for ref, part in parts.items():
        check_part(ref, part)
    return made


def check_part(ref: str, part: Packed) -> None:
    """Refuse a part that is not what was registered.

    Raises:
        Corrupt: Its manifest or its file has another digest.
    """
    from mainspring.registry.manifests import Manifest

    if digest(part.manifest) != part.digest:
        raise Corrupt("the manifest does not have the digest it was registered with", where=f"member {ref}")
    manifest = Manifest.from_bytes(part.manifest)
    if manifest.flavour in NO_PARTS:
        raise Corrupt(f"a {manifest.flavour} is no part of a composed model", where=f"member {ref}")
    key, size = manifest.files.get(flavour(manifest.flavour).FILE, ("", -1))
    if len(part.file) != size or digest(part.file) != key:
        raise Corrupt("the file was changed after it was registered", where=f"member {ref}")


def composition_of(plain: Mapping[str, object]) -> Composition:
    """A composition from plain values, as JSON and TOML have it.

    Raises:
        Invalid: A name or value in it is not known or not right.
    """
    from mainspring.core.settings import fill

    given = dict(plain)
    for name, kind in (("members", Member), ("before", Step), ("after", Step)):
        entries = given.get(name, [])
        if not isinstance(entries, (list, tuple)):
            raise Invalid(f"{name} is no list", where=name, hint=f"write [[{name}]] for each")
        given[name] = tuple(_entry(kind, one, name) for one in entries)
    return fill(Composition, given, where="composition")


def _entry(kind: type[Member] | type[Step], one: object, where: str) -> Member | Step:
    from mainspring.core.settings import fill

    if kind is Member and isinstance(one, str):
        return Member(one)
    if not isinstance(one, Mapping):
        raise Invalid(f"{one!r} is no table", where=where, hint=f"write [[{where}]]")
    return fill(kind, {**one, "weight": float(one["weight"])} if "weight" in one else one, where=where)


def _plain(composition: Composition) -> dict[str, object]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(composition).items()}


def scorer(model: object, trait: Trait) -> Scorer:
    """All of its parts, loaded."""
    return _Scorer(cast(Composed, model), trait)


def explainer(model: object, trait: Trait, cells: Sequence[Cells] | None) -> Explainer:
    """Explain one member, or a mean of members on a scale that adds up, whose columns each come from one input.

    Raises:
        Refused: It is neither, a step mixes inputs, or a member has no exact codes.
    """
    from mainspring.registry.reasons.composed import MeanExplainer
    from mainspring.registry.reasons.composed import Member as Explained

    made = cast(Composed, model)
    sources = _Sources(made, cells)
    scorer = _Scorer(made, trait)
    whole = sum(member.weight for member in made.composition.members)
    members = []
    for member in made.composition.members:
        predictor = scorer.predictors[member.model]
        behind = [sources.of(name) for name in predictor.signature.names]
        try:
            own = predictor.explainer(sources.cells(predictor))
        except Refused as reason:
            said = f"the member {member.label!r} of a composed model: {reason.what}"
            raise Refused(said, where="explain", hint=reason.hint) from None
        inputs = partial(_inputs_of, predictor)
        members.append(Explained(member.label, member.weight / whole, own, inputs, behind))
    return MeanExplainer(members, len(made.inputs), scorer.prepared)


def _inputs_of(predictor: Predictor, rows: object) -> NDArray[np.float64] | pl.DataFrame:
    if isinstance(rows, dict):
        return predictor.inputs_of([rows[name] for name in predictor.signature.names])
    return predictor.inputs_from(cast("pl.DataFrame", rows))


class _Sources:
    """Which input each column comes from that steps compute, and what training had of it.

    Raises: Refused: What is composed has no exact codes, whatever its members are.
    """

    def __init__(self, model: Composed, cells: Sequence[Cells] | None) -> None:
        from mainspring.registry.reasons import refused

        said = model.composition
        if said.after:
            raise refused(f"a composed model with the step {said.after[0].text!r} after its answer")
        if said.combine != "mean":
            raise refused(f"a {said.combine} of models")
        self._model, self._cells = model, cells
        self._behind = {name: frozenset([place]) for place, name in enumerate(model.inputs)}
        self._steps: dict[str, tuple[Step, ...]] = {}
        self._why: dict[str, str] = {}
        for step in said.before:
            names = () if step.model else Expression(step.expression).names
            behind = frozenset(place for name in names for place in self._behind[name])
            inner = dict.fromkeys(one for name in names for one in self._steps.get(name, ()))
            self._steps[step.column] = (*inner, step)
            self._behind[step.column] = behind
            mixed = ", ".join(model.inputs[place] for place in sorted(behind))
            self._why[step.column] = "is a model" if step.model else f"mixes {mixed}" if behind else "looks at no input"

    def of(self, column: str) -> int:
        """The one input behind a column.

        Raises: Refused: There are several, or none.
        """
        from mainspring.registry.reasons import refused

        behind = self._behind[column]
        if len(behind) != 1:
            raise refused(f"a composed model whose step {column!r} {self._why[column]}")
        return next(iter(behind))

    def cells(self, predictor: Predictor) -> list[Cells] | None:
        """What training had of the columns of a member, as it encodes them; None where that is not known."""
        found = [self._of_column(entry) for entry in predictor.signature.inputs]
        return found if self._cells is not None and all(found) else None

    def _of_column(self, entry: Field) -> Cells:
        import polars as pl

        place = self.of(entry.name)
        if self._cells is None:
            return []
        name, known = self._model.inputs[place], self._cells[place]
        if name in self._model.truths:
            share = float(known[0][0])
            known = [(False, 1.0 - share), (True, share)]
        rows = pl.DataFrame({name: [value for value, _ in known]})
        for step in self._steps.get(entry.name, ()):
            rows = rows.with_columns(finite(step, rows))
        codes = {level: float(code) for code, level in enumerate(entry.levels)}
        values = [codes.get(value, -1.0) if codes else value for value in rows[entry.name].to_list()]
        weighed = [(value, weight) for value, (_, weight) in zip(values, known, strict=True) if value is not None]
        whole = sum(weight for _, weight in weighed)
        plain = [(value if isinstance(value, str) else float(value), weight) for value, weight in weighed]
        return [(value, weight / whole) for value, weight in plain] if whole > 0 else []


class MemberFailed(Failed):
    """A part of a composed model could not answer; `member` is which."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", member: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.member = member


class _Scorer:
    """Asks the parts in order. Safe to share between threads: nothing is kept between calls.

    Without steps and texts no frame is made: models of numbers are asked with columns of the matrix, in a third of the
    time or less.
    """

    def __init__(self, model: Composed, trait: Trait) -> None:
        self._model, self._trait = model, trait
        self.predictors = {ref: _predictor(part) for ref, part in model.parts.items()}
        self.waits = any(predictor.waits for predictor in self.predictors.values())
        has_steps = bool(model.composition.before or model.composition.after)
        self.takes_matrix = not has_steps and all(map(_is_plain, self.predictors.values()))

    def prepare(self) -> None:
        """All parts."""
        for predictor in self.predictors.values():
            predictor.prepare()

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """Steps before, members, how they are combined, steps after."""
        import polars as pl

        said = self._model.composition
        rows = self.prepared(inputs)
        scores = self._combined(rows)
        if isinstance(rows, dict) or not said.after:
            return scores
        after = self._stepped(rows.with_columns(pl.Series(SCORE, scores).fill_nan(None)), said.after)
        made = after[SCORE].cast(pl.Float64).to_numpy().copy()
        return made.clip(0.0, 1.0) if self._trait.task == "binary" else made

    def prepared(self, inputs: NDArray[np.float64] | pl.DataFrame) -> pl.DataFrame | dict[str, NDArray[np.float64]]:
        """What the members are asked with: columns of the matrix, or a frame with the steps before."""
        import polars as pl
        import polars.selectors as cs

        if self.takes_matrix:
            matrix = cast("NDArray[np.float64]", inputs)
            return {name: matrix[:, place] for place, name in enumerate(self._model.inputs)}
        rows = cast("pl.DataFrame", inputs).with_columns(cs.float().fill_nan(None))
        rows = rows.with_columns(pl.col(name).cast(pl.Boolean) for name in self._model.truths)
        return self._stepped(rows, self._model.composition.before)

    def _stepped(self, rows: pl.DataFrame, steps: Sequence[Step]) -> pl.DataFrame:
        import polars as pl

        for step in steps:
            if step.model:
                numbers = self._scores(step.model, step.column, rows)
                rows = rows.with_columns(pl.Series(step.column, numbers).fill_nan(None))
            else:
                rows = _named(step.column, lambda: rows.with_columns(finite(step, rows)))  # noqa: B023 - called at once
        return rows

    def _combined(self, rows: pl.DataFrame | dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        import numpy as np

        said = self._model.composition
        if said.combine == "stack":
            found = {m.label: self._scores(m.model, m.label, rows) for m in said.members}
            both = {**rows, **found} if isinstance(rows, dict) else rows.with_columns(**_series(found))
            return self._scores(said.final, "final", both)
        weights = np.array([member.weight for member in said.members])
        answers = [self._scores(member.model, member.label, rows) for member in said.members]
        if said.combine == "vote":
            answers = [_votes(scores) for scores in answers]
        total: NDArray[np.float64] = np.tensordot(weights / weights.sum(), np.stack(answers), axes=1)
        return total

    def _scores(
        self, ref: str, member: str, rows: pl.DataFrame | dict[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        predictor = self.predictors[ref]
        if isinstance(rows, dict):
            columns = [cast("Sequence[Scalar]", rows[name]) for name in predictor.signature.names]
            answers = _named(member, lambda: predictor.predict_checked(columns))
        else:
            answers = _named(member, lambda: predictor.predict(rows))
        return cast("NDArray[np.float64]", answers.get("probability", answers.get("prediction")))


def _is_plain(predictor: Predictor) -> bool:
    """Whether a model is asked with a matrix of numbers."""
    return predictor.takes_matrix and all(entry.dtype != "string" for entry in predictor.signature.inputs)


def _series(columns: Mapping[str, NDArray[np.float64]]) -> dict[str, pl.Series]:
    import polars as pl

    return {name: pl.Series(name, values) for name, values in columns.items()}


def finite(step: Step, rows: pl.DataFrame) -> pl.Expr:
    """The expression of a step over these rows; a number that is not finite is missing."""
    import polars as pl

    made = Expression(step.expression).polars()
    if rows.lazy().select(made.alias("x")).collect_schema()["x"].is_float():
        made = pl.when(made.is_finite()).then(made)
    return made.alias(step.column)


def _votes(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """One for the class that a member chooses, of two classes for the second."""
    import numpy as np

    if scores.ndim == 1:
        return (scores > 0.5).astype(np.float64)
    votes: NDArray[np.float64] = np.eye(scores.shape[1])[scores.argmax(axis=1)]
    return votes


def _named(member: str, work: Callable[[], T]) -> T:
    """What a part gives; what it raises says which it was."""
    try:
        return work()
    except Exception as reason:
        said = f"{type(reason).__name__}: {str(reason)[:200]}"
        raise MemberFailed(f"{member!r} of the composed model failed", where=said, member=member) from reason


def _predictor(part: Packed) -> Predictor:
    from mainspring.registry.manifests import Manifest
    from mainspring.registry.packages import predictor_of, refuse_pickle

    manifest = Manifest.from_bytes(part.manifest)
    kind = flavour(manifest.flavour)
    refuse_pickle(kind.FILE, part.file[:64])
    return predictor_of(manifest, kind, kind.read(part.file), digest=part.digest)
