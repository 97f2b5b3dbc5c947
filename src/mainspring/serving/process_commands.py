"""The model server's processes on the command line."""

from __future__ import annotations

import click

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
