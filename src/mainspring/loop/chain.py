"""From a prediction back to the data, the code and the decisions that made it what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.clock import iso
from mainspring.loop.model import Why

if TYPE_CHECKING:
    from mainspring.loop.service import Loop
    from mainspring.registry import ModelVersion
    from mainspring.serving import Deployment
    from mainspring.serving.model import LoggedLookup

Link = dict[str, object]
OUTPUTS = ("probability", "prediction", "label_out")


def trace(loop: Loop, prediction_id: str) -> Why:
    """Walk the chain of a prediction.

    Raises:
        NotFound: No deployment of the project has such a prediction in its log.
    """
    row = loop.serving.prediction(prediction_id)
    deployment = loop.serving.get(row.deployment)
    version = loop.registry.get(deployment.model, row.version)
    outputs = {name: getattr(row, name) for name in OUTPUTS if getattr(row, name) is not None}
    prediction: Link = {
        "id": prediction_id,
        "deployment": deployment.name,
        "event_at": iso(row.event_at),
        "at": iso(row.at),
        "arm": row.arm,
        "inputs": dict(row.inputs),
        "outputs": outputs,
        "rules": ", ".join(row.marks),
        "looked_up": {f"{one.view}/{one.number}": _looked(one) for one in row.features},
        "reasons": row.reasons,
        "reasons_base": row.reasons_base,
        "feedback": [{"kind": k.kind, "value": k.value, "at": iso(k.at)} for k in row.feedback],
    }
    cycle = next((cycle for cycle in loop.cycles(deployment.name) if cycle.version == version.number), None)
    return Why(
        prediction,
        _version(version),
        _run(loop, version),
        tuple(_dataset(loop, ref) for ref in version.datasets),
        tuple(_verdicts(loop, version)),
        None if cycle is None else {"id": cycle.id, "reason": cycle.reason, "state": cycle.state, "note": cycle.note},
        tuple(_live(loop, deployment, version, row.at)),
    )


def _looked(one: LoggedLookup) -> str:
    """What a feature view gave, in words."""
    age = "" if one.age_s is None else f", {one.age_s:.0f} s old"
    return f"{', '.join(one.names)}: {one.state}{age}"


def _version(version: ModelVersion) -> Link:
    return {
        "ref": version.ref,
        "flavour": version.flavour,
        "digest": version.digest,
        "metrics": dict(version.metrics),
        "created_at": iso(version.created_at),
    }


def _run(loop: Loop, version: ModelVersion) -> Link:
    if not version.run_id:
        return {}
    run = loop.tracking.get(version.run_id)
    code = run.code
    return {
        "id": run.id,
        "experiment": run.experiment,
        "commit": code.commit if code else "",
        "dirty": code.dirty if code else False,
        "entry": code.entry if code else "",
        "python": run.environment.python if run.environment else "",
        "seed": run.seed,
        "started_at": iso(run.started_at),
    }


def _dataset(loop: Loop, ref: str) -> Link:
    found = loop.data.resolve(ref)
    return {"ref": found.ref, "rows": found.rows, "digest": found.digest, "parents": list(found.parents)}


def _verdicts(loop: Loop, version: ModelVersion) -> list[Link]:
    found = [verdict for verdict in loop.gates.verdicts(version.model) if verdict.version == version.number]
    return [{"id": v.id, "gate": v.gate, "outcome": str(v.outcome), "reason": v.reason, "n": v.n} for v in found]


def _live(loop: Loop, deployment: Deployment, version: ModelVersion, at: int) -> list[Link]:
    """The traffic under which it was answered."""
    for change in loop.serving.history(deployment.name):
        if change.at <= at and version.number in change.traffic.versions:
            shares = {str(arm.version): arm.share for arm in change.traffic.arms}
            return [{"at": iso(change.at), "reason": change.reason, "shares": shares}]
    return []
