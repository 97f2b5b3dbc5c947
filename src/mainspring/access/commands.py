"""`mainspring audit`: seal and verify the event log."""

from __future__ import annotations

import click

from mainspring.access.audit import Audit
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Refused


@click.group("audit")
def group() -> None:
    """Seal and verify the event log."""


@group.command()
@json_option
@click.pass_context
def seal(ctx: click.Context, as_json: bool) -> None:
    """Seal every event that is not sealed yet.  Example: mainspring audit seal"""
    made = room(ctx, Audit).seal()
    head = f" head {made[-1].digest()}" if made else ""
    show(made, f"{len(made)} checkpoints made over {sum(c.count for c in made)} events.{head}")


@group.command()
@click.option("--head", default="", help="Digest of a checkpoint you kept elsewhere; it must still be in the chain.")
@json_option
@click.pass_context
def verify(ctx: click.Context, head: str, as_json: bool) -> None:
    """Look for events that were changed, moved, added or taken away.  Example: mainspring audit verify

    Works without a server. Exit code 4 when something does not add up.
    """
    report = room(ctx, Audit).verify(head=head)
    lines = [f"{report.sealed} events under {report.checkpoints} checkpoints, {report.unsealed} not sealed yet."]
    lines += [f"checkpoint {f.checkpoint}: {f.what}" if f.checkpoint else f.what for f in report.faults]
    lines += [f"All is well. head {report.head}"] if report.ok else []
    show(report, "\n".join(lines))
    if not report.ok:
        raise Refused(
            f"the event log does not add up: {len(report.faults)} faults",
            where="audit chain",
            hint="compare with a backup; what is listed was changed outside Mainspring",
        )


@group.command("ls")
@click.option("--after", default=0, show_default=True, help="Only checkpoints with a higher number.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@json_option
@click.pass_context
def list_checkpoints(ctx: click.Context, after: int, limit: int, as_json: bool) -> None:
    """List checkpoints, oldest first.  Example: mainspring audit ls --json"""
    found = [
        {"number": c.number, "events": f"{c.first_seq}-{c.last_seq}", "at": c.at, "key": c.key, "digest": c.digest()}
        for c in room(ctx, Audit).checkpoints(after=after, limit=limit)
    ]
    table(found, ["number", "events", "at", "key", "digest"], empty="nothing is sealed yet; try: mainspring audit seal")
