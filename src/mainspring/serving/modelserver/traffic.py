"""The traffic table in memory: which loaded version answers what. It is replaced whole, never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mainspring.core.errors import MainspringError, NotFound, Unavailable, did_you_mean
from mainspring.serving.modelserver.humility import Humility
from mainspring.serving.modelserver.models import LoadedModel, load_model
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Options, Plan
from mainspring.serving.modelserver.shadowing import Target
from mainspring.serving.rules.assignment import assign

DIRECT = "direct"


@dataclass(frozen=True, slots=True, eq=False)
class ServedArm:
    """One loaded version behind an endpoint."""

    name: str
    share: float
    model: LoadedModel
    digest: str
    grant: str = ""
    humility: Humility | None = None


class Choice(NamedTuple):
    """Who answers one request, how likely that was (None: the version was named), what is counted by, which rules."""

    arm: str
    model: LoadedModel
    propensity: float | None
    rollout: str
    labels: tuple[str, str, str]
    share: float = 0.0
    humility: Humility | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """A deployment as this process serves it."""

    name: str
    arms: tuple[ServedArm, ...]
    salt: str
    rollout: str
    options: Options
    shadows: tuple[Target, ...] = ()
    choices: tuple[Choice, ...] = field(init=False)

    def __post_init__(self) -> None:
        """What can be chosen is made once, not for every request."""
        made = tuple(self._choice(arm, arm.name, arm.share) for arm in self.arms)
        object.__setattr__(self, "choices", made)

    def _choice(self, arm: ServedArm, name: str, share: float | None) -> Choice:
        labels = (self.name, str(arm.model.version), name)
        return Choice(name, arm.model, share, "" if share is None else self.rollout, labels, share or 0.0, arm.humility)

    def choose(self, key: str, version: str | None) -> Choice:
        """The arm for a routing key, or the version that was named, outside of any rollout.

        Raises: NotFound: That version is not loaded.
        """
        if version is None:
            return assign(self.choices, self.salt, key)
        for arm in self.arms:
            if str(arm.model.version) == version:
                return self._choice(arm, DIRECT, None)
        raise NotFound(f"version {version[:20]!r} of {self.name!r} is not loaded", hint=f"loaded: {self.versions}")

    @property
    def versions(self) -> list[str]:
        """The versions that are loaded."""
        return [str(arm.model.version) for arm in self.arms]

    @property
    def champion(self) -> LoadedModel:
        """The version that metadata describes when none is named."""
        return self.arms[0].model


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Everything that is served, the plan it came from, and what could not be loaded."""

    plan: Plan = field(default_factory=Plan)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> Endpoint:
        """The endpoint of that name.

        Raises: NotFound: There is none. Unavailable: It is in the plan but not loaded (yet).
        """
        found = self.endpoints.get(name)
        if found is None and any(endpoint.name == name for endpoint in self.plan.endpoints):
            raise Unavailable(f"model {name!r} is not loaded", hint=self.problems.get(name, "it is loading"))
        if found is None:
            raise NotFound(f"no model {name[:100]!r} here", hint=did_you_mean(name[:100], self.endpoints))
        return found

    @property
    def has_shadows(self) -> bool:
        """Whether any endpoint has one."""
        return any(endpoint.shadows for endpoint in self.endpoints.values())

    @property
    def ready(self) -> bool:
        """Whether every endpoint of the plan is loaded and warm (perhaps still with the versions before)."""
        return all(endpoint.name in self.endpoints for endpoint in self.plan.endpoints)


def build(plan: Plan, before: Table, declare: Callable[[str, LoadedModel], None]) -> Table:
    """Load what a plan names and is not loaded yet. An endpoint that can't be loaded keeps what it served before.

    Args:
        plan: What to serve.
        before: The present table; versions in it are used again.
        declare: Called with every newly loaded model before it can answer.
    """
    endpoints: dict[str, Endpoint] = {}
    problems: dict[str, str] = {}
    for wanted in plan.endpoints:
        old = before.endpoints.get(wanted.name)
        try:
            endpoints[wanted.name] = _endpoint(wanted, plan, old, declare)
        except Exception as reason:  # noqa: BLE001 - one bad model must not take the other endpoints down
            what = reason.what if isinstance(reason, MainspringError) else f"{type(reason).__name__}: {reason}"
            problems[wanted.name] = what
            if old is not None and not _is_revoked(wanted, old):
                endpoints[wanted.name] = old
    return Table(plan, endpoints, problems)


def _is_revoked(wanted: EndpointPlan, old: Endpoint) -> bool:
    """Whether a version of it is served under a grant and still wanted, but without that grant."""
    ungranted = {(entry.version, entry.digest) for entry in wanted.arms if not entry.grant}
    return any(arm.grant and (arm.model.version, arm.digest) in ungranted for arm in old.arms)


def _endpoint(
    wanted: EndpointPlan, plan: Plan, old: Endpoint | None, declare: Callable[[str, LoadedModel], None]
) -> Endpoint:
    loaded = {(arm.model.version, arm.digest, arm.grant): arm.model for arm in old.arms} if old else {}
    arms = []
    for arm in wanted.arms:
        model = loaded.get((arm.version, arm.digest, arm.grant))
        if model is None:
            model = _load(arm, plan)
            declare(wanted.name, model)
        rules, width = wanted.options.rules, arm.half_width
        humility = Humility(rules, model, arm.seen, width) if rules or width is not None else None
        arms.append(ServedArm(arm.name, arm.share, model, arm.digest, arm.grant, humility))
    shadows = tuple(Target(shadow, plan.limits.max_rows) for shadow in wanted.shadows)
    return Endpoint(wanted.name, tuple(arms), wanted.salt, wanted.rollout, plan.options_of(wanted), shadows)


def _load(arm: ArmPlan, plan: Plan) -> LoadedModel:
    key = bytes.fromhex(plan.public_key) if plan.public_key else None
    return load_model(arm, public_key=key, max_rows=plan.limits.max_rows)
