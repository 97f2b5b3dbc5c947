"""The pages of the loop: policies with their cycles, one cycle, and why a prediction was what it was."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.loop.model import CAUSES, Cycle
from mainspring.loop.service import ALL, Loop
from mainspring.storage.ports import Journal

TONES = {
    "deployed": "ok",
    "promoted": "ok",
    "training": "warn",
    "gating": "warn",
    "canary": "warn",
    "refused": "warn",
    "rolled_back": "bad",
    "failed": "bad",
}
STEPS = 200


@get("/cycles", opt={"permission": "loop:read"}, sync_to_thread=True)
def cycles_page(loop: Loop, deployment: str = "") -> Template:
    """The policies, how they are switched, and their newest cycles."""
    switches = {switch.policy: switch for switch in loop.switches()}
    context = {
        "policies": sorted(loop.policies.values(), key=lambda policy: policy.name),
        "cycles": loop.cycles(deployment),
        "deployment": deployment,
        "switches": switches,
        "stopped": switches.get(ALL),
        "causes": CAUSES,
        "tones": TONES,
    }
    return Template("loop/page/cycles.html", context=context)


@get("/cycles/{cycle_id:str}", opt={"permission": "loop:read"}, sync_to_thread=True)
def cycle_page(loop: Loop, journal: Journal, cycle_id: str) -> Template:
    """One turn of the loop: why it began, and every step with what it left behind."""
    cycle = loop.cycle(cycle_id)
    context = {"cycle": cycle, "events": journal.read(subject=cycle.ref, limit=STEPS), "links": _links(cycle)}
    return Template("loop/page/cycle.html", context={**context, "tones": TONES})


@get("/predictions/{prediction_id:str}", opt={"permission": "loop:read"}, sync_to_thread=True)
def why_page(loop: Loop, prediction_id: str) -> Template:
    """Why a prediction was what it was, from the answer back to the data."""
    return Template("loop/page/why.html", context={"why": loop.why(prediction_id)})


def _links(cycle: Cycle) -> list[tuple[str, str]]:
    """What a cycle left behind, as name and reference."""
    found = [
        ("Training", f"pipeline-runs/{cycle.pipeline_run}" if cycle.pipeline_run else ""),
        ("New version", f"models/{cycle.model}/{cycle.version}" if cycle.version else ""),
        ("Verdict", f"verdicts/{cycle.verdict}" if cycle.verdict else ""),
        ("Rollout", f"rollouts/{cycle.rollout}" if cycle.rollout else ""),
    ]
    return [(name, subject) for name, subject in found if subject]


handlers = [cycles_page, cycle_page, why_page]
