"""The screens of serving."""

from __future__ import annotations

import json
from dataclasses import dataclass

from litestar import get
from litestar.response import Template

from mainspring.core.clock import iso
from mainspring.core.settings import Settings
from mainspring.registry.model import ModelVersion
from mainspring.registry.service import Registry
from mainspring.serving.model import Deployment, Rollout
from mainspring.serving.page import reviews
from mainspring.serving.rules.decision import Decision
from mainspring.serving.service import Serving

_READ = {"permission": "deployments:read"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One line of the table of evidence: an e-value and the value at which it decides."""

    signal: str
    meaning: str
    value: float
    limit: float
    canary: int
    champion: int


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
    history = serving.history(name)
    under_way = next(iter(serving.rollouts(name, open_only=True)), None)
    url = f"http://{settings.server.host}:{settings.serving_port}"
    context = {
        "deployment": found,
        "history": history,
        "lives": [(change.at, change.traffic.champion) for change in reversed(history)],
        "rollout": under_way,
        "evidence": evidence_of(under_way, under_way.decision) if under_way else [],
        "past": [entry for entry in serving.rollouts(name, limit=20) if entry.is_final],
        "predictions": serving.recent(name),
        "curl": curl_of(url, found, registry.get(found.model, found.champion)),
        "python": python_of(url, found, registry.get(found.model, found.champion)),
    }
    return Template("serving/page/deployment.html", context=context)


@get("/rollouts/{rollout_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def rollout_page(serving: Serving, rollout_id: str) -> Template:
    """One rollout and its evidence, judged now when it is under way."""
    found = serving.rollout(rollout_id)
    decision = found.decision if found.is_final else serving.judge(rollout_id)
    context = {"rollout": found, "decision": decision, "evidence": evidence_of(found, decision)}
    return Template("serving/page/rollout.html", context=context)


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


def _row(version: ModelVersion) -> dict[str, list[object]]:
    return {name: list(values[:1]) for name, values in version.example.inputs.items()}


def curl_of(url: str, deployment: Deployment, version: ModelVersion) -> str:
    """A command that asks the endpoint for the version's own example."""
    kinds = {str: "BYTES", bool: "BOOL", int: "INT64"}
    inputs = [
        {"name": name, "shape": [1], "datatype": kinds.get(type(values[0]), "FP64"), "data": values}
        for name, values in _row(version).items()
    ]
    body = {"id": "my-id-1", "parameters": {"event_time": iso(deployment.updated_at)}, "inputs": inputs}
    text = json.dumps(body).replace("'", "'\\''")
    return f"curl {url}/v2/models/{deployment.endpoint}/infer -H 'content-type: application/json' -d '{text}'"


def python_of(url: str, deployment: Deployment, version: ModelVersion) -> str:
    """The same in Python."""
    return (
        "from mainspring.serving import Client\n\n"
        f'with Client("{url}") as client:\n'
        f'    print(client.predict("{deployment.endpoint}", {_row(version)!r}))'
    )


handlers = [deployments_page, deployment_page, rollout_page, *reviews.handlers]
