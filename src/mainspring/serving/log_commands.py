"""The prediction log on the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, room, show
from mainspring.serving.model import LoggedPrediction
from mainspring.serving.service import Serving


@click.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(0, 1000), default=20, show_default=True, help="How many of the newest.")
@click.option("--version", type=click.IntRange(min=1), help="Only what this version answered.")
@click.option("--failed", is_flag=True, help="Only what got an error for an answer.")
@click.option("--follow", is_flag=True, help="Go on with what is answered from now on, until Ctrl-C.")
@click.option(
    "--every", "every_s", default=1.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between two looks."
)
@json_option
@click.pass_context
def logs(
    ctx: click.Context,
    /,
    name: str,
    *,
    limit: int,
    version: int | None,
    failed: bool,
    follow: bool,
    every_s: float,
    as_json: bool,
) -> None:
    """What an endpoint was asked and answered, the newest last.  Example: mainspring logs flights --failed --follow

    With --follow, --json prints a line for each. All that is known of one of them: mainspring why ID.
    """
    serving = room(ctx, Serving)
    serving.compact()
    position = serving.position(name) if follow else {}
    found = serving.recent(name, limit, version=version, failed=failed) if limit else []
    if not follow:
        show(found[::-1], "\n".join(map(_line, found[::-1])) or "nothing here yet")
        return
    _tell(found[::-1], as_json=as_json)
    while True:
        time.sleep(every_s)
        serving.compact()
        _tell(serving.news(name, position, version=version, failed=failed), as_json=as_json)


def _tell(rows: Sequence[LoggedPrediction], *, as_json: bool) -> None:
    for row in rows:
        show(row, _line(row), as_json=as_json)
    sys.stdout.flush()


def _line(row: LoggedPrediction) -> str:
    given = {"probability": row.probability, "prediction": row.prediction, "label": row.label_out}
    said = ", ".join(f"{what} {value}" for what, value in given.items() if value is not None)
    inputs = ", ".join(f"{column}={value}" for column, value in row.inputs.items())
    answered = said or f"{row.status} {row.error}"
    rules = f"  [{', '.join(row.marks)}]" if row.marks else ""
    return f"{iso(row.at)[:19]}  {row.id}  v{row.version} {row.arm}  {answered}  {row.latency_us} us{rules}  {inputs}"
