"""What is done to alarms, on the command line."""

from __future__ import annotations

import click

from mainspring.core.clock import iso, span_us
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Invalid
from mainspring.data.sources import read_source
from mainspring.monitoring.model import CAUSES
from mainspring.monitoring.notices.telling import Notices
from mainspring.monitoring.replaying import is_file, replay_frame, spec_of
from mainspring.monitoring.service import Monitoring

_SILENCES = ("id", "deployment", "cause", "column", "until_at", "why", "created_by", "state")


@click.command("silence")
@click.argument("deployment", default="")
@click.option("--for", "span", required=True, help="How long, such as 8h or 7d.")
@click.option("--why", required=True, help="For those who wonder.")
@click.option("--cause", default="", type=click.Choice(["", *CAUSES]), help="Only alarms of this cause.")
@click.option("--column", default="", help="Only alarms about this column.")
@json_option
@click.pass_context
def silence(
    ctx: click.Context, /, deployment: str, span: str, why: str, cause: str, column: str, as_json: bool
) -> None:
    """Tell nobody of alarms for a while.  Example: mainspring monitor silence late-flights --for 8h --why "storm" """
    desk = room(ctx, Monitoring).desk
    until = desk.after(span_us(span, "--for"))
    made = desk.silence(until=until, why=why, deployment=deployment, cause=cause, column=column)
    show(made, f"{made.ref} holds until {iso(made.until)[:16]}; end it: mainspring monitor unsilence {made.id[-8:]}")


@click.command("unsilence")
@click.argument("silence_id")
@json_option
@click.pass_context
def unsilence(ctx: click.Context, silence_id: str, as_json: bool) -> None:
    """End a silence before its time.  Example: mainspring monitor unsilence 33445566"""
    ended = room(ctx, Monitoring).desk.unsilence(silence_id)
    show(ended, f"{ended.ref} is over; its alarms are open again.")


@click.command("silences")
@click.option("--ended", is_flag=True, help="Those that are over too.")
@json_option
@click.pass_context
def silences(ctx: click.Context, ended: bool, as_json: bool) -> None:
    """List silences, newest first.  Example: mainspring monitor silences"""
    desk = room(ctx, Monitoring).desk
    found = desk.silences(ended=ended)
    if as_json:
        show(found, as_json=True)
        return
    rows = [
        {
            **{name: getattr(entry, name) for name in ("id", "deployment", "cause", "column", "why", "created_by")},
            "until_at": entry.until,
            "state": "holds" if entry.holds(desk.after(0)) else "over",
        }
        for entry in found
    ]
    table(rows, _SILENCES, empty="nothing is silenced")


@click.command("close")
@click.argument("alarm")
@click.option("--note", default="", help="Kept with the alarm and in the event log.")
@json_option
@click.pass_context
def close(ctx: click.Context, alarm: str, note: str, as_json: bool) -> None:
    """Note that an alarm is over.  Example: mainspring monitor close 33445566 --note "fixed upstream" """
    closed = room(ctx, Monitoring).desk.close(alarm, note)
    show(closed, f"{closed.ref} ({closed.cause} of {closed.deployment}) is closed.")


@click.command("notify")
@click.option("--test", "channel", default="", help="Send an example to this channel now.")
@json_option
@click.pass_context
def notify(ctx: click.Context, channel: str, as_json: bool) -> None:
    """List who is told of alarms, or tell one of them now.  Example: mainspring monitor notify --test ops"""
    notices = room(ctx, Notices)
    if channel:
        said = notices.test(channel)
        show({"channel": channel, "said": said}, f"{channel} was told: {said}")
        return
    rows = [
        {"name": one.name, "kind": one.kind, "on": ", ".join(one.on), "deployments": ", ".join(one.deployments)}
        for one in notices.channels.values()
    ]
    empty = "nobody is told; add a section [notify.NAME] to mainspring.toml"
    table(rows, ("name", "kind", "on", "deployments"), empty=empty)


@click.command("replay")
@click.argument("what")
@click.option("--policy", "changes", multiple=True, help="A setting of [monitor], such as budget=4. May be repeated.")
@click.option("--time", "time_column", default="", help="Of a file: the column that tells the time.")
@click.option("--reference", type=click.Path(exists=True), help="Of a file: what its days are compared with.")
@json_option
@click.pass_context
def replay(
    ctx: click.Context, /, what: str, changes: tuple[str, ...], time_column: str, reference: str, as_json: bool
) -> None:
    """Show which alarms other settings would have raised.  Example: mainspring monitor replay late --policy budget=4"""
    monitoring, given = room(ctx, Monitoring), _pairs(changes)
    if is_file(what):
        rows, base = read_source(what)[0], read_source(reference)[0] if reference else None
        found = replay_frame(rows, spec_of(monitoring.spec, given), time_column=time_column, reference=base)
    else:
        found = monitoring.replay(what, given)
    lines = [f"{iso(one.window_end)[:16]}  version {one.version}  {one.cause}: {one.text}" for one in found.alarms]
    ends = f"{iso(found.since)[:10]} to {iso(found.until)[:10]}, " if found.windows else ""
    total = f"{len(found.alarms)} alarms in {found.windows} windows ({ends}budget {found.spec.budget:g} a year)"
    show(found, "\n".join([*lines, total]))


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    for text in given:
        if "=" not in text:
            raise Invalid(f"{text[:60]!r} sets nothing", where="--policy", hint="--policy budget=4")
    return {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in given)}


commands = (notify, replay, silence, unsilence, silences, close)
