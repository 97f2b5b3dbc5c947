"""The model server's processes on the command line."""

from __future__ import annotations

import click

from mainspring.core.clock import SECOND_US, span_us
from mainspring.core.console import json_option, room, show, table
from mainspring.serving.service import Serving


@click.command()
@json_option
@click.pass_context
def workers(ctx: click.Context, as_json: bool) -> None:
    """Processes of the model server, and how their number changed of late.  Example: mainspring workers"""
    found = room(ctx, Serving).workers()
    if as_json:
        show(found, as_json=True)
        return
    table(found.workers, ("pid", "generation", "memory_mb"), empty="no model server runs; `mainspring up` starts it")
    if found.changes:
        click.echo()
        table(found.changes[:10], ("at", "before", "after", "reason"))


@click.command()
@click.option("--for", "least", default="0s", metavar="SPAN", help="Only those that nobody asked for so long: 12h, 7d.")
@json_option
@click.pass_context
def idle(ctx: click.Context, least: str, as_json: bool) -> None:
    """Deployments by how long nobody has asked them.  Example: mainspring idle --for 7d"""
    found = room(ctx, Serving).idle(least_s=span_us(least) // SECOND_US)
    columns = ("name", "model", "state", "asked_at", "idle_s", "idle_after_s")
    table(found, columns, empty="nothing is idle for so long")
