"""The values of serving: who answers, how that changes, and what comes back later."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.serving.modelserver.plan import Options
from mainspring.serving.rules.assignment import check_shares
from mainspring.serving.rules.bandit import ArmState, BanditSpec, regret
from mainspring.serving.rules.decision import Decision, RolloutSpec
from mainspring.serving.rules.pairs import Difference

CHAMPION, CANARY = "champion", "canary"
MOST_SHADOWS = 4
"""Shadows of one endpoint: each costs as much as the traffic it is asked."""
MOST_ARMS = 20
"""Versions that may share the traffic of an endpoint."""
MOST_ROUTES = 50
"""Routes of one endpoint: each request is held against all of them."""
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_TAKEN = ("authorization", "cookie", "host", "content-type", "content-length", "content-encoding", "connection")
_WEIGHTS = "weights"
OPEN_STATES = ("running", "paused", "held")
RolloutState = Literal["running", "paused", "held", "promoted", "rolled_back"]
BanditState = Literal["running", "stopped"]
ReplayState = Literal["running", "done", "cancelled", "failed"]
ReviewState = Literal["open", "decided"]
Label = float | str
DECISION = "decision"
"""The kind of feedback that a person's decision about a review is."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A version and its share of the traffic."""

    name: str
    version: int
    share: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that is asked what was answered by others, after they did; nobody gets its answers.

    Args:
        version: Which one.
        share: Part of the answered requests that it is asked too, by a hash of their ids; above 0 and up to 1.
    """

    version: int
    share: float = 1.0

    def __post_init__(self) -> None:
        """Raises: Invalid: The share is none."""
        if not 0.0 < self.share <= 1.0:
            raise Invalid(f"a shadow of {self.share:g} of the requests", where="share", hint="above 0 and up to 1")


@dataclass(frozen=True, slots=True)
class Route:
    """Requests with a header that go to a version whatever the shares say.

    Args:
        header: Its name, in lower case.
        value: What it has to be; "" with no version: the header itself says which version.
        version: Who answers; None: the one whose number is the header's value.
    """

    header: str
    value: str = ""
    version: int | None = None

    def __post_init__(self) -> None:
        """Raises: Invalid: No name of a header, one that is for something else, or a value without a version."""
        if not _HEADER.fullmatch(self.header) or self.header in _TAKEN:
            hint = "take one of your own in lower case, such as x-mainspring-version"
            raise Invalid(f"requests are not routed by the header {self.header[:60]!r}", where="header", hint=hint)
        if (self.value == "") != (self.version is None):
            hint = "give a value and a version, or neither: then the header has the version's number"
            raise Invalid("a route has a value without a version, or a version without a value", hint=hint)
        if len(self.value) > 200 or not (self.value.isascii() and self.value.isprintable()):
            raise Invalid("a value is longer than 200 characters or not printable ASCII", where=self.header)

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.header}: {self.value} to {self.version}" if self.version else f"{self.header} names a version"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who answers at an endpoint: the champion first, then the canary or others with their shares.

    `salt` is that of the assignment of keys; `rollout` the one that the canary belongs to, or the bandit that the
    shares are of, "" without one. A key stays with its version while the shares stand, where they are `sticky`; else
    each request is drawn by itself. Requests with the headers of `routes` go where these say; `shadows` are asked the
    same afterwards.
    """

    arms: tuple[Arm, ...]
    salt: str = ""
    rollout: str = ""
    shadows: tuple[Shadow, ...] = ()
    routes: tuple[Route, ...] = ()
    sticky: bool = True

    def __post_init__(self) -> None:
        """Raises: Invalid: Shares that do not sum to 1, a version in two places, too many shadows or routes, or two
        routes for the same."""
        check_shares([arm.share for arm in self.arms])
        versions = [arm.version for arm in self.arms] + [shadow.version for shadow in self.shadows]
        if len(set(versions)) != len(versions):
            raise Invalid("a version is in two arms", where="traffic", hint="roll out another version")
        if len(self.arms) > MOST_ARMS:
            raise Invalid(f"{len(self.arms)} versions share the traffic", where="traffic", hint=f"{MOST_ARMS} at most")
        if len(self.shadows) > MOST_SHADOWS:
            raise Invalid(f"{len(self.shadows)} shadows", where="traffic", hint=f"{MOST_SHADOWS} at most: stop one")
        if len({(route.header, route.value) for route in self.routes}) != len(self.routes):
            raise Invalid("two routes are for the same header and value", where="traffic", hint="end one of them")
        if len(self.routes) > MOST_ROUTES:
            raise Invalid(f"{len(self.routes)} routes", where="traffic", hint=f"{MOST_ROUTES} at most: end one")

    @classmethod
    def only(cls, version: int) -> Traffic:
        """All traffic to one version."""
        return cls((Arm(CHAMPION, version, 1.0),))

    def all_to(self, version: int) -> Traffic:
        """The same with all traffic to one version."""
        return self._with((Arm(CHAMPION, version, 1.0),))

    def split(
        self, champion: int, canary: int, share: float, *, rollout: str, standing: Mapping[int, float] | None = None
    ) -> Traffic:
        """The same with a share for a canary, which it gets by a hash salted with the rollout's id.

        Args:
            champion: The version that it is compared with.
            canary: Another one.
            share: Of all of the traffic.
            rollout: Its id.
            standing: Shares that versions have without the canary; it takes its own from each in proportion. By default
                the champion has all.
        """
        without = self.weighted(standing or {champion: 1.0}, champion)
        arms = (*(replace(arm, share=arm.share * (1.0 - share)) for arm in without.arms), Arm(CANARY, canary, share))
        return self._with(arms, salt=without.salt or rollout, rollout=rollout)

    def weighted(self, shares: Mapping[int, float], champion: int) -> Traffic:
        """The same with a share for each of several versions, without a rollout. A share of 0 is none."""
        others = sorted(version for version, share in shares.items() if version != champion and share)
        if not others:
            return self.all_to(champion)
        arms = (Arm(CHAMPION, champion, shares[champion]), *(Arm(f"v{n}", n, shares[n]) for n in others))
        return self._with(arms, salt=_WEIGHTS)

    def steered(self, shares: Mapping[int, float], champion: int, *, bandit: str, sticky: bool) -> Traffic:
        """The same with the shares of a bandit, whose id is the salt of the assignment."""
        return replace(self.weighted(shares, champion), salt=bandit, rollout=bandit, sticky=sticky)

    def _with(self, arms: tuple[Arm, ...], *, salt: str = "", rollout: str = "") -> Traffic:
        """Other arms; what is in one of them is no shadow any more."""
        taken = {arm.version for arm in arms}
        shadows = tuple(shadow for shadow in self.shadows if shadow.version not in taken)
        return replace(self, arms=arms, salt=salt, rollout=rollout, shadows=shadows, sticky=True)

    @property
    def versions(self) -> frozenset[int]:
        """Every version that answers, or is asked afterwards."""
        routed = (route.version for route in self.routes if route.version is not None)
        shadowing = (shadow.version for shadow in self.shadows)
        return frozenset([*(arm.version for arm in self.arms), *shadowing, *routed])

    @property
    def routed_only(self) -> list[int]:
        """Versions that answer where a header says so, and nowhere else."""
        routed = {route.version for route in self.routes if route.version is not None}
        return sorted(routed - {arm.version for arm in self.arms})

    @property
    def champion(self) -> int:
        """The version that is live."""
        return self.arms[0].version

    @property
    def words(self) -> str:
        """All of it on one line."""
        said = [f"{arm.name} {arm.version}: {_percent(arm.share)}" for arm in self.arms]
        said += [f"shadow {shadow.version}: {_percent(shadow.share)}" for shadow in self.shadows]
        return ", ".join([*said, *(route.text for route in self.routes)])


