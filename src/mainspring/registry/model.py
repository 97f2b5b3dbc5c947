"""The values of the registry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")
DTYPES = ("bool", *INTEGERS, *FLOATS, "string")
TASKS = ("binary", "multiclass", "regression")

Scalar = str | int | float | bool | None
Label = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Field:
    """One named input or output of a model.

    Args:
        name: Name of the column.
        dtype: One of `DTYPES`.
        levels: For text: the levels known at training, in the order of their codes. Empty: not encoded.
        size: How many values it has for each row: one, or for the probabilities of many classes one each.
    """

    name: str
    dtype: str
    levels: tuple[str, ...] = ()
    size: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise Invalid("a field needs a name", where="signature")
        if self.dtype not in DTYPES:
            hint = did_you_mean(self.dtype, DTYPES) or "use one of " + ", ".join(DTYPES)
            raise Invalid(f"{self.dtype!r} is no type of a field", where=f"field {self.name}", hint=hint)
        if len(set(self.levels)) != len(self.levels):
            raise Invalid("the same level is listed twice", where=f"field {self.name}")
        if self.size < 1:
            raise Invalid(f"a field of {self.size} values", where=f"field {self.name}")
        if self.levels and self.dtype != "string":
            raise Invalid(f"a field of type {self.dtype} has no levels", where=f"field {self.name}")


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes, in the order it was trained on, and what it gives."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        for side, entries in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [entry.name for entry in entries]
            if len(set(names)) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise Invalid(f"{twice!r} is listed twice", where=f"signature {side}")
        if not self.inputs:
            raise Invalid("a signature needs at least one input", where="signature inputs")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return tuple(entry.name for entry in self.inputs)

    def plain(self) -> dict[str, object]:
        """As plain JSON."""
        return {"inputs": [_plain(f) for f in self.inputs], "outputs": [_plain(f) for f in self.outputs]}

    @classmethod
    def of(cls, plain: object) -> Signature:
        """Back from `plain()`.

        Raises:
            Invalid: It is not the form that `plain` gives.
        """
        try:
            sides = {str(side): entries for side, entries in plain.items()}  # type: ignore[attr-defined]
            inputs, outputs = (tuple(_field(entry) for entry in sides[side]) for side in ("inputs", "outputs"))
        except (AttributeError, KeyError, TypeError) as reason:
            raise Invalid(f"not a signature: {reason!r}", where="signature") from None
        return cls(inputs, outputs)


def _plain(entry: Field) -> dict[str, object]:
    plain: dict[str, object] = {"name": entry.name, "dtype": entry.dtype}
    plain |= {"levels": list(entry.levels)} if entry.levels else {}
    return plain | ({"size": entry.size} if entry.size != 1 else {})


def _field(plain: dict[str, object]) -> Field:
    levels = plain.get("levels", ())
    if not isinstance(levels, (list, tuple)):
        raise TypeError("levels")
    size = plain.get("size", 1)
    if type(size) is not int:
        raise TypeError("size")
    return Field(str(plain["name"]), str(plain["dtype"]), tuple(str(level) for level in levels), size)


@dataclass(frozen=True, slots=True)
class Example:
    """A few rows a model understands, as columns, and what it answered to them when it was packaged."""

    inputs: dict[str, list[Scalar]]
    outputs: dict[str, list[object]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows."""
        return min((len(column) for column in self.inputs.values()), default=0)


STAGES = ("None", "Staging", "Production", "Archived")
"""The stages a version can be in, as clients of MLflow know them; a new version is in "None"."""
STATUSES = ("pending", "ready", "failed")


@dataclass(frozen=True, slots=True)
class Model:
    """A name under which versions are kept; `latest` is its newest version, 0 when there is none."""

    name: str
    latest: int
    created_at: int
    updated_at: int
    aliases: dict[str, int] = field(default_factory=dict)
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """Reference, `models/NAME`."""
        return f"models/{self.name}"

    @property
    def is_prompt(self) -> bool:
        """Whether its versions are texts for language models, as MLflow keeps them."""
        return self.tags.get(PROMPT_TAG, "").lower() == "true"


