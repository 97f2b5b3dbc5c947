"""Replays on the command line."""

from __future__ import annotations

import sys

import click

from mainspring.core.clock import micros
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Refused
from mainspring.serving.model import Comparison, Replay
from mainspring.serving.rules.pairs import is_no_worse
from mainspring.serving.service import Serving
from mainspring.serving.shadow_commands import line_of, troubles

_COLUMNS = (
    "version", "against", "pairs", "failed", "differing", "apart", "greatest", "loss", "loss_difference", "verdict",
    "p50_us", "p99_us",
)  # fmt: skip


@click.group()
def replay() -> None:
    """Logged traffic on a version that has no user yet: run, ls, show, cancel."""


@replay.command("run")
@click.argument("name")
@click.argument("version")
@click.option("--since", default="", metavar="TIME", help="Earliest event time, ISO 8601 (default: all).")
@click.option("--until", default="", metavar="TIME", help="First event time that is left out (default: now).")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100_000, show_default=True, help="Newest rows.")
@click.option("--no-worse-than", "margin", type=float, help="Exit with 4 unless a loss this much higher is ruled out.")
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    /,
    name: str,
    version: str,
    *,
    since: str,
    until: str,
    limit: int,
    margin: float | None,
    as_json: bool,
) -> None:
    """Ask a version what users asked, and compare. Ctrl-C ends it.  Example: mainspring replay run flights 4"""

    def tell(done: int, of: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done} of {of} rows", err=True, nl=done == of)

    serving = room(ctx, Serving)
    window = [micros(text) if text else None for text in (since, until)]
    found = serving.replay(name, version, since=window[0], until=window[1], limit=limit, tell=tell)
    _show(found)
    if margin is not None:
        for entry in found.report:
            if not is_no_worse(entry.loss_difference, margin):
                what = f"version {entry.version} is not shown to be less than {margin:g} worse than {entry.against}"
                raise Refused(what, where=found.ref, hint="take a longer window, or wait for labels")


@replay.command("ls")
@click.argument("name", default="")
@json_option
@click.pass_context
def ls(ctx: click.Context, name: str, as_json: bool) -> None:
    """Replays, newest first."""
    table(
        room(ctx, Serving).replays(name),
        ("id", "deployment", "version", "state", "done", "rows", "started_at", "actor", "reason"),
        empty="no replay yet\ntry: mainspring replay run NAME VERSION",
    )


@replay.command("show")
@click.argument("replay_id")
@json_option
@click.pass_context
def show_one(ctx: click.Context, replay_id: str, as_json: bool) -> None:
    """What came of a replay."""
    _show(room(ctx, Serving).find_replay(replay_id))


@replay.command("cancel")
@click.argument("replay_id")
@json_option
@click.pass_context
def cancel(ctx: click.Context, replay_id: str, as_json: bool) -> None:
    """End a replay before its time, whoever runs it."""
    found = room(ctx, Serving).cancel_replay(replay_id)
    show(found, f"{found.ref} is {found.state}")


def _show(found: Replay) -> None:
    context = click.get_current_context()
    if context.params.get("as_json"):
        show(found)
        return
    why = f": {found.reason}" if found.reason else ""
    click.echo(f"{found.ref} is {found.state}, {found.done} of {found.rows} rows{why}")
    if found.report:
        table([_line(entry) for entry in found.report], _COLUMNS)
    for entry in found.report:
        for line in troubles(entry):
            click.echo(line)


def _line(entry: Comparison) -> dict[str, object]:
    (p50, p99), (p50_new, p99_new) = entry.model_us
    return {
        **line_of(entry),
        "greatest": f"{entry.distance[3]:.4g}" if entry.distance else "",
        "p50_us": f"{p50_new:.0f} (was {p50:.0f})",
        "p99_us": f"{p99_new:.0f} (was {p99:.0f})",
    }
