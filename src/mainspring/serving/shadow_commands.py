"""Shadows on the command line."""

from __future__ import annotations

import click

from mainspring.core.clock import micros
from mainspring.core.console import json_option, room, show, table
from mainspring.serving.model import Comparison
from mainspring.serving.notices import tell_served
from mainspring.serving.service import Serving
from mainspring.serving.steering import ShadowReport


@click.group()
def shadow() -> None:
    """Versions that are asked the same afterwards: start, stop, status."""


@shadow.command("start")
@click.argument("name")
@click.argument("version")
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="Of all requests."
)
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def start(ctx: click.Context, name: str, version: str, *, share: float, reason: str, as_json: bool) -> None:
    """Ask a version the same as those that answer, after they did.  Example: mainspring shadow start flights 4"""
    serving = room(ctx, Serving)
    made = serving.shadow(name, version, share=share, reason=reason)
    tell_served(serving, name)
    show(made, f"version {made.traffic.shadows[-1].version} shadows {name}; see: mainspring shadow status {name}")


@shadow.command("stop")
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def stop(ctx: click.Context, name: str, version: int, *, reason: str, as_json: bool) -> None:
    """Ask a shadow no more; what it said stays."""
    serving = room(ctx, Serving)
    made = serving.unshadow(name, version, reason=reason)
    tell_served(serving, name)
    show(made, f"version {version} is no shadow of {name} any more")


@shadow.command("status")
@click.argument("name")
@click.option("--since", default="", metavar="TIME", help="Earliest event time, ISO 8601 (default: all).")
@json_option
@click.pass_context
def status(ctx: click.Context, name: str, *, since: str, as_json: bool) -> None:
    """What shadows said beside what users were answered.  Example: mainspring shadow status flights"""
    found = room(ctx, Serving).shadows(name, since=micros(since) if since else None)
    if as_json:
        table(found, ())
        return
    table([line for report in found for line in _lines(report)], _COLUMNS, empty="no shadow yet")
    for report in found:
        for entry in report.comparisons:
            for line in troubles(entry):
                click.echo(line)


_COLUMNS = (
    "version", "against", "share", "pairs", "failed", "dropped", "differing", "apart", "loss", "loss_difference",
    "verdict",
)  # fmt: skip


def _lines(report: ShadowReport) -> list[dict[str, object]]:
    about: dict[str, object] = {"version": report.version, "share": report.share, "dropped": report.dropped}
    return [about | line_of(entry) for entry in report.comparisons] or [about]


def line_of(entry: Comparison) -> dict[str, object]:
    """A comparison as a line of a table."""
    lost = entry.loss_difference
    bounds = "" if lost.low is None or lost.high is None else f" ({lost.low:+.4g} to {lost.high:+.4g})"
    return {
        "version": entry.version,
        "against": entry.against,
        "pairs": entry.answered,
        "failed": entry.failed,
        "differing": f"{entry.differing:.2%}",
        "apart": f"{entry.distance[0]:.4g}" if entry.distance else "",
        "loss": entry.loss,
        "loss_difference": f"{lost.mean:+.4g}{bounds}" if lost.pairs else "",
        "verdict": entry.verdict,
    }


def troubles(entry: Comparison) -> list[str]:
    """What a version could not answer, a line each."""
    refused = [f"version {entry.version}: input {name!r} was refused in {rows} rows" for name, rows in entry.columns]
    return refused + [f"version {entry.version}: {what or 'no reason'}, in {rows} rows" for what, rows in entry.errors]