PROMPT_TAG = "mlflow.prompt.is_prompt"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable version of a model; only its description, tags, aliases and stage move.

    `digest` is the BLAKE3 of the package's manifest, which lists the digest of every other file. `reference` is the
    dataset version the model was trained on: what drift is measured against. A version that a client of MLflow made
    may have no package (`digest` is "" then: its files lie elsewhere, at `source`) and no signature.
    """

    model: str
    number: int
    digest: str
    signature: Signature | None
    flavour: str
    task: str
    classes: tuple[Label, ...]
    example: Example
    run_id: str
    datasets: tuple[str, ...]
    reference: str
    metrics: dict[str, float]
    size_bytes: int
    environment: dict[str, str]
    signed_by: str
    created_at: int
    created_by: str = ""
    updated_at: int = 0
    description: str = ""
    source: str = ""
    location: str = ""
    run_link: str = ""
    status: str = "ready"
    status_message: str = ""
    stage: str = STAGES[0]
    model_id: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """Reference, `models/NAME/NUMBER`."""
        return f"models/{self.model}/{self.number}"

    @property
    def inputs(self) -> tuple[Field, ...]:
        """What it takes, in order; none when it has no signature."""
        return () if self.signature is None else self.signature.inputs

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its inputs, in order."""
        return tuple(entry.name for entry in self.inputs)

    @property
    def outputs(self) -> tuple[Field, ...]:
        """What it gives; none when it has no signature."""
        return () if self.signature is None else self.signature.outputs


@dataclass(frozen=True, slots=True)
class CardWords:
    """What people wrote on the card of a version, and what is still missing on it."""

    purpose: str
    limitations: str
    gaps: tuple[str, ...]
    revision: int
    written_at: int
    actor: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from.

    Args:
        source: The address its files were given under; "" = the package is all there is.
        location: Where that address led when the version was made.
        run_id: The run that made it.
        run_link: An address of that run, when it is in another place.
        model_id: The logged model it was made from.
        datasets: References of the datasets it was trained and tested on.
        reference: The dataset version that drift is measured against.
        metrics: What was measured at training.
    """

    source: str = ""
    location: str = ""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    datasets: tuple[str, ...] = ()
    reference: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


IMPORTANCES = {
    "given": "given when it was registered",
    "own": "the model's own, by what its splits gained",
    "permutation": "how far answers move when a column is shuffled",
}
"""What importances rest on, in words."""


@dataclass(frozen=True, slots=True)
class Importance:
    """How much each input matters.

    Attributes:
        method: "given", "own" (the model's own) or "permutation".
        shares: By input, each in [0, 1]; together 1.
    """

    method: str
    shares: Mapping[str, float]

    @property
    def words(self) -> str:
        """What it rests on, in words."""
        return IMPORTANCES.get(self.method, self.method)

    @classmethod
    def of(cls, method: str, values: Mapping[str, float]) -> Importance | None:
        """From amounts of any positive scale, those below zero counting as none; None when all are."""
        amounts = {name: max(0.0, float(value)) for name, value in values.items() if math.isfinite(float(value))}
        total = math.fsum(amounts.values())
        if not total > 0 or not math.isfinite(total):
            return None
        return cls(method, {name: round(amounts.get(name, 0.0) / total, 6) for name in values})


@dataclass(frozen=True, slots=True)
class AliasChange:
    """An alias moved to `version` (None: it was removed) from `before` (None: it was new)."""

    model: str
    alias: str
    version: int | None
    before: int | None
    at: int
    actor: str
    reason: str

    @property
    def ref(self) -> str:
        """Reference of the version it points to now, or of the model."""
        return f"models/{self.model}" + ("" if self.version is None else f"/{self.version}")


@dataclass(frozen=True, slots=True)
class StageChange:
    """A version moved to another stage."""

    model: str
    version: int
    stage: str
    before: str
    at: int
    actor: str
    reason: str

    @property
    def ref(self) -> str:
        """Reference of the version."""
        return f"models/{self.model}/{self.version}"
