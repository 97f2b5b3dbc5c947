"""Triggers on the command line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, room, show, table
from mainspring.loop.triggers.model import Fire
from mainspring.loop.triggers.service import Triggers, TriggerView


@click.group()
def group() -> None:
    """Schedules, events and deliveries that start pipelines."""


@group.command("ls")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Triggers with their next time and what they did last.  Example: mainspring triggers ls"""
    found = room(ctx, Triggers).triggers()
    if as_json:
        show(found, as_json=True)
        return
    rows = [
        {
            "name": each.name,
            "watches": each.on,
            "starts": each.starts,
            "next_at": each.next[0] if each.next else "",
            "last": f"{each.last.outcome.replace('_', ' ')} {iso(each.last.at)[:19]}" if each.last else "",
            "why_not": each.why_not,
        }
        for each in found
    ]
    empty = "no trigger yet; write [trigger.NAME] into mainspring.toml, then: mainspring apply"
    table(rows, ("name", "watches", "starts", "next_at", "last", "why_not"), empty=empty)


@group.command("show")
@click.argument("name")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="So many fires.")
@json_option
@click.pass_context
def show_(ctx: click.Context, name: str, limit: int, as_json: bool) -> None:
    """One trigger and what it did, also nothing, and why.  Example: mainspring triggers show nightly"""
    triggers = room(ctx, Triggers)
    found, fires = triggers.view(name), triggers.fires(name, limit=limit)
    show({"trigger": found, "fires": fires}, "\n".join(_lines(found, fires)), as_json=as_json)


@group.command("fire")
@click.argument("name")
@click.option("--reason", default="", help="Kept with the fire.")
@click.option("--key", default="", help="The same key fires once.")
@click.option("--force", is_flag=True, help="Also when it is paused, cooling down or over its budget.")
@json_option
@click.pass_context
def fire(ctx: click.Context, name: str, reason: str, key: str, force: bool, as_json: bool) -> None:
    """Start what a trigger starts; a running server does the work.  Example: mainspring triggers fire nightly"""
    made = room(ctx, Triggers).fire(name, key=key, reason=reason, force=force)
    show(made, f"{made.outcome.replace('_', ' ')}: {made.reason}{_ref(made)}", as_json=as_json)


@group.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Shown with the trigger.")
@json_option
@click.pass_context
def pause(ctx: click.Context, name: str, reason: str, as_json: bool) -> None:
    """Let a trigger fire nothing until it is resumed.  Example: mainspring triggers pause nightly"""
    show(room(ctx, Triggers).pause(name, reason=reason), f"{name} is paused", as_json=as_json)


@group.command("resume")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def resume(ctx: click.Context, name: str, reason: str, as_json: bool) -> None:
    """Let a paused trigger fire again.  Example: mainspring triggers resume nightly"""
    show(room(ctx, Triggers).resume(name, reason=reason), f"{name} fires again", as_json=as_json)


@group.command("test")
@click.argument("name")
@json_option
@click.pass_context
def test(ctx: click.Context, name: str, as_json: bool) -> None:
    """What a trigger would do now; nothing is started.  Example: mainspring triggers test nightly"""
    found = room(ctx, Triggers).test(name, deep=True)
    said = {"fired": "would fire", "dry_run": "would say what it would do", "not_fired": "would not fire"}
    lines = [f"{name} {said[found.outcome]}{': ' if found.reason else ''}{found.reason}"]
    lines += [f"  starts {found.starts}" + (f" with {dict(found.params)}" if found.params else "")]
    lines += [f"  due {iso(at)[:19]}" for at in found.next]
    lines += [f"  but {found.problem}"] if found.problem else []
    show(found, "\n".join(lines), as_json=as_json)


def _lines(found: TriggerView, fires: Sequence[Fire]) -> list[str]:
    state, shown = found.state, found.state.trigger.to_json()
    lines = [f"{found.name}  watches {found.on}, starts {found.starts}"]
    lines += [f"  {key} = {value}" for key, value in shown.items() if key not in ("on", "pipeline", "policy")]
    lines += [f"  due {iso(at)[:19]}" for at in found.next]
    if found.why_not:
        lines.append(f"  does not fire now: {found.why_not}")
    elif state.is_paused:
        lines.append("  paused")
    for each in fires:
        again = f" ({each.times} times)" if each.times > 1 else ""
        said = f"{each.outcome.replace('_', ' ')}: {each.reason}{_ref(each)}{again}"
        lines.append(f"{iso(each.at)[:19]}  {each.cause}  {said}")
    return lines


def _ref(made: Fire) -> str:
    return f", {made.started}" if made.started else ""
