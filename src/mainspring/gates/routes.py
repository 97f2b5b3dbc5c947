"""The gates over HTTP."""

from __future__ import annotations

from typing import Literal

from litestar import Response, get, post
from litestar.di import NamedDependency

from mainspring.core.values import dataclass
from mainspring.gates import report as reports
from mainspring.gates.approving import Approval, Standing, waits_for
from mainspring.gates.model import GateSpec, Verdict
from mainspring.gates.service import Gates

_READ = {"permission": "gates:read"}
_WRITE = {"permission": "gates:write"}
_APPROVE = {"permission": "approvals:write"}
Form = Literal["html", "markdown", "junit"]


@dataclass(frozen=True, slots=True)
class GateRequest:
    """Which version to put before a gate. Empty data and label: those of the gate's settings."""

    model: str
    version: str = "latest"
    data: str = ""
    label: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class WhereItStands:
    """go, shadow, wait or stop; what people decided; and for whom it waits."""

    standing: Standing
    approvals: list[Approval]
    waits_for: str


@dataclass(frozen=True, slots=True)
class Uses:
    """How often a data version was used for a verdict."""

    data_ref: str
    uses: int


@get("/api/v1/gates", opt=_READ, sync_to_thread=True)
def list_gates(gates: NamedDependency[Gates]) -> list[GateSpec]:
    """The gates of the settings."""
    return gates.specs()


@get("/api/v1/gates/{name:str}", opt=_READ, sync_to_thread=True)
def show_gate(gates: NamedDependency[Gates], name: str) -> GateSpec:
    """One gate of the settings."""
    return gates.spec(name)


@post("/api/v1/gates/{name:str}/verdicts", opt=_WRITE, sync_to_thread=True)
def run_gate(gates: NamedDependency[Gates], name: str, data: GateRequest) -> Verdict:
    """Put a version before a gate; a repeated `key` gives the stored verdict. 201, whatever the verdict is."""
    return gates.run(name, data.model, data.version, data=data.data, label=data.label, key=data.key)


@get("/api/v1/verdicts", opt=_READ, sync_to_thread=True)
def list_verdicts(
    gates: NamedDependency[Gates], model: str = "", gate: str = "", before: str = "", limit: int = 100
) -> list[Verdict]:
    """Verdicts, newest first; `before` is the id of the last one of the page before."""
    return gates.verdicts(model, gate=gate, before=before, limit=limit)


@get("/api/v1/verdicts/{verdict_id:str}", opt=_READ, sync_to_thread=True)
def show_verdict(gates: NamedDependency[Gates], verdict_id: str) -> Verdict:
    """One verdict with its evidence."""
    return gates.verdict(verdict_id)


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody decides about a verdict: "approved" or "refused", and why."""

    decision: str
    reason: str


@get("/api/v1/verdicts/{verdict_id:str}/approval", opt=_READ, sync_to_thread=True)
def show_approval(gates: NamedDependency[Gates], verdict_id: str) -> WhereItStands:
    """Where a version stands by a verdict and by what people decided about it."""
    said = gates.approvals(verdict_id)
    found = gates.verdict(verdict_id)
    standing = gates.standing(verdict_id)
    return WhereItStands(standing, said, waits_for(found, said) if standing == "wait" else "")


@post("/api/v1/verdicts/{verdict_id:str}/approval", opt=_APPROVE, sync_to_thread=True)
def decide(gates: NamedDependency[Gates], verdict_id: str, data: Word) -> Approval:
    """Approve or refuse a version that a gate passed, with the reason; everybody speaks once."""
    return gates.decide(verdict_id, data.decision, reason=data.reason)


@get("/api/v1/verdicts/{verdict_id:str}/report", opt=_READ, sync_to_thread=True)
def report(gates: NamedDependency[Gates], verdict_id: str, format: Form = "html") -> Response[str]:
    """A verdict as one file: `format` is html, markdown or junit."""
    found, said = gates.verdict(verdict_id), gates.approvals(verdict_id)
    if format == "junit":
        return Response(reports.junit([found]), media_type="application/xml")
    if format == "markdown":
        return Response(reports.markdown(found, said), media_type="text/markdown; charset=utf-8")
    name = f"verdict-{found.id}.html"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(reports.html(found, said), media_type="text/html", headers=headers)


@get("/api/v1/verdict-uses", opt=_READ, sync_to_thread=True)
def data_uses(gates: NamedDependency[Gates], data_ref: str) -> Uses:
    """How many verdicts rest on a data version, such as `datasets/flights/3`: a test set wears out."""
    return Uses(data_ref, gates.uses(data_ref))


handlers = [list_gates, show_gate, run_gate, list_verdicts, show_verdict, show_approval, decide, report, data_uses]
