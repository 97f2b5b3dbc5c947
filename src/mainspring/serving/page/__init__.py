"""The screens of serving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from litestar import get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Template

from mainspring.core.errors import MainspringError
from mainspring.core.settings import Settings
from mainspring.registry.model import Scalar
from mainspring.registry.service import Registry
from mainspring.serving.client import Client, Prediction
from mainspring.serving.model import Deployment, Rollout
from mainspring.serving.modelserver.answering import STATUS
from mainspring.serving.page import reviews
from mainspring.serving.page.asking import Form, example_row, form_of, row_of
from mainspring.serving.rules.decision import Decision
from mainspring.serving.service import Serving
from mainspring.serving.supervisor import address_of

_READ = {"permission": "deployments:read"}
_WRITE = {"permission": "deployments:write"}


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


@get("/deployments", opt=_READ, sync_to_thread=True, include_in_schema=False)
def deployments_page(serving: Serving) -> Template:
    """Endpoints and who answers there."""
    context = {
        "deployments": serving.deployments(),
        "rollouts": serving.rollouts(open_only=True),
        "waiting": serving.open_reviews(),
    }
    return Template("serving/page/list.html", context=context)


@get("/deployments/{name:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def deployment_page(serving: Serving, registry: Registry, settings: Settings, name: str) -> Template:
    """One endpoint: traffic now and before, its rollout, its newest predictions, and how to ask it."""
    found = serving.get(name)
    version = registry.get(found.model, found.champion)
    return _deployment(serving, found, form_of(_url(settings), found, version, example_row(version)))


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
    version = registry.get(found.model, found.champion)
    row: dict[str, Scalar] = example_row(version)
    answer: Prediction | None = None
    error: MainspringError | None = None
    try:
        row = row_of(body, version)
        with Client(address_of(serving.folder, settings.server.host)) as client:
            answer = client.predict(found.endpoint, {key: [value] for key, value in row.items()}, caller="page")
    except MainspringError as reason:
        error = reason
    page = _deployment(serving, found, form_of(_url(settings), found, version, row, answer=answer, error=error))
    page.status_code = STATUS.get(error.code, 502) if error else 200
    return page


def _url(settings: Settings) -> str:
    return f"http://{settings.server.host}:{settings.serving_port}"


def _deployment(serving: Serving, found: Deployment, form: Form) -> Template:
    history = serving.history(found.name)
    under_way = next(iter(serving.rollouts(found.name, open_only=True)), None)
    context = {
        "deployment": found,
        "history": history,
        "lives": [(change.at, change.traffic.champion) for change in reversed(history)],
        "rollout": under_way,
        "evidence": evidence_of(under_way, under_way.decision) if under_way else [],
        "past": [entry for entry in serving.rollouts(found.name, limit=20) if entry.is_final],
        "predictions": serving.recent(found.name),
        "form": form,
    }
    return Template("serving/page/deployment.html", context=context)


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


def evidence_of(rollout: Rollout, decision: Decision) -> list[Evidence]:
    """The e-values of a decision with their limits."""
    spec, found = rollout.spec, decision.evidence
    lines = []
    for signal, value in decision.harm.items():
        counts = found.counts.get(signal, ())
        canary, champion = sum(c.canary for c in counts), sum(c.champion for c in counts)
        meaning = f"worse than {spec.harmless_ratio:g} times the champion: roll back"
        lines.append(Evidence(signal, meaning, value, 1.0 / spec.alpha(signal), canary, champion))
    counts = found.step.get(spec.promote_on, ())
    canary, champion = sum(c.canary for c in counts), sum(c.champion for c in counts)
    meaning = f"less than {spec.harmful_ratio:g} times the champion, in this step: promote"
    lines.append(Evidence(spec.promote_on, meaning, decision.no_harm, 1.0 / spec.alpha_promote, canary, champion))
    return lines


handlers = [deployments_page, deployment_page, ask_page, rollout_page, steer, *reviews.handlers]