def _percent(share: float) -> str:
    return f"{round(100 * share, 1):g}%"


@dataclass(frozen=True, slots=True)
class Deployment:
    """An endpoint: a name, the model behind it and its traffic.

    `endpoint` is what it is called at the model server, where all projects meet: its name, unless another project has
    that already; then "PROJECT.NAME".
    """

    name: str
    endpoint: str
    model: str
    traffic: Traffic
    created_at: int
    updated_at: int
    options: Options = field(default_factory=Options)

    @property
    def ref(self) -> str:
        """Reference, `deployments/NAME`."""
        return f"deployments/{self.name}"

    @property
    def champion(self) -> int:
        """The version that is live."""
        return self.traffic.champion


@dataclass(frozen=True, slots=True)
class TrafficChange:
    """One entry of the history of an endpoint: from `at` (wall clock, microseconds) on it had this traffic.

    `until` is when the next change took its place, 0 while there is none.
    """

    seq: int
    deployment: str
    at: int
    actor: str
    traffic: Traffic
    reason: str
    until: int = 0


@dataclass(frozen=True, slots=True)
class Rollout:
    """A version on its way to be champion, or back.

    `standing` are the shares that versions had when it began, and have again when it ended, the canary then in the
    champion's place if it was promoted; empty where the champion had all.
    """

    id: str
    deployment: str
    champion: int
    version: int
    share: float
    step: int
    spec: RolloutSpec
    state: RolloutState
    started_at: int
    ended_at: int = 0
    reason: str = ""
    decision: Decision = field(default_factory=lambda: Decision("continue", "not judged yet"))
    standing: dict[int, float] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """Reference, `rollouts/ID`."""
        return f"rollouts/{self.id}"

    @property
    def is_final(self) -> bool:
        """Whether it ended, in promotion or back."""
        return self.state not in OPEN_STATES

    @property
    def weight(self) -> float:
        """The champion's share of what the canary leaves."""
        return self.standing.get(self.champion, 1.0)

    def shares_after(self, version: int) -> dict[int, float]:
        """The standing shares with a version in the champion's place."""
        others = {number: share for number, share in self.standing.items() if number != self.champion}
        return {version: self.weight, **others}

    @property
    def next_share(self) -> float | None:
        """The canary's share after this step; None when full traffic is next."""
        return self.spec.then[self.step] if self.step < len(self.spec.then) else None


