"""What answers of programs are judged by: scorers, and sets of questions with what is expected of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Invalid, TooLarge
from mainspring.core.values import dataclass

MAX_SCORER = 1_000_000
"""Characters of a scorer, as its client writes it."""
MAX_SETS_OF = 1000
"""How many experiments an evaluation set is tied to at once."""
_NAME = 250
SOURCES = ("UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE")
"""What a record may come from."""
_GROUPS = ("inputs", "outputs", "expectations")


@dataclass(frozen=True, slots=True)
class Scorer:
    """One version of a scorer of an experiment; `content` is JSON of its client and never run here."""

    id: str
    experiment_id: str
    name: str
    version: int
    content: str
    created_at: int


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Questions with what is expected of their answers; `schema` tells of each field of its records what it holds."""

    id: str
    name: str
    created_at: int
    updated_at: int
    created_by: str
    updated_by: str
    schema: Mapping[str, object] | None = None
    size: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    experiment_ids: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """What events call it."""
        return f"evaluation-sets/{self.id}"

    @property
    def digest(self) -> str:
        """A short name for what it held when it was changed last."""
        return digest(canonical_json([self.name, self.updated_at]))[:8]


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """One question of a set, which its `inputs` tell from others."""

    id: str
    inputs: Mapping[str, object]
    outputs: object = None
    expectations: Mapping[str, object] | None = None
    tags: Mapping[str, object] | None = None
    source: Mapping[str, object] | None = None
    created_at: int = 0
    updated_at: int = 0
    created_by: str = ""
    updated_by: str = ""

    @property
    def inputs_digest(self) -> str:
        """The same for the same inputs, in whatever order their names come."""
        return digest(canonical_json(dict(self.inputs)))


def check_title(name: str, what: str) -> str:
    """Return `name` when it may name a scorer or an evaluation set.

    Raises:
        Invalid: It is blank, too long, or has control characters.
    """
    if name.strip() and len(name) <= _NAME and not any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return name
    raise Invalid(
        f"{name[:60]!r} can't name a {what}", where="name", hint=f"use 1 to {_NAME} characters, not all blank"
    )


def check_scorer(content: str) -> str:
    """Return `content` when it is no longer than a scorer may be.

    Raises:
        TooLarge: It is longer.
    """
    if len(content) > MAX_SCORER:
        raise TooLarge(
            f"a scorer of {len(content)} characters", where="serialized_scorer", hint=f"at most {MAX_SCORER}"
        )
    return content


def record_of(plain: object, record_id: str, at: int) -> EvaluationRecord:
    """A record as a client sends it.

    Raises:
        Invalid: It is none; says which field.
    """
    if not isinstance(plain, dict):
        raise Invalid("a record is no JSON object", where="records", hint='send objects such as {"inputs": {"q": "?"}}')
    for name in ("inputs", "expectations", "tags", "source"):
        if plain.get(name) is not None and not isinstance(plain[name], dict):
            raise Invalid(f"the {name} of a record are no JSON object", where="records", hint="send an object")
    source, tags = plain.get("source"), plain.get("tags")
    by = str((tags or {}).get("mlflow.user") or "")
    return EvaluationRecord(
        id=record_id,
        inputs=plain.get("inputs") or {},
        outputs=plain.get("outputs"),
        expectations=plain.get("expectations"),
        tags=tags,
        source=None if source is None else _source(source),
        created_at=at,
        updated_at=at,
        created_by=by,
        updated_by=by,
    )


def _source(plain: Mapping[str, object]) -> dict[str, object]:
    kind, data = str(plain.get("source_type", "")).upper(), plain.get("source_data") or {}
    if kind not in SOURCES or not isinstance(data, dict):
        hint = f"send a source_type of {', '.join(SOURCES)} and source_data, an object"
        raise Invalid(f"Invalid dataset record source type: {kind[:40]}", where="records", hint=hint)
    return {"source_type": kind, "source_data": data}


def merged(kept: EvaluationRecord, plain: Mapping[str, object], new: EvaluationRecord) -> EvaluationRecord:
    """A record after one with the same inputs came: outputs are replaced if there are any, the rest is added to.

    Args:
        plain: The record that came, as it was sent.
        new: The same as a value.
    """
    return EvaluationRecord(
        id=kept.id,
        inputs=kept.inputs,
        outputs=new.outputs if "outputs" in plain else kept.outputs,
        expectations={**(kept.expectations or {}), **new.expectations} if new.expectations else kept.expectations,
        tags={**(kept.tags or {}), **new.tags} if new.tags else kept.tags,
        source=kept.source,
        created_at=kept.created_at,
        updated_at=new.updated_at,
        created_by=kept.created_by,
        updated_by=new.updated_by or kept.updated_by,
    )


def widened(schema: Mapping[str, object] | None, record: EvaluationRecord) -> dict[str, object]:
    """The schema of a set with the fields of one more record; what is known of a field stays.

    >>> widened(None, EvaluationRecord("r", {"question": "?"}))["inputs"]
    {'question': 'string'}
    """
    found: dict[str, object] = {name: {} for name in _GROUPS} | {"version": "1.0"} | dict(schema or {})
    for name in _GROUPS:
        fields, known = getattr(record, name), found[name]
        if isinstance(fields, Mapping) and isinstance(known, Mapping):
            found[name] = {key: kind_of(value) for key, value in fields.items()} | dict(known)
        elif fields is not None and not known:
            found[name] = kind_of(fields)
    return found


def kind_of(value: object) -> str:
    """What a value is called in a schema.

    >>> [kind_of(value) for value in (None, True, 1, 0.5, "a", [], {})]
    ['null', 'boolean', 'integer', 'float', 'string', 'array', 'object']
    """
    if value is None:
        return "null"
    kinds = ((bool, "boolean"), (int, "integer"), (float, "float"), (str, "string"), (list, "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")
