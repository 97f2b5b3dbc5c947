"""Rollouts on the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import click

from mainspring.core.clock import HOUR_US, iso, micros
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Invalid
from mainspring.serving.model import Rollout
from mainspring.serving.notices import tell_served
from mainspring.serving.rules.decision import RolloutSpec, Signal
from mainspring.serving.service import Serving

SIGNALS = ("errors", "latency", "quality", "rules")


@click.group()
def rollout() -> None:
    """Rollouts: start, status, pause, resume, promote, rollback, and what was live when."""


@rollout.command("start")
@click.argument("name")
@click.argument("version")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.25, show_default=True)
@click.option("--then", default="", help="Further shares before full traffic, such as 0.5,0.75.")
@click.option("--hours", type=click.IntRange(min=0), default=24, show_default=True, help="Least time of a step.")
@click.option("--days", type=click.IntRange(min=0), default=14, show_default=True, help="Most time of a step.")
@click.option("--judge", "judges", type=click.Choice(SIGNALS), multiple=True, help="A signal that rolls back.")
@click.option("--promote-on", type=click.Choice(SIGNALS), default="quality", show_default=True, help="What is proved.")
@click.option("--latency-ms", type=click.FloatRange(min=0, min_open=True), help="Slowest good answer.")
@click.option("--champion-p99", is_flag=True, help="Slowest good answer: the champion's 99th percentile of late.")
@click.option("--bad-rule", "bad_rules", multiple=True, help="A rule that is a bad event where it holds; * is any.")
@click.option("--max-memory-mb", type=click.IntRange(min=0), default=0, help="Most memory of a worker; 0: no limit.")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def start(
    ctx: click.Context,
    /,
    name: str,
    version: str,
    *,
    share: float,
    then: str,
    judges: tuple[Signal, ...],
    bad_rules: tuple[str, ...],
    latency_ms: float | None,
    champion_p99: bool,
    reason: str,
    as_json: bool,
    **limits: object,
) -> None:
    """Give a version a share of the traffic.  Example: mainspring rollout start flights 4 --share 0.1 --then 0.5"""
    serving = room(ctx, Serving)
    spec = RolloutSpec(
        then=_shares(then),
        min_duration_us=cast(int, limits["hours"]) * HOUR_US,
        max_duration_us=cast(int, limits["days"]) * 24 * HOUR_US,
        promote_on=cast(Signal, limits["promote_on"]),
        latency_us=round((latency_ms or 0) * 1000) or (serving.champion_p99_us(name) if champion_p99 else 0),
        max_memory_mb=cast(int, limits["max_memory_mb"]),
        bad_rules=bad_rules,
    )
    spec = replace(spec, judges=judges or spec.judges)
    made = serving.start_rollout(name, version, share=share, spec=spec, reason=reason)
    tell_served(serving, name)
    show(made, f"version {made.version} gets {share:.0%} of {name}; see: mainspring rollout status {name}")


@rollout.command("status")
@click.argument("name", default="")
@json_option
@click.pass_context
def status(ctx: click.Context, name: str, as_json: bool) -> None:
    """Rollouts, newest first, and what the evidence says.  Example: mainspring rollout status flights"""
    serving = room(ctx, Serving)
    table(
        [_line(serving, entry) for entry in serving.rollouts(name)],
        ("id", "deployment", "version", "share", "state", "harm", "no_harm", "reason", "started_at"),
        empty="no rollout yet\ntry: mainspring rollout start NAME VERSION",
    )


@rollout.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def pause(ctx: click.Context, name: str, reason: str, as_json: bool) -> None:
    """Leave the canary at its share until it is resumed; harm still rolls it back."""
    done = room(ctx, Serving).pause(name, reason)
    show(done, f"version {done.version} stays at {done.share:.0%} of {name}; go on: mainspring rollout resume {name}")


@rollout.command("resume")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def resume(ctx: click.Context, name: str, reason: str, as_json: bool) -> None:
    """Let a rollout go on that was paused, or held when its time was up."""
    done = room(ctx, Serving).resume(name, reason)
    show(done, f"the rollout of version {done.version} goes on at {done.share:.0%} of {name}")


@rollout.command("promote")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def promote(ctx: click.Context, name: str, reason: str, as_json: bool) -> None:
    """Give the canary all traffic, proof or not."""
    serving = room(ctx, Serving)
    done = serving.promote(name, reason)
    tell_served(serving, name)
    show(done, f"{name} serves version {done.version}")


@rollout.command("rollback")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def rollback(ctx: click.Context, name: str, reason: str, as_json: bool) -> None:
    """Give all traffic back to the champion or, without a rollout, to the version before it."""
    serving = room(ctx, Serving)
    now = serving.rollback(name, reason)
    tell_served(serving, name)
    show(now, f"{name} serves version {now.champion}")


@rollout.command("live")
@click.argument("name")
@click.option("--at", default="", metavar="TIME", help="ISO 8601 (default: all changes, newest first).")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@json_option
@click.pass_context
def live(ctx: click.Context, name: str, *, at: str, limit: int, as_json: bool) -> None:
    """Who answered at a time, since when, by whom and why.  Example: mainspring rollout live flights --at 2026-11-21"""
    serving = room(ctx, Serving)
    if not at:
        found = serving.history(name, limit=limit)
        lines = [{"since_at": c.at, "traffic": c.traffic.words, "actor": c.actor, "reason": c.reason} for c in found]
        table(found if as_json else lines, ("since_at", "traffic", "actor", "reason"))
        return
    change = serving.live_at(name, micros(at))
    if change is None:
        show(None, f"{name} was not there yet at {at}")
        return
    until = f"until {iso(change.until)[:19]}" if change.until else "and is live now"
    show(change, f"{change.traffic.words} since {iso(change.at)[:19]} {until}: {change.reason or 'no reason given'}")


def _line(serving: Serving, found: Rollout) -> dict[str, object]:
    decision = found.decision if found.is_final else serving.judge(found.id)
    harm = max(decision.harm.values(), default=1.0)
    values = {name: getattr(found, name) for name in ("id", "deployment", "version", "share", "state", "started_at")}
    return {**values, "harm": harm, "no_harm": decision.no_harm, "reason": decision.reason}


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part)
    except ValueError:
        raise Invalid(f"{text!r} is no list of shares", where="--then", hint="--then 0.5,0.75") from None
