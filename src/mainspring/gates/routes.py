"""The gates over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from litestar import get, post
from litestar.di import NamedDependency

from mainspring.gates.model import GateSpec, Verdict
from mainspring.gates.service import Gates

_READ = {"permission": "gates:read"}
_WRITE = {"permission": "gates:write"}


@dataclass(frozen=True, slots=True)
class GateRequest:
    """Which version to put before a gate. Empty data and label: those of the gate's settings."""

    model: str
    version: str = "latest"
    data: str = ""
    label: str = ""
    key: str = ""


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


handlers = [list_gates, show_gate, run_gate, list_verdicts, show_verdict]