@dataclass(frozen=True, slots=True)
class Bandit:
    """Versions whose shares follow what comes back for their answers.

    Attributes:
        id: Its id; answers that its shares chose have it in the log, in the place of a rollout's.
        deployment: Whose traffic.
        versions: Those that take part, the champion first.
        spec: What it learns from.
        state: "running" or "stopped".
        started_at: When, wall clock.
        ended_at: When, 0 before.
        reason: Why it was started, then why it was stopped.
        arms: What was known of each version when that changed last.
        learned_at: When that was.
    """

    id: str
    deployment: str
    versions: tuple[int, ...]
    spec: BanditSpec
    state: BanditState
    started_at: int
    ended_at: int = 0
    reason: str = ""
    arms: tuple[ArmState, ...] = ()
    learned_at: int = 0

    @property
    def ref(self) -> str:
        """Reference, `bandits/ID`."""
        return f"bandits/{self.id}"

    @property
    def is_final(self) -> bool:
        """Whether it was stopped."""
        return self.state == "stopped"

    @property
    def regret(self) -> float:
        """Reward that was missed beside asking the best version all along, by what is known now."""
        return regret(self.arms)


@dataclass(frozen=True, slots=True)
class Feedback:
    """Something learned about a prediction later.

    Args:
        prediction_id: The request's id for one row, "REQUEST.i" for row i of several.
        value: For kind "label" the truth: a number (0 or 1 for binary models), or a class as text.
        kind: What it is; each prediction has one of each kind.
        at: When it became known, event time in microseconds; 0 = when it is stored.
    """

    prediction_id: str
    value: Label
    kind: str = "label"
    at: int = 0

    def __post_init__(self) -> None:
        """Raises: Invalid: No id, or a number that is not finite."""
        if not self.prediction_id or len(self.prediction_id) > 220:
            raise Invalid("a feedback needs the id of its prediction", where="feedback", hint="send prediction_id")
        if isinstance(self.value, int | float) and not abs(self.value) < float("inf"):
            raise Invalid("the value of a feedback is not finite", where=self.prediction_id, hint="send a number")


@dataclass(frozen=True, slots=True)
class StoredFeedback:
    """A feedback in the order of arrival: `seq` grows with every commit and is never given twice."""

    seq: int
    prediction_id: str
    kind: str
    value: Label
    at: int
    stored_at: int


@dataclass(frozen=True, slots=True)
class LoggedLookup:
    """What was looked up in a feature view for a prediction.

    Attributes:
        view: Its name.
        number: Its version.
        materialization: Where it was looked up.
        entity: The key, a JSON list; None where it is redacted.
        at: When it was looked up (wall clock, microseconds).
        event_at: When what was found was so; None where nothing was.
        state: "fresh", "expired" or "missing".
        names: The inputs that it filled in.
    """

    view: str
    number: int
    materialization: str
    entity: str | None
    at: int
    event_at: int | None
    state: str
    names: tuple[str, ...]

    @property
    def age_s(self) -> float | None:
        """How old what was found was, in seconds."""
        return None if self.event_at is None else (self.at - self.event_at) / 1e6


