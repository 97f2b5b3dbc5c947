"""Model cards on the command line."""

from __future__ import annotations

import click

from mainspring.core.console import json_option, room, show
from mainspring.governance.service import Governance


@click.command("card")
@click.argument("model")
@click.argument("version", default="latest")
@click.option("--purpose", default=None, help="What the model is for; kept on later cards.")
@click.option("--limitations", default=None, help="What it must not be used for; kept on later cards.")
@json_option
@click.pass_context
def card(
    ctx: click.Context, model: str, version: str, *, purpose: str | None, limitations: str | None, as_json: bool
) -> None:
    """Write and print the model card of a version, as Markdown.

    Example: mainspring card flights champion --limitations "US flights only"
    """
    found = room(ctx, Governance).card(model, version, purpose=purpose, limitations=limitations)
    show(found, found.markdown())
