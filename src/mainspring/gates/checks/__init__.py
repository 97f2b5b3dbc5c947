"""The kinds of checks, one file each, found by name.

To add a kind, add a file with a dataclass `Check` that keeps the contract.

The fields of the dataclass are what may be written in the settings; `SIGNS` are those of them that make an entry a
check of this kind.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Protocol, cast, get_args, get_type_hints

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.gates.model import CheckSpec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding, NotApplicable


class Check(Protocol):
    """The contract of a kind of check."""

    SIGNS: ClassVar[tuple[str, ...]]

    def title(self) -> str:
        """The check in a few words, from what was asked."""
        ...

    def measure(self, case: Case) -> Finding | NotApplicable:
        """What the case shows, or why the check does not apply, such as a comparison without a champion.

        Raises: Invalid: The case does not allow a measurement; the sentence becomes the note of an `error` result.
        """
        ...


@cache
def kinds() -> dict[str, type[Check]]:
    """Every kind of check by its name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found: dict[str, type[Check]] = {}
    for name in names:
        module = importlib.import_module(f"{__name__}.{name}")
        found[name] = cast("type[Check]", module.Check)
    return found


def parse_check(entry: Mapping[str, object], *, where: str = "check") -> list[CheckSpec]:
    """Reads one entry of `checks`; `{latency_p95_ms = 20, size_mb = 200}`, with the signs of two kinds, is two.

    Raises: Invalid: No kind has these signs, a name is unknown, or a value has the wrong type or range.

    >>> [spec.kind for spec in parse_check({"latency_p95_ms": 20, "size_mb": 200})]
    ['latency', 'size']
    """
    meant = {name: kind for name, kind in kinds().items() if set(kind.SIGNS) & set(entry)}
    if not meant:
        signs = [sign for kind in kinds().values() for sign in kind.SIGNS]
        near = next((hint for key in entry if (hint := did_you_mean(key, signs))), "")
        raise Invalid(f"no kind of check has {_names(entry)}", where=where, hint=near or f"one of {', '.join(signs)}")
    options = {name: _fields(kind) for name, kind in meant.items()}
    known = sorted({key for names in options.values() for key in names})
    for key in entry:
        if key not in known:
            hint = did_you_mean(key, known) or f"known: {', '.join(known)}"
            raise Invalid(f"unknown option {key!r} of a {' and '.join(meant)} check", where=where, hint=hint)
    return [_spec(name, {key: entry[key] for key in entry if key in options[name]}, where) for name in meant]


def build(spec: CheckSpec, *, where: str = "") -> Check:
    """The check that `spec` asks for.

    Raises: Invalid: The kind is unknown, or an option has the wrong type or range.
    """
    import msgspec

    kind = kinds().get(spec.kind)
    if kind is None:
        hint = did_you_mean(spec.kind, kinds()) or f"known: {', '.join(kinds())}"
        raise Invalid(f"unknown kind of check {spec.kind!r}", where=where, hint=hint)
    try:
        return msgspec.convert(dict(spec.options), kind)
    except Invalid as reason:
        raise Invalid(reason.what, where=where, hint=reason.hint) from None
    except msgspec.ValidationError as reason:
        raise Invalid(f"{spec.kind}: {reason}", where=where, hint=_hint(kind, str(reason))) from None


def _spec(kind: str, options: dict[str, object], where: str) -> CheckSpec:
    return CheckSpec(kind, build(CheckSpec(kind, "", options), where=where).title(), options)


def _fields(kind: type[Check]) -> list[str]:
    return [entry.name for entry in fields(cast("type[DataclassInstance]", kind))]


def _hint(kind: type[Check], reason: str) -> str:
    """What an option may be, when there are only some words for it; else the options there are."""
    option = re.search(r"Invalid enum value .* at `\$\.(\w+)`", reason)
    if option is None:
        return f"options: {', '.join(_fields(kind))}"
    return f"{option[1]} is one of {', '.join(get_args(get_type_hints(kind)[option[1]]))}"


def _names(entry: Mapping[str, object]) -> str:
    return " and ".join(repr(key) for key in entry) or "no options"
