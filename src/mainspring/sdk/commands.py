"""What the SDK left on disk, sent from the command line."""

from __future__ import annotations

import os

import click

from mainspring.core.console import json_option, plain, show
from mainspring.core.errors import Failed
from mainspring.sdk.session import TOKEN_VARIABLE, URL_VARIABLE, open_session
from mainspring.tracking.spool import Progress

_MB = 1e6


@click.command()
@click.option(
    "--to",
    default="",
    metavar="URL",
    help="A server or data folder that takes them all (default: what was meant for the usual one).",
)
@click.option("--token", default="", help="For servers that ask who is there (default: MAINSPRING_TOKEN).")
@json_option
def sync(to: str, token: str, as_json: bool) -> None:
    """Send runs that were logged offline, and what killed programs left. May be stopped and called again.

    Example: mainspring sync --to http://127.0.0.1:7600
    """
    said: dict[str, Progress] = {}

    def told(progress: Progress) -> None:
        before = said.get(progress.run_id)
        said[progress.run_id] = progress
        if as_json:
            return
        if before is None or before.state != progress.state or before.left_bytes - progress.left_bytes > _MB:
            click.echo(_line(progress))

    place, secret = to or os.environ.get(URL_VARIABLE, ""), token or os.environ.get(TOKEN_VARIABLE, "")
    session = open_session(place, secret, recovering=False)
    try:
        session.sync(told=told, any_target=bool(to))
    finally:
        session.close()
    if as_json:
        show(plain(list(said.values())), as_json=True)
    elif not said:
        click.echo("nothing waits to be sent")
    refused = [run_id for run_id, progress in said.items() if progress.state == "refused"]
    if refused:
        hint = "read the .reason file beside each"
        raise Failed(f"{len(refused)} of {len(said)} runs were refused and put aside", where=refused[0], hint=hint)


def _line(progress: Progress) -> str:
    left = f"{progress.left_bytes / _MB:.1f} MB left" if progress.left_bytes else ""
    reason = progress.reason.splitlines()[0] if progress.reason else ""
    return "  ".join(part for part in (progress.run_id, f"{progress.state:<8}", left, reason) if part).rstrip()
