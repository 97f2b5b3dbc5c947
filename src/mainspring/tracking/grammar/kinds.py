"""What may be asked of each kind of thing: its attributes with their types, and the operators each one takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from mainspring.core.values import dataclass
from mainspring.tracking.grammar.tree import ATTRIBUTES

Type = Literal["text", "word", "number", "time", "seconds", "mixed"]
"""`word` is one of a few words in small letters; `time` is microseconds, `seconds` a length of time in them; `mixed` is
text for some things and a number for others."""

NUMERIC = frozenset({"=", "!=", "<", "<=", ">", ">="})
MATCHING = frozenset({"=", "!=", "LIKE", "ILIKE"})
LISTED = frozenset({"IN", "NOT IN"})
PRESENT = frozenset({"IS NULL", "IS NOT NULL"})
ORDERED = NUMERIC - MATCHING
_PATTERNS = frozenset({"RLIKE", "NOT RLIKE"})
_TEXTUAL = MATCHING | LISTED | PRESENT | {"NOT LIKE", "NOT ILIKE"}
NATIVE: Mapping[Type, frozenset[str]] = {
    "text": _TEXTUAL | _PATTERNS,
    "word": _TEXTUAL,
    "number": NUMERIC | LISTED | PRESENT,
    "time": NUMERIC | LISTED | PRESENT,
    "seconds": NUMERIC | LISTED | PRESENT,
    "mixed": _TEXTUAL | _PATTERNS | NUMERIC,
}
"""The operators that each type takes outside strict mode."""
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that can be compared or sorted by.

    Args:
        name: What it is called inside; several names may mean one thing.
        type: What its values are.
        strict: The operators MLflow takes on it; none when MLflow does not know it.
        unit_us: For times, the microseconds that 1 counts in a plain number; 0 refuses plain numbers.
        words: For `word`, what there is.
        strict_order: Whether MLflow sorts by it.
        entity: Whose it is inside, when it is not of the entity it is asked by.
    """

    name: str
    type: Type = "text"
    strict: frozenset[str] = _NONE
    unit_us: int = 1
    words: tuple[str, ...] = ()
    strict_order: bool = False
    entity: str = ""


@dataclass(frozen=True, slots=True)
class Entity:
    """A family of fields.

    Args:
        name: What it is called inside: "metrics".
        spellings: What may be written for it.
        keys: Its keys and what each is; None when any key will do, which then is `every`.
        every: What each key is when any will do.
        prefix: Keys that begin so are any, too.
        ordered: Whether one can sort by it.
    """

    name: str
    spellings: tuple[str, ...]
    keys: Mapping[str, Attribute] | None = None
    every: Attribute = field(default_factory=lambda: Attribute(""))
    ordered: bool = True
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that can be searched for. The entity of its attributes comes first."""

    what: str
    entities: tuple[Entity, ...]

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        """Its attributes by the names they can be asked by."""
        return self.entities[0].keys or {}


def attributes(*spellings: str, **keys: Attribute) -> Entity:
    """The entity of the attributes of a kind; `__` in a key stands for a space."""
    plain = {name.replace("__", " "): entry for name, entry in keys.items()}
    return Entity(ATTRIBUTES, ("attributes", "attribute", "attr", *spellings), plain)


def metrics() -> Entity:
    """Numbers by any key."""
    return Entity("metrics", ("metrics", "metric"), every=Attribute("", "number", NUMERIC, strict_order=True))


def params(strict: frozenset[str] = MATCHING, *, strict_order: bool = True) -> Entity:
    """Texts by any key that never change."""
    every = Attribute("", "text", strict, strict_order=strict_order)
    return Entity("params", ("params", "param", "parameters", "parameter"), every=every)


def tags(strict: frozenset[str] = MATCHING, *, strict_order: bool = True) -> Entity:
    """Texts by any key."""
    return Entity("tags", ("tags", "tag"), every=Attribute("", "text", strict, strict_order=strict_order))


def _text(name: str, strict: frozenset[str] = _NONE) -> Attribute:
    return Attribute(name, "text", strict, strict_order=bool(strict))


def at(name: str, unit_us: int = 1, strict: frozenset[str] = _NONE) -> Attribute:
    """A time; MLflow's times count milliseconds."""
    return Attribute(name, "time", strict, unit_us, strict_order=bool(strict))


_STATUSES = ("running", "scheduled", "finished", "failed", "killed")
_START = at("started_at", 1000, NUMERIC)
_NAME = _text("name", MATCHING)
_RUN_ID = _text("id", MATCHING | LISTED)

