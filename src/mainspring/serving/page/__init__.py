"""The screens of serving."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Annotated, Literal
from urllib.parse import quote

from litestar import get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Template

from mainspring.core.clock import DAY_US, SystemClock
from mainspring.core.errors import Invalid, MainspringError, NotFound
from mainspring.core.settings import Settings
from mainspring.core.values import dataclass
from mainspring.registry.model import Scalar
from mainspring.registry.service import Registry
from mainspring.serving.client import Client, Prediction
from mainspring.serving.model import Bandit, Comparison, Deployment, Rollout, TrafficChange
from mainspring.serving.modelserver.answering import STATUS
from mainspring.serving.overview import TONES, healths, pulses, stretches
from mainspring.serving.page import batches, processes, reviews
from mainspring.serving.page.asking import Form, example_row, fields_of, form_of, row_of
from mainspring.serving.rules.bandit import BanditSpec
from mainspring.serving.rules.decision import Decision
from mainspring.serving.service import Serving
from mainspring.serving.supervisor import address_of

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}
_MOST_PAIRS = 20_000
_CHARTS = (
    ("Requests a minute", "rate"),
    ("Share that failed", "failed"),
    ("Median latency, ms", "p50_ms"),
    ("99th percentile of latency, ms", "p99_ms"),
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One line of the table of evidence: an e-value and the value at which it decides."""

    signal: str
    meaning: str
    value: float
    limit: float
    canary: int
    champion: int


