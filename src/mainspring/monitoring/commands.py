"""Monitoring on the command line."""

from __future__ import annotations

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, room, show, table
from mainspring.monitoring import alarm_commands, performance_commands, vector_commands
from mainspring.monitoring.model import ALARM_STATES, UNSEEN_STATES, Alarm, Judgement, MonitorStatus
from mainspring.monitoring.report_commands import drift
from mainspring.monitoring.service import Monitoring

_COLUMNS = ("id", "state", "deployment", "version", "cause", "window_start_at", "window_end_at", "text")


@click.group("monitor")
def group() -> None:
    """Drift and performance of what is live."""


group.add_command(drift)


@group.command("ls")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List what is watched.  Example: mainspring monitor ls"""
    columns = ("deployment", "predictions", "labels", "created_at")
    empty = "nothing is watched yet: mainspring deploy MODEL --version 1"
    table(room(ctx, Monitoring).monitors(), columns, empty=empty)


@group.command("status")
@click.argument("deployment")
@json_option
@click.pass_context
def status(ctx: click.Context, deployment: str, as_json: bool) -> None:
    """Show how a deployment is doing.  Example: mainspring monitor status late-flights"""
    monitoring = room(ctx, Monitoring)
    monitoring.observe(deployment)
    found = monitoring.status(deployment)
    held = [
        f"intervals of version {entry.version} held {entry.within} of {entry.rows} labels: "
        f"{entry.share:.1%} ({entry.low:.1%} to {entry.high:.1%})"
        for entry in monitoring.coverage(deployment)
    ]
    show(found, "\n".join([*_status_lines(found), *held]))


@group.command("alarms")
@click.argument("deployment", default="")
@click.option("--state", default="", type=click.Choice(["", *ALARM_STATES]), help="Only alarms in this state.")
@click.option("--limit", default=100, type=click.IntRange(1, 500), show_default=True)
@json_option
@click.pass_context
def alarms(ctx: click.Context, deployment: str, state: str, limit: int, as_json: bool) -> None:
    """List alarms, newest first.  Example: mainspring monitor alarms --state open"""
    found = room(ctx, Monitoring).alarms(deployment, states=[state] if state else [], limit=limit)
    if as_json:
        show(found, as_json=True)
    else:
        table([_alarm_row(alarm) for alarm in found], _COLUMNS, empty="no alarms")


@group.command("ack")
@click.argument("alarm")
@click.option("--note", default="", help="Kept with the alarm and in the event log.")
@json_option
@click.pass_context
def ack(ctx: click.Context, alarm: str, note: str, as_json: bool) -> None:
    """Note that you have seen an alarm.  Example: mainspring monitor ack 33445566 --note "summer timetable" """
    seen = room(ctx, Monitoring).acknowledge(alarm, note)
    show(seen, f"{seen.ref} ({seen.cause} of {seen.deployment}) is {seen.state}.")


for _command in (*alarm_commands.commands, *performance_commands.commands, *vector_commands.commands):
    group.add_command(_command)


def _alarm_row(alarm: Alarm) -> dict[str, object]:
    row = {name: getattr(alarm, name) for name in ("id", "state", "deployment", "version", "cause", "text")}
    return {**row, "window_start_at": alarm.window_start, "window_end_at": alarm.window_end}


def _status_lines(found: MonitorStatus) -> list[str]:
    monitor = found.monitor
    lines = [f"{found.state.upper()}  {monitor.deployment}, version {found.version}"]
    if not monitor.watermark:
        return [*lines, f"no prediction yet: mainspring predict {monitor.deployment} ROW.json"]
    lines.append(
        f"{monitor.predictions} predictions until {iso(monitor.watermark)[:16]} (event time), {monitor.labels} labels, "
        f"{found.awaiting_labels} without a label"
    )
    if found.measures:
        measures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(found.measures.items()))
        lines.append(f"realized over 30 days: {measures}")
    latest = {window.cause: window for window in found.windows if window.version == found.version}
    lines += [_window_line(window) for window in latest.values()]
    lines += [f"not judged: {problem}" for problem in found.problems]
    open_ones = [alarm for alarm in found.alarms if alarm.state in UNSEEN_STATES]
    return [*lines, *(f"alarm {alarm.id}: {alarm.text}" for alarm in open_ones)]


def _window_line(window: Judgement) -> str:
    until = iso(window.window_end)[:10]
    return f"{window.cause}: {window.state} until {until}, evidence {window.evidence:.3g} of {window.level:.0f}"
