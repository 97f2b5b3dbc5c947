"""The screens of the gates: verdicts, and one verdict with its intervals."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Template

from mainspring.gates.service import Gates

_READ = {"permission": "gates:read"}
_ROWS = 100
TONES = {"pass": "ok", "fail": "bad", "error": "bad", "undecided": "warn", "skipped": "muted"}


@get("/gates", opt=_READ, sync_to_thread=True, include_in_schema=False)
def verdicts_page(gates: NamedDependency[Gates], model: str = "", gate: str = "", before: str = "") -> Template:
    """Verdicts, newest first, and the gates of the settings."""
    found = gates.verdicts(model, gate=gate, before=before, limit=_ROWS + 1)
    context = {
        "specs": gates.specs(),
        "verdicts": found[:_ROWS],
        "older": found[_ROWS - 1].id if len(found) > _ROWS else "",
        "model": model,
        "gate": gate,
        "before": before,
        "tones": TONES,
    }
    return Template("gates/page/list.html", context=context)


@get("/verdicts/{verdict_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def verdict_page(gates: NamedDependency[Gates], verdict_id: str) -> Template:
    """One verdict: every check with its estimate, interval and line."""
    found = gates.verdict(verdict_id)
    context = {"verdict": found, "uses": gates.uses(found.data_ref), "tones": TONES}
    return Template("gates/page/verdict.html", context=context)


handlers = [verdicts_page, verdict_page]
