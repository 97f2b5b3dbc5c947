"""Parts on the command line, for containers of a platform."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

import click

from mainspring.core.console import room
from mainspring.core.errors import Invalid, MainspringError, Refused
from mainspring.pipelines.parts.model import AGAIN, Part, What
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.worker import Stopping

REFUSED = 4
"""Exit code of a run that a gate or a person refused."""


@click.command("part")
@click.argument("target", metavar="FILE:NAME")
@click.argument("what", type=click.Choice([each.value for each in What]))
@click.option("--key", required=True, help="Of the run: whoever says the same works on the same run.")
@click.option("--step", default="", help="Which step.")
@click.option("--item", default=0, help="Which item of a step that goes through a list.")
@click.option("--depth", default=0, help="Which condition of the step, the outermost is 0.")
@click.option("--params", "whole", default="", metavar="JSON", help="All parameters, as one JSON object.")
@click.option("--shape", default="", help="Digest of the steps as they were exported; others are refused.")
@click.option("--out", default="", metavar="FILE", help="Where the count of a list or a decision is written.")
@click.pass_context
def part(
    ctx: click.Context,
    /,
    target: str,
    what: str,
    *,
    key: str,
    step: str,
    item: int,
    depth: int,
    whole: str,
    shape: str,
    out: str,
) -> None:
    """Do one part of a run here, for a platform that starts a container for each: see docs/export.md.

    Exits with 0 when it is done, 75 when it may be tried again, 4 when it was refused, else 1.

    Example: mainspring pipeline part train.py:flights step --step train --key nightly-17
    """
    wanted = Part(what=What(what), step=step, item=item, depth=depth, shape=shape)
    pipelines, stopping = room(ctx, Pipelines), until_stopped()
    run = pipelines.join(target, json_object(whole, "--params"), key=key)
    try:
        ended = pipelines.parts.do(run, wanted, stopping)
    except Stopping:
        sys.exit(AGAIN)
    if wanted.row:
        _tell_log(pipelines, run, wanted.row)
    if ended.error is not None:
        click.echo(str(ended.error), err=True)
        sys.exit(REFUSED if ended.error.code == Refused.code else 1)
    if ended.is_again:
        click.echo(f"{wanted.row} has failed and may be tried again", err=True)
        sys.exit(AGAIN)
    if out:
        _write(Path(out), wanted, ended.value)
    click.echo(f"{what} {wanted.row} of run {run} is done", err=True)


def _write(path: Path, part: Part, value: object) -> None:
    """A list is the numbers of its items: a platform goes through these."""
    numbers = list(range(value)) if isinstance(value, int) and part.what is What.LIST else value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers))


def _tell_log(pipelines: Pipelines, run: str, step: str) -> None:
    try:
        text = pipelines.log(run, step).rstrip()
    except MainspringError:
        return  # it has not had its turn
    if text:
        click.echo(text)


def until_stopped() -> threading.Event:
    """An event that is set when this process is told to stop, which the first process of a container has to hear."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    return stopping


def json_object(text: str, where: str) -> dict[str, object]:
    """The JSON object in a text; an empty one for an empty text.

    Raises:
        Invalid: It is no such object.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Invalid(f"{text[:60]!r} is no JSON object", where=where, hint=f"{where} '{{\"trees\": 200}}'")
    return found
