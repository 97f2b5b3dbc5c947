"""The test for skew on the command line, among the commands of feature views."""

from __future__ import annotations

import click

from mainspring.core.clock import micros
from mainspring.core.console import json_option, room, show, table
from mainspring.data.feature_commands import group
from mainspring.serving.service import Serving
from mainspring.serving.skew import REASONS

__all__ = ["group"]
_DIFFERS = 4


@group.command("skew")
@click.argument("deployment")
@click.option("--since", default="", metavar="TIME", help="Event time of the first prediction, ISO 8601.")
@click.option("--until", default="", metavar="TIME", help="Event time that is left out.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-9, show_default=True, help="Of numbers, as a part of them."
)
@click.option(
    "--allow", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Part of rows that may differ."
)
@click.option(
    "--most", type=click.IntRange(1, 1_000_000), default=100_000, show_default=True, help="The newest so many."
)
@json_option
@click.pass_context
def skew(
    ctx: click.Context,
    /,
    deployment: str,
    *,
    since: str,
    until: str,
    tolerance: float,
    allow: float,
    most: int,
    as_json: bool,
) -> None:
    """Compute again what was looked up for predictions, as training tables are made. Exit code 4: it differs.

    Example: mainspring features skew flights --since 2013-06-01
    """
    ends = [micros(text) if text else None for text in (since, until)]
    found = room(ctx, Serving).skew(deployment, ends[0], ends[1], tolerance=tolerance, most=most)
    lines = [f"{found.rows:,} predictions, {found.values:,} looked up inputs: {found.differing:,} predictions differ"]
    lines += [f"  {count:,}  {REASONS[reason]}" for reason, count in found.reasons.items()]
    lines += [f"{found.skipped:,} more have a redacted entity"] if found.skipped else []
    show(found, "\n".join(lines))
    if not as_json and found.examples:
        table(found.examples, ("prediction_id", "view", "input", "served", "offline", "reason"))
    if found.differing > allow * found.rows:
        ctx.exit(_DIFFERS)
