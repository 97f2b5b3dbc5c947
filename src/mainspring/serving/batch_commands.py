"""Batches of a server on the command line."""

from __future__ import annotations

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.serving.batch.desk import Batch, BatchDesk, BatchOrder, Format

_COLUMNS = ("id", "deployment", "dataset", "state", "done", "chunks", "answered", "quarantined", "error")


@click.group("batches")
def group() -> None:
    """Batches that a running server answers: a dataset version in, a file out."""


@group.command("start")
@click.argument("deployment")
@click.argument("dataset")
@click.option("--version", type=click.IntRange(min=1), default=None, help="A version instead of the live one.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Column that goes to the answers (default: all).")
@click.option("--no-log", is_flag=True, help="Keep the rows out of the prediction log, where monitors count them.")
@click.option("--time-column", default="", help="Event time of the rows in the log (default: now).")
@click.option("--format", "format_", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="How many answer at once.")
@json_option
@click.pass_context
def start(
    ctx: click.Context,
    /,
    deployment: str,
    dataset: str,
    *,
    version: int | None,
    keep: tuple[str, ...],
    no_log: bool,
    time_column: str,
    format_: Format,
    processes: int,
    as_json: bool,
) -> None:
    """Have a dataset version answered.  Example: mainspring batches start flights datasets/january/2"""
    order = BatchOrder(
        deployment=deployment,
        dataset=dataset,
        version=version,
        keep=keep,
        log=not no_log,
        time_column=time_column,
        format=format_,
        processes=processes,
    )
    made = room(ctx, BatchDesk).start(order)
    show(made, f"{made.ref} waits for a server; see: mainspring batches ls")


@group.command("ls")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List them, newest first, and how far they are.  Example: mainspring batches ls"""
    found = room(ctx, BatchDesk).list()
    if as_json:
        show(found, as_json=True)
        return
    table([_row(batch) for batch in found], _COLUMNS, empty="no batch yet\ntry: mainspring batches start NAME DATASET")


@group.command("cancel")
@click.argument("batch")
@json_option
@click.pass_context
def cancel(ctx: click.Context, batch: str, as_json: bool) -> None:
    """Stop one; what is answered stays.  Example: mainspring batches cancel 0193..."""
    done = room(ctx, BatchDesk).cancel(batch)
    show(done, f"{done.ref} is {done.state}; go on: mainspring batches resume {batch}")


@group.command("resume")
@click.argument("batch")
@json_option
@click.pass_context
def resume(ctx: click.Context, batch: str, as_json: bool) -> None:
    """Go on with one that was cancelled or failed.  Example: mainspring batches resume 0193..."""
    done = room(ctx, BatchDesk).resume(batch)
    show(done, f"{done.ref} is {done.state}")


def _row(batch: Batch) -> dict[str, object]:
    order = {"deployment": batch.order.deployment, "dataset": batch.order.dataset}
    return {name: order[name] if name in order else getattr(batch, name) for name in _COLUMNS}
