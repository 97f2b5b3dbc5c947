"""Searching the registry, in the language and with the pages of `tracking.grammar`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid
from mainspring.registry.model import PROMPT_TAG, STATUSES, Model, ModelVersion
from mainspring.registry.records import search
from mainspring.registry.records.search import NUMBERS, Asked, field
from mainspring.tracking.grammar import Kind, Mark, Page, fingerprint, mark_of, read_filter, read_order, token_of
from mainspring.tracking.grammar.kinds import LISTED, MATCHING, NUMERIC, Attribute, at, attributes, tags
from mainspring.tracking.grammar.tree import And, Compare, Node, Not, Order, all_of

if TYPE_CHECKING:
    from mainspring.storage.ports import Tables

T = TypeVar("T", Model, ModelVersion)
MAX_MODELS = 1000
MAX_VERSIONS = 200_000
_NONE: frozenset[str] = frozenset()


def _text(name: str, strict: frozenset[str] = _NONE, *, ordered: bool = False) -> Attribute:
    return Attribute(name, "text", strict, strict_order=ordered)


def _time(name: str) -> Attribute:
    """MLflow sorts by these times, and does not compare them."""
    return Attribute(name, "time", _NONE, 1000, strict_order=True)


_TIMES = {
    "creation_timestamp": _time("created_at"),
    "last_updated_timestamp": _time("updated_at"),
    "created_at": at("created_at"),
    "updated_at": at("updated_at"),
    "created": at("created_at", 0),
    "updated": at("updated_at", 0),
}
MODELS = Kind(
    "model",
    (
        attributes(
            "model",
            name=_text("name", MATCHING | LISTED, ordered=True),
            timestamp=_time("updated_at"),
            description=_text("description"),
            **_TIMES,
        ),
        tags(MATCHING, strict_order=False),
    ),
)
VERSIONS = Kind(
    "version",
    (
        attributes(
            "version",
            name=_text("name", MATCHING | LISTED, ordered=True),
            model=_text("name"),
            run_id=_text("run_id", MATCHING | LISTED),
            source_path=_text("source", MATCHING),
            source=_text("source"),
            version_number=Attribute("number", "number", NUMERIC, strict_order=True),
            number=Attribute("number", "number"),
            stage=_text("stage"),
            status=Attribute("status", "word", words=STATUSES),
            flavour=_text("flavour"),
            task=_text("task"),
            digest=_text("digest"),
            reference=_text("reference"),
            model_id=_text("model_id"),
            description=_text("description"),
            created_by=_text("created_by"),
            size_bytes=Attribute("size_bytes", "number"),
            **_TIMES,
        ),
        tags(MATCHING, strict_order=False),
    ),
)
_BY_NAME = (Order(field("name")),)
_NEWEST = (Order(field("updated_at"), descending=True), Order(field("name")), Order(field("number"), descending=True))


class ModelSearch:
    """Finds models and versions. Strict searches speak MLflow's language; the others know all of the grammar.

    Prompts are left out unless the filter asks for their tag.
    """

    def __init__(self, *, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    def models(
        self,
        filter: str = "",
        *,
        order_by: Sequence[str] = (),
        limit: int = 100,
        page_token: str = "",
        strict: bool = False,
    ) -> Page[Model]:
        """Models; without an order by name.

        Args:
            filter: Which models, such as `tags.team = 'growth'`.
            order_by: By what to sort, such as `updated DESC`.
            limit: At most so many, up to 1000.
            page_token: From the page before.
            strict: Only MLflow's language.
        Raises:
            Invalid: The filter, order, limit or token.
        """
        _check(limit, MAX_MODELS)
        order = _with_ties(read_order(order_by, MODELS, strict=strict), _BY_NAME)
        question = fingerprint("models", caller().project, filter, list(order_by), strict)
        mark = self._mark(page_token, question, order)
        asked = _asked(read_filter(filter, MODELS, strict=strict, now=mark.now), order)
        with self._tables.read() as conn:
            found = search.find_models(conn, asked, after=mark.keys, limit=limit + 1)
        return _page(found, limit, order, question, mark)

    def versions(
        self,
        filter: str = "",
        *,
        order_by: Sequence[str] = (),
        limit: int = 10_000,
        page_token: str = "",
        strict: bool = False,
    ) -> Page[ModelVersion]:
        """Versions; without an order those that changed last come first.

        Args:
            filter: Which versions, such as `name = 'churn' AND stage = 'Production'`.
            order_by: By what to sort, such as `number DESC`.
            limit: At most so many, up to 200000.
            page_token: From the page before.
            strict: Only MLflow's language.
        Raises:
            Invalid: The filter, order, limit or token.
        """
        _check(limit, MAX_VERSIONS)
        given = read_order(order_by, VERSIONS, strict=strict)
        order = _with_ties(given, _NEWEST[1:] if given else _NEWEST)
        question = fingerprint("versions", caller().project, filter, list(order_by), strict)
        mark = self._mark(page_token, question, order)
        asked = _asked(read_filter(filter, VERSIONS, strict=strict, now=mark.now), order)
        with self._tables.read() as conn:
            found = search.find_versions(conn, asked, after=mark.keys, limit=limit + 1)
        return _page(found, limit, order, question, mark)

    def _mark(self, token: str, question: str, order: Sequence[Order]) -> Mark:
        types = [int if entry.field.key in NUMBERS else str for entry in order]
        return mark_of(token, question, types) if token else Mark(self._clock.now(), ())


def _with_ties(order: tuple[Order, ...], ties: tuple[Order, ...]) -> tuple[Order, ...]:
    for entry in order:
        if entry.field.entity != field("").entity:
            raise Invalid(
                "models and versions are not sorted by tags", where="order_by", hint="sort by name or updated"
            )
    given = {entry.field for entry in order}
    return (*order, *(entry for entry in ties if entry.field not in given))


def _page(found: list[T], limit: int, order: Sequence[Order], question: str, mark: Mark) -> Page[T]:
    if len(found) <= limit:
        return Page(tuple(found))
    last = found[limit - 1]
    names = {"name": "name" if isinstance(last, Model) else "model"}
    keys = tuple(getattr(last, names.get(entry.field.key, entry.field.key)) for entry in order)
    return Page(tuple(found[:limit]), token_of(question, Mark(mark.now, keys)))


def _asked(tree: Node, order: tuple[Order, ...]) -> Asked:
    """Prompts come only when asked for. A comparison that just says "no prompts" is left out: models lack the tag."""
    if not _mentions(tree):
        return Asked(tree, order, prompts=False)
    parts = tree.parts if isinstance(tree, And) else (tree,)
    if any(_wants(part) for part in parts) or any(_mentions(part) for part in parts if not isinstance(part, Compare)):
        return Asked(tree, order, prompts=True)
    return Asked(all_of(part for part in parts if not _mentions(part)), order, prompts=False)


def _wants(node: Node) -> bool:
    if not isinstance(node, Compare) or not _mentions(node):
        return False
    value = str(node.value).lower()
    return (node.op == "=" and value == "true") or (node.op == "!=" and value == "false") or node.op == "IS NOT NULL"


def _mentions(node: Node) -> bool:
    if isinstance(node, Compare):
        return node.field.entity == "tags" and node.field.key == PROMPT_TAG
    return any(map(_mentions, (node.part,) if isinstance(node, Not) else node.parts))


def _check(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise Invalid(f"Invalid value {limit} for parameter 'max_results': at most {most}", where="max_results")
