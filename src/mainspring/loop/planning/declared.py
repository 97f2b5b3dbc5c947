"""What a project declares, checked as a whole: each object by its room, and that what one names is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import msgspec

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Invalid, NotFound, did_you_mean
from mainspring.core.settings import Settings, fill
from mainspring.loop.model import Policy, policies_of
from mainspring.loop.planning.model import MONITOR, Object
from mainspring.loop.triggers.model import Trigger, triggers_of

if TYPE_CHECKING:
    from mainspring.loop.planning.reading import Reading
    from mainspring.serving import Serving
    from mainspring.serving.modelserver.plan import Options

WHOSE = ("model", "version")
"""What `[deployment.NAME]` may say beside options: whose version is to be behind it."""


def declared(reading: Reading, serving: Serving) -> list[Object]:
    """Every object that is declared, with its place.

    Raises:
        Invalid: A section is wrong, or names a gate or policy that is not declared.
        NotFound: An option of a deployment names data that is not there.
    """
    with reading.placed():
        found = _objects(reading.settings, serving)
    return [replace(each, place=reading.places.get(each.key, "")) for each in found]


def _objects(settings: Settings, serving: Serving) -> list[Object]:
    return [
        *_gates(settings),
        *_monitor(settings),
        *(_deployment(serving, name, entry) for name, entry in settings.section("deployment").items()),
        *(Object("policy", name, _plain(settings.section("policy")[name])) for name in policies(settings)),
        *(Object("trigger", name, made.to_json()) for name, made in triggers(settings).items()),
    ]


def policies(settings: Settings) -> dict[str, Policy]:
    """The declared policies by name.

    Raises:
        Invalid: One is wrong, or names a gate that is not declared.
    """
    found, gates = policies_of(settings.tables.get("policy", {})), settings.section("gate")
    for policy in found.values():
        if policy.gate not in gates:
            hint = did_you_mean(policy.gate, gates) or f"write a section [gate.{policy.gate}]"
            raise Invalid(f"there is no gate {policy.gate!r}", where=f"policy.{policy.name}.gate", hint=hint)
    return found


def triggers(settings: Settings) -> dict[str, Trigger]:
    """The declared triggers by name.

    Raises:
        Invalid: One is wrong, or names a policy that is not declared.
    """
    found, known = triggers_of(settings.tables.get("trigger", {})), settings.section("policy")
    for trigger in found.values():
        if trigger.policy and trigger.policy not in known:
            hint = did_you_mean(trigger.policy, known) or f"write a section [policy.{trigger.policy}]"
            raise Invalid(f"there is no policy {trigger.policy!r}", where=f"{trigger.where}.policy", hint=hint)
    return found


def whose(name: str, section: Mapping[str, object]) -> tuple[str, str]:
    """Model and version that are to be behind a deployment; empty when the file does not say it.

    Raises:
        Invalid: Only a version is said, or one of them is no text or number.
    """
    model, version = section.get("model", ""), section.get("version", "champion")
    where = f"deployment.{name}"
    if not isinstance(model, str) or isinstance(version, bool) or not isinstance(version, (str, int)):
        raise Invalid("model and version are a name and an alias or number", where=where, hint='version = "champion"')
    if not model and "version" in section:
        raise Invalid("a version of which model", where=where, hint='write model = "..."')
    return model, str(version) if model else ""


def spec_of(options: Options, model: str = "", version: str = "") -> dict[str, object]:
    """What there is to say of a deployment: what differs from the options that nobody chose."""
    from mainspring.serving.modelserver.plan import Options

    said, bare = msgspec.to_builtins(options), msgspec.to_builtins(Options())
    changed = {key: value for key, value in said.items() if value != bare[key]}
    return _plain({**changed, **({"model": model, "version": version} if model else {})})


def _gates(settings: Settings) -> Iterator[Object]:
    from mainspring.gates import gates_of

    section = settings.tables.get("gate", {})
    yield from (Object("gate", name, _plain(settings.section("gate")[name])) for name in gates_of(section))


def _monitor(settings: Settings) -> Iterator[Object]:
    from mainspring.monitoring.model import MonitorSpec

    section = settings.section("monitor")
    if section:
        fill(MonitorSpec, section, where="monitor")
        yield Object("monitor", MONITOR, _plain(section))


def _deployment(serving: Serving, name: str, entry: object) -> Object:
    if not isinstance(entry, Mapping):
        raise Invalid(f"deployment.{name} is no section", where="mainspring.toml", hint=f"write [deployment.{name}]")
    model, version = whose(name, entry)
    try:
        options = serving.kept_options(name, {key: value for key, value in entry.items() if key not in WHOSE})
    except (Invalid, NotFound) as wrong:
        where = wrong.where if wrong.where.startswith("deployment.") else f"deployment.{name}"
        raise type(wrong)(wrong.what, where=where, hint=wrong.hint) from None
    return Object("deployment", name, spec_of(options, model, version))


def _plain(section: object) -> dict[str, object]:
    """The section as it is kept: plain JSON, so that what was applied compares with what is declared."""
    return cast("dict[str, object]", msgspec.json.decode(canonical_json(section)))