@dataclass(frozen=True, slots=True)
class Steering:
    """What a person decides about a rollout on a page, and why."""

    verb: Literal["pause", "resume", "promote", "rollback"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Shadowing:
    """What a person decides about a shadow on a page."""

    verb: Literal["start", "stop"]
    version: int
    share: float = 1.0


@get("/deployments", opt=_READ, sync_to_thread=True, include_in_schema=False)
def deployments_page(serving: Serving) -> Template:
    """Endpoints: who answers there, and how they do."""
    deployments = serving.deployments()
    context = {
        "deployments": deployments,
        "healths": healths(serving.folder, [entry.endpoint for entry in deployments]),
        "pulses": pulses(serving.folder),
        "alarms": serving.alarms(),
        "tones": TONES,
        "rollouts": serving.rollouts(open_only=True),
        "waiting": serving.open_reviews(),
    }
    return Template("serving/page/list.html", context=context)


@get("/deployments/{name:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def deployment_page(
    serving: Serving, registry: Registry, settings: Settings, name: str, prediction: str = ""
) -> Template | Redirect:
    """One endpoint: traffic now and before, how it does, its rollout, newest predictions, and how to ask it.

    With the id of a prediction it leads to that one.
    """
    found = serving.get(name)
    if prediction:
        return Redirect(f"/predictions/{quote(prediction.strip(), safe='')}", status_code=303)
    version = serving.asked(found, registry.get(found.model, found.champion))
    form = form_of(_url(settings), found, version, example_row(version))
    return _deployment(serving, found, form, registry.composition(version))


@post(
    "/deployments/{name:str}",
    opt={"permission": "predictions:write"},
    sync_to_thread=True,
    status_code=200,
    include_in_schema=False,
)
def ask_page(serving: Serving, registry: Registry, settings: Settings, name: str, body: bytes) -> Template:
    """The same page after its form was sent: with the answer, or with what is wrong."""
    found = serving.get(name)
    version = serving.asked(found, registry.get(found.model, found.champion))
    row: dict[str, Scalar] = example_row(version)
    answer: Prediction | None = None
    error: MainspringError | None = None
    explain = False
    try:
        pairs = fields_of(body)
        explain, row = "explain" in pairs, row_of(pairs, version)
        columns = {key: [value] for key, value in row.items()}
        with Client(address_of(serving.folder, settings.server.host)) as client:
            answer = client.predict(found.endpoint, columns, caller="page", explain="keep" if explain else False)
    except MainspringError as reason:
        error = reason
    form = form_of(_url(settings), found, version, row, answer=answer, error=error, explain=explain)
    page = _deployment(serving, found, form, registry.composition(version))
    page.status_code = STATUS.get(error.code, 502) if error else 200
    return page


def _url(settings: Settings) -> str:
    return f"http://{settings.server.host}:{settings.serving_port}"


def _deployment(serving: Serving, found: Deployment, form: Form, composition: Sequence[str]) -> Template:
    history = serving.history(found.name)
    under_way = next(iter(serving.rollouts(found.name, open_only=True)), None)
    context = {
        "deployment": found,
        "composition": composition,
        "history": history,
        "lives": [(change.at, change.traffic.champion) for change in reversed(history)],
        "rollout": under_way,
        "evidence": evidence_of(under_way, under_way.decision) if under_way else [],
        "past": [entry for entry in serving.rollouts(found.name, limit=20) if entry.is_final],
        "predictions": serving.recent(found.name),
        "replays": serving.replays(found.name, limit=3),
        "shadows": [
            (report, entry)
            for report in serving.shadows(found.name, most=_MOST_PAIRS)
            for entry in report.comparisons or (Comparison(report.version, 0),)
        ],
        "form": form,
        "health": healths(serving.folder, [found.endpoint])[found.endpoint],
        "alarm": serving.alarms().get(found.name),
        "tones": TONES,
        "bandit": _bandit(serving, found.name, history),
        "differing": serving.differing(found.name),
        **_charts(serving, found.name),
    }
    return Template("serving/page/deployment.html", context=context)


@dataclass(frozen=True, slots=True)
class BanditPanel:
    """The newest bandit of a deployment: what is known of it, and its shares over time as corners of steps."""

    bandit: Bandit
    curves: list[tuple[str, list[tuple[int, float]]]]


def _bandit(serving: Serving, name: str, history: Sequence[TrafficChange]) -> BanditPanel | None:
    for found in serving.bandits(name, limit=1):
        until = found.ended_at or SystemClock().now()
        changes = [change for change in reversed(history) if change.traffic.rollout == found.id]
        ends = [*(change.at for change in changes[1:]), until]
        curves = [
            (
                f"version {version}",
                [
                    (at, arm.share)
                    for change, end in zip(changes, ends, strict=True)
                    for arm in change.traffic.arms
                    if arm.version == version
                    for at in (change.at, end)
                ],
            )
            for version in found.versions
        ]
        return BanditPanel(found, curves if changes else [])
    return None


@dataclass(frozen=True, slots=True)
class BanditForm:
    """What a person decides about a bandit on a page: versions apart by blanks; an absent reward of "" leaves out."""

    verb: Literal["start", "stop", "best"]
    versions: str = ""
    feedback: str = "click"
    absent: str = ""


@post("/deployments/{name:str}/bandit", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def steer_bandit(
    serving: Serving, name: str, data: Annotated[BanditForm, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    """Start or stop a bandit, and show where that led."""
    if data.verb == "start":
        try:
            absent = float(data.absent) if data.absent.strip() else None
        except ValueError:
            raise Invalid(f"{data.absent[:40]!r} is no reward", where="absent", hint="0, 1 or nothing") from None
        spec = BanditSpec(feedback=data.feedback, absent=absent)
        serving.start_bandit(name, data.versions.replace(",", " ").split(), spec=spec)
    else:
        serving.stop_bandit(name, to="best" if data.verb == "best" else None)
    return Redirect(f"/deployments/{name}#bandit", status_code=303)


def _charts(serving: Serving, name: str) -> dict[str, object]:
    """Rate, failures and latency per arm over the last day, as points of charts."""
    now = SystemClock().now()
    try:
        found = stretches(serving.predictions(name), since=now - DAY_US, until=now)
    except NotFound:
        found = []
    arms = sorted({entry.arm for entry in found})
    charts = [
        (title, [(arm, [(entry.at, getattr(entry, field)) for entry in found if entry.arm == arm]) for arm in arms])
        for title, field in _CHARTS
    ]
    return {"arms": arms, "charts": charts if found else []}


@get("/rollouts/{rollout_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def rollout_page(serving: Serving, rollout_id: str) -> Template:
    """One rollout and its evidence, judged now when it is under way."""
    found = serving.rollout(rollout_id)
    decision = found.decision if found.is_final else serving.judge(rollout_id)
    context = {"rollout": found, "decision": decision, "evidence": evidence_of(found, decision)}
    return Template("serving/page/rollout.html", context=context)


@post("/deployments/{name:str}/rollout", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def steer(
    serving: Serving, name: str, data: Annotated[Steering, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    """Pause, resume, promote or roll back the rollout under way, and show where that led."""
    match data.verb:
        case "pause":
            serving.pause(name, data.reason)
        case "resume":
            serving.resume(name, data.reason)
        case "promote":
            serving.promote(name, data.reason)
        case "rollback":
            serving.rollback(name, data.reason)
    return Redirect(f"/deployments/{name}", status_code=303)


@post("/deployments/{name:str}/shadow", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def steer_shadow(
    serving: Serving, name: str, data: Annotated[Shadowing, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    """Start or end a shadow, and show where that led."""
    if data.verb == "start":
        serving.shadow(name, data.version, share=data.share)
    else:
        serving.unshadow(name, data.version)
    return Redirect(f"/deployments/{name}#shadows", status_code=303)


@dataclass(frozen=True, slots=True)
class Replaying:
    """The traffic of how many days a version is asked again."""

    version: int
    days: int = 7


@post("/deployments/{name:str}/replay", opt=_WRITE, sync_to_thread=True, include_in_schema=False)
def start_replay(
    serving: Serving, name: str, data: Annotated[Replaying, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Redirect:
    """Begin a replay, and show how far it is."""
    serving.start_replay(name, data.version, since=SystemClock().now() - data.days * DAY_US)
    return Redirect(f"/deployments/{name}#replays", status_code=303)


def evidence_of(rollout: Rollout, decision: Decision) -> list[Evidence]:
    """The e-values of a decision with their limits."""
    spec, found = rollout.spec, decision.evidence
    lines = []
    for signal, value in decision.harm.items():
        counts = found.counts.get(signal, ())
        canary, champion = sum(c.canary for c in counts), sum(c.champion for c in counts)
        meaning = f"worse than {spec.harmless_ratio:g} times the champion: roll back"
        lines.append(Evidence(signal, meaning, value, exp(spec.limit(signal, counts)), canary, champion))
    counts = found.step.get(spec.promote_on, ())
    canary, champion = sum(c.canary for c in counts), sum(c.champion for c in counts)
    meaning = f"less than {spec.harmful_ratio:g} times the champion, in this step: promote"
    lines.append(Evidence(spec.promote_on, meaning, decision.no_harm, 1.0 / spec.alpha_promote, canary, champion))
    return lines


handlers = [deployments_page, deployment_page, ask_page, rollout_page, steer, steer_shadow, steer_bandit, start_replay]
handlers += [*batches.handlers, *processes.handlers, *reviews.handlers]
