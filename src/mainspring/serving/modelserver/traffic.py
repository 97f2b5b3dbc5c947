"""The traffic table in memory: which loaded version answers what. It is replaced whole, never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import NamedTuple

from mainspring.core.errors import MainspringError, NotFound, Unavailable, did_you_mean
from mainspring.core.values import dataclass
from mainspring.registry.apart import Own
from mainspring.serving.modelserver.columns import Features
from mainspring.serving.modelserver.humility import Humility, humility_of
from mainspring.serving.modelserver.lookups import Lookup, filled
from mainspring.serving.modelserver.models import LoadedModel, load_model
from mainspring.serving.modelserver.plan import HEADER, ArmPlan, EndpointPlan, Options, Plan, RoutePlan
from mainspring.serving.modelserver.shadowing import Target
from mainspring.serving.rules.assignment import assign, assign_beside

DIRECT = "direct"


@dataclass(frozen=True, slots=True, eq=False)
class ServedArm:
    """One loaded version behind an endpoint; `features` are the columns that it takes there."""

    name: str
    share: float
    model: LoadedModel
    digest: str
    grant: str = ""
    humility: Humility | None = None
    own: Own | None = None
    lookups: Sequence[Lookup] = ()
    features: Features = field(init=False)

    def __post_init__(self) -> None:
        """What it takes is made once, not for every request."""
        base = self.model.features if self.humility is None else self.humility.features
        object.__setattr__(self, "features", filled(base, self.lookups))


class Choice(NamedTuple):
    """Who answers one request, how likely that was (None: the version was named), what is counted by, which columns it
    takes, and which rules there are."""

    arm: str
    model: LoadedModel
    propensity: float | None
    rollout: str
    labels: tuple[str, str, str]
    features: Features
    share: float = 0.0
    humility: Humility | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """A deployment as this process serves it, and the part of the plan it was made by.

    One that is `asleep` knows its versions and can describe them, and has to be `woken` before it answers.
    """

    name: str
    arms: tuple[ServedArm, ...]
    salt: str
    rollout: str
    options: Options
    shadows: tuple[Target, ...] = ()
    routes: Sequence[RoutePlan] = ()
    origin: EndpointPlan | None = None
    asleep: bool = False
    sticky: bool = True
    choices: tuple[Choice, ...] = field(init=False)

    def __post_init__(self) -> None:
        """What can be chosen is made once, not for every request; what has no share is never chosen by one."""
        made = tuple(self._choice(arm, arm.name, arm.share) for arm in self.arms if arm.share > 0.0)
        object.__setattr__(self, "choices", made)

    def _choice(self, arm: ServedArm, name: str, share: float | None) -> Choice:
        labels = (self.name, str(arm.model.version), name)
        rollout = "" if share is None else self.rollout
        return Choice(name, arm.model, share, rollout, labels, arm.features, share or 0.0, arm.humility)

    def routed(self, headers: Mapping[bytes, bytes]) -> Choice | None:
        """The version that the headers of a request ask for, by the first route that fits; None where none does.

        It is answered by that version for certain, and belongs to no rollout.

        Raises: NotFound: A header names a version that is not loaded.
        """
        for route in self.routes:
            value = headers.get(route.header.encode())
            if value is None:
                continue
            said = value.decode("latin-1").strip()
            wanted = said if route.version is None else str(route.version)
            if route.version is None or said == route.value:
                return self._named(wanted)._replace(arm=HEADER, labels=(self.name, wanted, HEADER), propensity=1.0)
        return None

    def choose(self, key: str, version: str | None, request_id: str = "") -> Choice:
        """The arm for a routing key, or the version that was named, outside of any rollout.

        Where a key does not stay with its arm, the id of the request is in its place.

        Raises: NotFound: That version is not loaded.
        """
        if version is None and self.rollout and self.salt != self.rollout:
            return assign_beside(self.choices, self.salt, key, trial=self.rollout)
        if version is None:
            return assign(self.choices, self.salt, key if self.sticky else request_id)
        return self._named(version)

    def _named(self, version: str) -> Choice:
        return self._choice(self.named(version), DIRECT, None)

    def named(self, version: str) -> ServedArm:
        """The version of this number.

        Raises: NotFound: It is not loaded.
        """
        for arm in self.arms:
            if str(arm.model.version) == version:
                return arm
        raise NotFound(f"version {version[:20]!r} of {self.name!r} is not loaded", hint=f"loaded: {self.versions}")

    def emptied(self) -> Endpoint:
        """The same without anything that answers: its models can only be described."""
        arms = (replace(arm, model=arm.model.emptied(), humility=None) for arm in self.arms)
        return replace(self, arms=tuple(arms), asleep=True)

    @property
    def versions(self) -> list[str]:
        """The versions that are loaded."""
        return [str(arm.model.version) for arm in self.arms]


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
            near = did_you_mean(name[:100], self.endpoints) or "mainspring deploy puts a version behind a name"
            raise NotFound(f"no model {name[:100]!r} here", hint=near)
        return found

    @property
    def has_shadows(self) -> bool:
        """Whether any endpoint that answers has one."""
        return any(endpoint.shadows and not endpoint.asleep for endpoint in self.endpoints.values())

    @property
    def ready(self) -> bool:
        """Whether every endpoint of the plan is loaded and warm (perhaps still with the versions before), or asleep."""
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
    loaded = {(a.model.version, a.digest, a.grant, a.own): a.model for a in old.arms} if old else {}
    asleep = old is not None and old.asleep
    keys = [(arm.version, arm.digest, arm.grant, arm.own) for arm in wanted.arms]
    if asleep and not (wanted.options.idle_s and all(key in loaded for key in keys)):
        asleep, loaded = False, {}
    lookups = [Lookup(view) for view in wanted.views]
    arms = []
    for arm, key in zip(wanted.arms, keys, strict=True):
        model = loaded.get(key)
        if model is None:
            model = _load(arm, plan)
            declare(wanted.name, model)
        humility = None if asleep else humility_of(arm, model, wanted.options.rules)
        arms.append(ServedArm(arm.name, arm.share, model, arm.digest, arm.grant, humility, arm.own, lookups))
    options = plan.options_of(wanted)
    shadows = tuple(Target(one, plan.limits.max_rows, lookups) for one in wanted.shadows)
    about = (wanted.name, tuple(arms), wanted.salt, wanted.rollout, options, shadows, wanted.routes)
    return Endpoint(*about, origin=wanted, asleep=asleep, sticky=wanted.sticky)


def woken(endpoint: Endpoint, plan: Plan, declare: Callable[[str, LoadedModel], None]) -> Endpoint:
    """An endpoint that was asleep, loaded again as it was.

    Raises: Whatever loading a model raises.
    """
    return endpoint if endpoint.origin is None else _endpoint(endpoint.origin, plan, None, declare)


def _load(arm: ArmPlan, plan: Plan) -> LoadedModel:
    key = bytes.fromhex(plan.public_key) if plan.public_key else None
    return load_model(arm, public_key=key, max_rows=plan.limits.max_rows)
