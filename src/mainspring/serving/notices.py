"""What a command says on standard error when it changed who answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mainspring.serving.supervisor import wait_served

if TYPE_CHECKING:
    from mainspring.serving.service import Serving


def tell_served(serving: Serving, name: str) -> None:
    """Wait until the model server has a change of an endpoint.

    Says that none runs, and which versions are served with other packages than they were made with.
    """
    if not wait_served(serving.folder):
        click.echo("no model server runs; `mainspring up` starts it", err=True)
    for version, why in serving.differing(name).items():
        click.echo(f"warning: version {version}: {why}; with its own packages: --process own", err=True)