RUNS = Kind(
    "run",
    (
        attributes(
            "run",
            run_id=_RUN_ID,
            id=_text("id"),
            run_name=_NAME,
            run__name=_NAME,
            Run__name=_NAME,
            Run__Name=_NAME,
            name=_text("name"),
            status=Attribute("status", "word", MATCHING, words=_STATUSES, strict_order=True),
            user_id=_text("user_id", MATCHING),
            artifact_uri=_text("artifact_uri", MATCHING),
            start_time=_START,
            created=_START,
            Created=_START,
            end_time=at("ended_at", 1000, NUMERIC),
            started_at=at("started_at"),
            ended_at=at("ended_at"),
            started=at("started_at", 0),
            ended=at("ended_at", 0),
            deleted_at=at("deleted_at"),
            duration=Attribute("duration", "seconds"),
            seed=Attribute("seed", "number"),
            parent=_text("parent"),
            experiment=_text("experiment"),
            experiment_id=_text("experiment_id"),
            created_by=_text("created_by"),
        ),
        metrics(),
        params(MATCHING | PRESENT),
        tags(MATCHING | PRESENT),
        Entity(
            "datasets",
            ("datasets", "dataset"),
            {name: _text(name, MATCHING | LISTED) for name in ("name", "digest", "context")},
            ordered=False,
        ),
    ),
)
"""Runs. `created` and `start_time` are MLflow's, in milliseconds; `started` takes dates and lengths of time only."""

EXPERIMENTS = Kind(
    "experiment",
    (
        attributes(
            name=_NAME,
            experiment_id=_text("id", frozenset({"=", "!="}) | LISTED),
            id=_text("id"),
            creation_time=at("created_at", 1000, NUMERIC),
            last_update_time=at("updated_at", 1000, NUMERIC),
            created_at=at("created_at"),
            updated_at=at("updated_at"),
            created=at("created_at", 0),
            updated=at("updated_at", 0),
            deleted_at=at("deleted_at"),
        ),
        tags(MATCHING | PRESENT, strict_order=False),
    ),
)

_ANY = MATCHING | LISTED
_MADE = at("created_at", 1000, NUMERIC)
_CHANGED = at("updated_at", 1000, NUMERIC)
LOGGED_MODELS = Kind(
    "logged model",
    (
        attributes(
            name=_text("name", _ANY),
            model_id=_text("id", _ANY),
            id=_text("id"),
            model_type=_text("kind", _ANY),
            kind=_text("kind"),
            status=Attribute(
                "status",
                "word",
                frozenset({"=", "!="}) | LISTED,
                words=("pending", "ready", "failed"),
                strict_order=True,
            ),
            source_run_id=_text("run_id", _ANY),
            run_id=_text("run_id"),
            experiment_id=_text("experiment_id"),
            creation_timestamp=_MADE,
            creation_timestamp_ms=_MADE,
            creation_time=_MADE,
            last_updated_timestamp=_CHANGED,
            last_updated_timestamp_ms=_CHANGED,
            created_at=at("created_at"),
            updated_at=at("updated_at"),
            created=at("created_at", 0),
            updated=at("updated_at", 0),
        ),
        metrics(),
        params(_ANY, strict_order=False),
        tags(_ANY, strict_order=False),
    ),
)

EVALUATION_SETS = Kind(
    "evaluation set",
    (
        attributes(
            name=_text("name", MATCHING | {"IN"}),
            created_time=_MADE,
            last_update_time=_CHANGED,
            created_by=_text("created_by", MATCHING),
            last_updated_by=_text("updated_by", MATCHING),
        ),
        tags(MATCHING, strict_order=False),
    ),
)

_LENGTH = Attribute("duration_us", "time", NUMERIC, 1000, strict_order=True)
_BEGAN = at("started_at", 1000, NUMERIC)
_END = at("ended_at", 1000, NUMERIC)
_LIKED = MATCHING | {"RLIKE"}
_FOUND = _LIKED | LISTED
_TRACE_ID = _text("id", _FOUND)
_STATE = Attribute(
    "state", "word", _FOUND, words=("state_unspecified", "ok", "error", "in_progress"), strict_order=True
)
_OF_SPANS = {"name": "name", "type": "kind", "status": "status"}
_OPINION = Attribute("", "mixed", _LIKED | ORDERED | PRESENT)
TRACES = Kind(
    "trace",
    (
        attributes(
            "trace",
            request_id=_TRACE_ID,
            trace_id=_TRACE_ID,
            timestamp=_BEGAN,
            timestamp_ms=_BEGAN,
            request_time=_BEGAN,
            execution_time=_LENGTH,
            execution_time_ms=_LENGTH,
            execution_duration=_LENGTH,
            end_time=_END,
            end_time_ms=_END,
            status=_STATE,
            state=_STATE,
            name=_text("name", _FOUND),
            run_id=_text("run_id", _FOUND),
            client_request_id=_text("client_id", _FOUND),
            prompt=_text("prompt", frozenset({"="})),
            text=Attribute("content", "text", frozenset({"LIKE", "ILIKE"}), entity="spans"),
        ),
        tags(_LIKED | PRESENT, strict_order=False),
        Entity(
            "metadata",
            ("metadata", "request_metadata", "trace_metadata"),
            every=Attribute("", "text", _LIKED | PRESENT),
            ordered=False,
        ),
        Entity(
            "spans",
            ("spans", "span"),
            {
                **{name: _text(inside, _FOUND) for name, inside in _OF_SPANS.items()},
                "content": _text("content", frozenset({"LIKE", "ILIKE"})),
            },
            every=_text("", _FOUND),
            ordered=False,
            prefix="attributes.",
        ),
        *(Entity(name, (name,), every=_OPINION, ordered=False) for name in ("feedback", "expectation")),
    ),
)
