"""The screens of the gates: verdicts, and one verdict with its intervals."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect, Template

from mainspring.core.values import dataclass
from mainspring.gates.approving import missing, waits_for
from mainspring.gates.service import Gates

_READ = {"permission": "gates:read"}
_APPROVE = {"permission": "approvals:write"}
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
        "waiting": gates.waiting(found[:_ROWS]),
    }
    return Template("gates/page/list.html", context=context)


@get("/verdicts/{verdict_id:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def verdict_page(gates: NamedDependency[Gates], verdict_id: str) -> Template:
    """One verdict: every check with its estimate, interval and line."""
    found, said = gates.verdict(verdict_id), gates.approvals(verdict_id)
    standing = gates.standing(found.id)
    context = {
        "verdict": found,
        "uses": gates.uses(found.data_ref),
        "approvals": said,
        "waits": waits_for(found, said) if standing == "wait" else "",
        "void": standing == "wait" and said and missing(found, said) == missing(found, []),
        "tones": TONES,
    }
    return Template("gates/page/verdict.html", context=context)


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody decides on the page of a verdict."""

    decision: str
    reason: str = ""


@post("/verdicts/{verdict_id:str}", opt=_APPROVE, sync_to_thread=True, include_in_schema=False)
def decide_page(
    gates: NamedDependency[Gates],
    verdict_id: str,
    data: Annotated[Word, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Redirect:
    """Approve or refuse a version, and show the verdict with what was decided."""
    gates.decide(verdict_id, data.decision, reason=data.reason)
    return Redirect(f"/verdicts/{verdict_id}", status_code=303)


handlers = [verdicts_page, verdict_page, decide_page]
