"""The pages of the loop: policies with their cycles, triggers, the plan, and why a prediction was what it was."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.core.errors import MainspringError
from mainspring.loop.model import CAUSES, Cycle
from mainspring.loop.planning.service import Planner
from mainspring.loop.service import ALL, Loop
from mainspring.loop.triggers.model import Trigger
from mainspring.loop.triggers.service import Triggers
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
FIRE_TONES = {"fired": "ok", "dry_run": "warn", "not_fired": ""}
PLAN_TONES = {"create": "ok", "update": "warn", "delete": "bad", "keep": "", "wait": "warn"}
PLAN_WORDS = {"create": "new", "update": "changed", "delete": "gone", "keep": "not in the file", "wait": "waits"}
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


@get("/triggers", opt={"permission": "triggers:read"}, sync_to_thread=True)
def triggers_page(triggers: Triggers) -> Template:
    """Every trigger: what it watches and starts, when it is due next, what it did last, and why it would not fire."""
    context = {"triggers": triggers.triggers(), "tones": FIRE_TONES, "watched": _watched}
    return Template("loop/page/triggers.html", context=context)


@get("/triggers/{name:str}", opt={"permission": "triggers:read"}, sync_to_thread=True)
def trigger_page(triggers: Triggers, name: str) -> Template:
    """One trigger: as declared, its next times, and everything it did, also nothing."""
    context = {"view": triggers.view(name), "fires": triggers.fires(name), "tones": FIRE_TONES, "watched": _watched}
    return Template("loop/page/trigger.html", context=context)


@get("/plan", opt={"permission": "plans:read"}, sync_to_thread=True)
def plan_page(planner: Planner) -> Template:
    """What an apply would change, what was changed by hand, and what was applied lately."""
    context: dict[str, object] = {"tones": PLAN_TONES, "words": PLAN_WORDS, "problem": None, "applied": []}
    try:
        plan = planner.plan(deep=False)
    except MainspringError as problem:
        return Template("loop/page/plan.html", context={**context, "problem": problem, "plan": None, "work": []})
    context["applied"] = planner.applied()
    return Template("loop/page/plan.html", context={**context, "plan": plan, "work": plan.work()})


def _watched(trigger: Trigger) -> str:
    """What a trigger watches, in words."""
    change = f"alias {trigger.alias} of" if trigger.alias else "versions of"
    limit = f"above {trigger.above:g}" if trigger.above is not None else f"below {trigger.below or 0.0:g}"
    return {
        "cron": f"the clock: {trigger.cron} ({trigger.zone})",
        "data": f"versions of dataset {trigger.dataset}",
        "alarm": f"{' and '.join(trigger.causes)} alarms of {trigger.deployment}",
        "metric": f"{trigger.metric} {limit} in runs of {trigger.experiment}",
        "feedback": f"every {trigger.count} pieces of feedback for {trigger.deployment}",
        "registry": f"{change} model {trigger.model}",
        "webhook": f"deliveries ({trigger.format})" + (f" of branch {trigger.branch}" if trigger.branch else ""),
        "hand": "nothing; it is fired by hand",
    }[trigger.on]


def _links(cycle: Cycle) -> list[tuple[str, str]]:
    """What a cycle left behind, as name and reference."""
    found = [
        ("Training", f"pipeline-runs/{cycle.pipeline_run}" if cycle.pipeline_run else ""),
        ("New version", f"models/{cycle.model}/{cycle.version}" if cycle.version else ""),
        ("Verdict", f"verdicts/{cycle.verdict}" if cycle.verdict else ""),
        ("Rollout", f"rollouts/{cycle.rollout}" if cycle.rollout else ""),
    ]
    return [(name, subject) for name, subject in found if subject]


handlers = [cycles_page, cycle_page, why_page, triggers_page, trigger_page, plan_page]
