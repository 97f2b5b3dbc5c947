"""What a Python file declares: the objects of `mainspring.toml`, with its names and its checks.

To make one is to declare it, where the file is the one that `[project] declarations` names, or is imported by it.
Anywhere else it is a value like any other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Any, cast

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Invalid
from mainspring.core.ids import check_name
from mainspring.core.settings import fill
from mainspring.core.values import dataclass
from mainspring.gates.model import GateSettings, parse_gate
from mainspring.loop.model import Policy as PolicySpec
from mainspring.loop.model import policies_of
from mainspring.loop.planning.model import MONITOR
from mainspring.loop.triggers.model import Trigger as TriggerSpec
from mainspring.loop.triggers.model import triggers_of
from mainspring.monitoring.model import MonitorSpec

_OURS = (f"{Path(__file__).parents[2]}{os.sep}", "<")


@dataclass(frozen=True, slots=True)
class Declared:
    """One object that Python declared: its section as `mainspring.toml` would have it, and the line that made it."""

    kind: str
    name: str
    section: Mapping[str, Any]
    file: str
    line: int


made: list[Declared] = []
"""What was declared in this process, in order."""


@dataclass(frozen=True, slots=True)
class Gate(GateSettings[Mapping[str, object]]):
    """Declare a gate, as `[gate.NAME]` does.

    >>> Gate("promote", checks=[{"metric": "roc_auc", "floor": 0.7}]).alpha
    0.05
    """

    def __post_init__(self) -> None:
        _declare("gate", self.name, _said(self))


class Policy(PolicySpec):
    """Declare a policy, as `[policy.NAME]` does.

    >>> Policy("keep", deployment="churn", model="churn", pipeline="train.py:train", gate="promote").budget
    12
    """

    def __post_init__(self) -> None:
        """Raises: Invalid: As `[policy.NAME]` would be refused."""
        _declare("policy", self.name, _said(self))


class Trigger(TriggerSpec):
    """Declare a trigger, such as a schedule, as `[trigger.NAME]` does.

    >>> Trigger("nightly", on="cron", cron="0 3 * * *", pipeline="train.py:train").catch_up
    'latest'
    """

    def __post_init__(self) -> None:
        """Raises: Invalid: As `[trigger.NAME]` would be refused."""
        _declare("trigger", self.name, _said(self))


class Monitor(MonitorSpec):
    """Declare what every monitor goes by, as `[monitor]` does.

    >>> Monitor(segments=["carrier"]).budget
    1.0
    """

    def __post_init__(self) -> None:
        """Raises: Invalid: As `[monitor]` would be refused."""
        _declare("monitor", MONITOR, _said(self))


@dataclass(frozen=True, slots=True)
class Deployment:
    """Declare a deployment, as `[deployment.NAME]` does.

    Args:
        name: The endpoint.
        model: Whose version is to be behind it; empty leaves that to whoever deploys.
        version: An alias or a number.
        options: How it answers: `mainspring.serving.Options`, or a table with the same names.
    """

    name: str
    model: str = ""
    version: str | int = "champion"
    options: Mapping[str, object] | object = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises: Invalid: As `[deployment.NAME]` would be refused."""
        from mainspring.serving.modelserver.plan import Options

        given = _said(self.options) if isinstance(self.options, Options) else self.options
        if not isinstance(given, Mapping):
            hint = 'options = {"log_share": 0.5}'
            raise Invalid(f"{given!r} is no options", where=f"deployment.{self.name}.options", hint=hint)
        whose = {"model": self.model, "version": self.version} if self.model else {}
        _declare("deployment", self.name, {**given, **whose})


def _said(value: Any) -> dict[str, Any]:
    """What differs from what is said when nothing is said."""
    found = {}
    for entry in fields(value):
        bare = entry.default if entry.default_factory is MISSING else entry.default_factory()
        said = getattr(value, entry.name)
        if entry.name != "name" and said != bare:
            found[entry.name] = said
    return found


def _declare(kind: str, name: str, said: Mapping[str, object]) -> None:
    where = kind if kind == "monitor" else f"{kind}.{name}"
    try:
        section = cast("dict[str, Any]", _plain(said))
    except (TypeError, ValueError) as reason:
        hint = "use texts, numbers, true or false, lists and tables of them"
        raise Invalid(f"it can't be written down: {reason}", where=where, hint=hint) from None
    _check(kind, name, section, where)
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    made.append(Declared(kind, name, section, frame.f_code.co_filename, frame.f_lineno))


def _plain(said: object) -> object:
    import msgspec

    return msgspec.json.decode(canonical_json(msgspec.to_builtins(said, builtin_types=())))


def _check(kind: str, name: str, section: dict[str, Any], where: str) -> None:
    """Refuse what the room would refuse."""
    if kind == "gate":
        parse_gate(name, section)
    elif kind == "policy":
        policies_of({name: section})
    elif kind == "trigger":
        triggers_of({name: section})
    elif kind == "monitor":
        fill(MonitorSpec, section, where=where)
    else:
        from mainspring.serving.modelserver.plan import options_of

        check_name(name, "deployment")
        options_of(section, where)
