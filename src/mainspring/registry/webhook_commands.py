"""Webhooks on the command line."""

from __future__ import annotations

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.registry.notices import EXAMPLES
from mainspring.registry.webhooks import Webhooks


@click.group("webhooks")
def group() -> None:
    """Addresses that are told what happens in the registry."""


@group.command("ls")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List webhooks.  Example: mainspring webhooks ls"""
    empty = "no webhooks; add one: mainspring webhooks add NAME URL --event model_version.created"
    table(room(ctx, Webhooks).webhooks(limit=1000), ("id", "name", "url", "status", "events"), empty=empty)


@group.command("add")
@click.argument("name")
@click.argument("url")
@click.option(
    "--event", "events", multiple=True, required=True, type=click.Choice(sorted(EXAMPLES)), help="What about."
)
@click.option("--secret", envvar="MAINSPRING_WEBHOOK_SECRET", default="", help="Signs deliveries; never shown again.")
@json_option
@click.pass_context
def add(ctx: click.Context, /, name: str, url: str, events: tuple[str, ...], secret: str, as_json: bool) -> None:
    """Tell an address.  Example: mainspring webhooks add ci https://ci.example.org/ --event model_version.created"""
    made = room(ctx, Webhooks).create(name, url, events, secret=secret)
    show(made, f"{made.ref} is told about {', '.join(made.events)} from now on.")


@group.command("test")
@click.argument("webhook_id")
@click.option("--event", default="", help="Whose example is sent; the first of the webhook when absent.")
@json_option
@click.pass_context
def test(ctx: click.Context, webhook_id: str, event: str, as_json: bool) -> None:
    """Send an example now.  Example: mainspring webhooks test 0190..."""
    reply = room(ctx, Webhooks).test(webhook_id, event)
    show(reply, f"answered {reply.status}: {reply.body[:200]}")


@group.command("rm")
@click.argument("webhook_id")
@json_option
@click.pass_context
def remove(ctx: click.Context, webhook_id: str, as_json: bool) -> None:
    """Tell an address nothing any more.  Example: mainspring webhooks rm 0190..."""
    room(ctx, Webhooks).delete(webhook_id)
    show({"deleted": webhook_id}, f"webhooks/{webhook_id} is gone.")