@dataclass(frozen=True, slots=True)
class LoggedPrediction:
    """One row of the log, and what became known of it. Outputs that the model does not give are None.

    `latency_us` is all of it but the commit of the log; of that `wait_us` was spent before the model and `model_us` in
    it. `caller` is what the client called itself, `marks` are the rules that held, as NAME:ACTION; `low` and `high` are
    the ends of its interval, `label_set` are the classes that may be true. `reasons` are the reason codes by input, the
    strongest first, where they were asked for and kept; with `reasons_base` they add up to the raw output of the model.
    `features` says which inputs were looked up in feature views, and how old they were.
    """

    id: str
    request_id: str
    deployment: str
    version: int
    arm: str
    rollout: str
    at: int
    event_at: int
    inputs: dict[str, float | str | bool | None]
    probability: float | None
    prediction: float | None
    label_out: str | None
    status: int
    error: str
    latency_us: int
    caller: str | None = None
    wait_us: int | None = None
    model_us: int | None = None
    marks: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    label_set: tuple[str, ...] = ()
    reasons: dict[str, float] = field(default_factory=dict)
    reasons_base: float | None = None
    features: tuple[LoggedLookup, ...] = ()
    feedback: tuple[StoredFeedback, ...] = ()

    @property
    def ref(self) -> str:
        """Reference, `predictions/ID`."""
        return f"predictions/{self.id}"


@dataclass(frozen=True, slots=True)
class Review:
    """A prediction that waits for a person, or has its decision.

    Attributes:
        id: Its id.
        deployment: Whose prediction.
        prediction_id: Which one; its inputs are in the log.
        version: Of the model that answered.
        marks: The rules that held, as NAME:ACTION.
        answer: What was answered until then.
        asked_at: When, wall clock.
        state: "open" or "decided".
        decision: What the answer should be.
        decided_by: Who said so.
        decided_at: When, wall clock, 0 before.
        note: Why.
    """

    id: str
    deployment: str
    prediction_id: str
    version: int
    marks: tuple[str, ...]
    answer: Label
    asked_at: int
    state: ReviewState = "open"
    decision: Label | None = None
    decided_by: str = ""
    decided_at: int = 0
    note: str = ""

    @property
    def ref(self) -> str:
        """Reference, `reviews/ID`."""
        return f"reviews/{self.id}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A version beside one that answered users, over the rows that both were asked.

    Attributes:
        version: The one that nobody depended on.
        against: The one that answered.
        rows: What both were asked.
        failed: Rows that `version` did not answer.
        failed_before: Rows that `against` did not.
        answered: Rows that both answered; all below is about them.
        differing: Part of them with another class, or for numbers with another number.
        distance: Absolute differences of the probability or number: mean, median, 99th percentile and greatest; None
            without any.
        difference: Its mean with its sign.
        labelled: Rows whose label is known.
        loss: What is less for the better one: "Brier score", "absolute error" or "wrong answers".
        losses: Its mean for `against` and `version`; None without labels.
        loss_difference: That of `version` minus that of `against`.
        verdict: "better", "worse", "undecided" or "no labels".
        columns: Inputs that were refused, with the number of rows.
        errors: Other failures, with the number of rows.
        model_us: What a call of the model took, median and 99th percentile, for `against` and `version`.
    """

    version: int
    against: int
    rows: int = 0
    failed: int = 0
    failed_before: int = 0
    answered: int = 0
    differing: float = 0.0
    distance: tuple[float, float, float, float] | None = None
    difference: Difference = field(default_factory=Difference)
    labelled: int = 0
    loss: str = ""
    losses: tuple[float, float] | None = None
    loss_difference: Difference = field(default_factory=Difference)
    verdict: str = "no labels"
    columns: tuple[tuple[str, int], ...] = ()
    errors: tuple[tuple[str, int], ...] = ()
    model_us: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Replay:
    """Logged traffic of an endpoint that a version was asked again, without a user.

    Attributes:
        id: Its id.
        deployment: Whose traffic.
        version: Who was asked.
        since: Earliest event time, microseconds; None = from the beginning.
        until: First event time that is left out; None = to the end.
        state: "running", "done", "cancelled" or "failed".
        rows: How many it has.
        done: How many are answered.
        started_at: When, wall clock.
        beat_at: When its process last said that it lives.
        ended_at: When, 0 before.
        actor: Who asked for it.
        reason: Why it failed or was cancelled.
        digest: Of the report, 64 hex digits; the event log has it too.
        report: The version beside each one that answered.
    """

    id: str
    deployment: str
    version: int
    since: int | None
    until: int | None
    state: ReplayState
    rows: int
    started_at: int
    beat_at: int
    actor: str
    done: int = 0
    ended_at: int = 0
    reason: str = ""
    digest: str = ""
    report: tuple[Comparison, ...] = ()

    @property
    def ref(self) -> str:
        """Reference, `replays/ID`."""
        return f"replays/{self.id}"
