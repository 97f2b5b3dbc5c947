"""Scorers over the protocol."""

from __future__ import annotations

import json

from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.errors import Told
from mainspring.mlflow.wire import UNSET, Int64, MaybeInt, Message, Text, chosen
from mainspring.tracking.judging import Scorer
from mainspring.tracking.scorers import Scorers


class Register(Message):
    """The next version of a scorer."""

    experiment_id: Text
    name: Text
    serialized_scorer: Text


class ListNewest(Message):
    """The scorers of an experiment, of some, or of all."""

    experiment_id: str = ""
    experiment_ids: list[str] = []


class ByName(Message):
    """A scorer by name."""

    experiment_id: Text
    name: Text


class ByVersion(Message):
    """A version of a scorer; absent, the newest one or all."""

    experiment_id: Text
    name: Text
    version: MaybeInt = UNSET


class ScorerInfo(Message):
    """A version of a scorer as it is sent.

    Here alone the protocol has 32 bits for the id of an experiment. Most of ours are longer, and then left out: clients
    fail on a number that does not fit, and do without one.
    """

    scorer_name: str
    scorer_version: int
    serialized_scorer: str
    creation_time: int
    scorer_id: str
    experiment_id: int = 0


class Registered(Message):
    """The answer to a new version."""

    version: Int64
    scorer_id: str
    experiment_id: str
    name: str
    serialized_scorer: str
    creation_time: int


class OneScorer(Message):
    """The answer that is one version."""

    scorer: ScorerInfo


class SomeScorers(Message):
    """The answer that is some versions."""

    scorers: list[ScorerInfo] = []


class ConfigsOf(Message):
    """Which scorers are asked about."""

    scorer_ids: list[str] = []


class Schedule(Message):
    """How often a scorer is to be run."""

    name: str = ""


class Configs(Message, omit_defaults=False):
    """How often scorers are run by the server: none ever is."""

    configs: list[str] = []


def info_of(found: Scorer) -> ScorerInfo:
    """A version as it is sent."""
    return ScorerInfo(
        experiment_id=int(found.experiment_id) if int(found.experiment_id) < 2**31 else 0,
        scorer_name=found.name,
        scorer_version=found.version,
        serialized_scorer=found.content,
        creation_time=found.created_at // 1000,
        scorer_id=found.id,
    )


@call("POST", "scorers/register", "runs:write")
def register(ask: Register, scorers: Scorers) -> Registered:
    """Keep the next version of a scorer; it is never run here."""
    try:
        json.loads(ask.serialized_scorer)
    except (ValueError, RecursionError):
        raise Invalid("serialized_scorer must be valid JSON", where="serialized_scorer") from None
    made = scorers.register(ask.experiment_id, ask.name, ask.serialized_scorer)
    return Registered(
        version=made.version,
        scorer_id=made.id,
        experiment_id=made.experiment_id,
        name=made.name,
        serialized_scorer=made.content,
        creation_time=made.created_at // 1000,
    )


@call("GET", "scorers/list", "runs:read")
def list_newest(ask: ListNewest, scorers: Scorers) -> SomeScorers:
    """The newest version of each scorer of an experiment, of some experiments, or of all."""
    if ask.experiment_id and ask.experiment_ids:
        raise Invalid("Cannot specify both 'experiment_id' and 'experiment_ids'.", where="experiment_id")
    if ask.experiment_id:
        found = scorers.newest(ask.experiment_id)
    else:
        found = scorers.newest_of(ask.experiment_ids or None)
    return SomeScorers(scorers=list(map(info_of, found)))


@call("GET", "scorers/versions", "runs:read")
def list_versions(ask: ByName, scorers: Scorers) -> SomeScorers:
    """All versions of a scorer, oldest first."""
    return SomeScorers(scorers=list(map(info_of, scorers.versions(ask.experiment_id, ask.name))))


@call("GET", "scorers/get", "runs:read")
def get(ask: ByVersion, scorers: Scorers) -> OneScorer:
    """A version of a scorer, the newest when none is named."""
    version = None if ask.version is UNSET else chosen(ask.version, 0)
    return OneScorer(scorer=info_of(scorers.get(ask.experiment_id, ask.name, version)))


@call("DELETE", "scorers/delete", "runs:write")
def delete(ask: ByVersion, scorers: Scorers) -> None:
    """Delete a version of a scorer, or all when none is named."""
    version = None if ask.version is UNSET else chosen(ask.version, 0)
    scorers.delete(ask.experiment_id, ask.name, version)


@call("GET", "scorers/online-configs", "runs:read")
def online_configs(ask: ConfigsOf) -> Configs:
    """Which scorers the server runs by itself: none, ever."""
    return Configs()


@call("PUT", "scorers/online-config", "runs:write")
def schedule(ask: Schedule) -> None:
    """Refused: scorers are code of their clients, and run there."""
    hint = "run it with mlflow.genai.evaluate, where its code and keys are"
    raise Told("FEATURE_DISABLED", "Mainspring runs no scorers on traces as they come", where="name", hint=hint)


calls = [register, list_newest, list_versions, get, delete, online_configs, schedule]
