"""Reviews on the command line."""

from __future__ import annotations

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.serving.model import Label, Review
from mainspring.serving.service import Serving

_COLUMNS = ("id", "state", "deployment", "prediction_id", "answer", "marks", "asked_at", "decision")


@click.group("reviews")
def group() -> None:
    """Predictions that wait for a person."""


@group.command("ls")
@click.argument("deployment", default="")
@click.option("--state", type=click.Choice(["open", "decided", "all"]), default="open", show_default=True)
@click.option("--limit", default=100, type=click.IntRange(1, 1000), show_default=True)
@json_option
@click.pass_context
def list_(ctx: click.Context, deployment: str, state: str, limit: int, as_json: bool) -> None:
    """List them, newest first.  Example: mainspring reviews ls flights"""
    found = room(ctx, Serving).reviews(deployment, state="" if state == "all" else state, limit=limit)
    if as_json:
        show(found, as_json=True)
        return
    rows = [{**_row(review), "marks": " ".join(review.marks)} for review in found]
    table(rows, _COLUMNS, empty="nothing waits for a person")
    for name, count in room(ctx, Serving).full_queues().items():
        click.echo(f"the queue of {name} is full ({count}): further rows are not put before anybody", err=True)


@group.command("show")
@click.argument("review")
@json_option
@click.pass_context
def show_(ctx: click.Context, review: str, as_json: bool) -> None:
    """Show one with the inputs it was asked with.  Example: mainspring reviews show 0193..."""
    serving = room(ctx, Serving)
    found = serving.review(review)
    asked = serving.prediction(found.prediction_id, deployment=found.deployment)
    lines = [f"{found.prediction_id} of {found.deployment}, {', '.join(found.marks)}: answered {found.answer}"]
    lines += [f"  {name}  {value}" for name, value in asked.inputs.items()]
    lines += [f"{found.decided_by} decided {found.decision}. {found.note}" if found.decided_at else "not decided yet"]
    show({"review": found, "inputs": asked.inputs}, "\n".join(lines))


@group.command("decide")
@click.argument("review")
@click.argument("value")
@click.option("--note", default="", help="Why; kept with the review and in the event log.")
@json_option
@click.pass_context
def decide(ctx: click.Context, review: str, value: str, note: str, as_json: bool) -> None:
    """Say what the answer should be, a number or a class.  Example: mainspring reviews decide 0193... 1"""
    made = room(ctx, Serving).decide(review, label_of(value), note)
    show(made, f"{made.prediction_id} of {made.deployment} is decided: {made.decision}")


def label_of(text: str) -> Label:
    """A number where the text is one, else the text.

    >>> label_of("1"), label_of("late")
    (1.0, 'late')
    """
    try:
        return float(text)
    except ValueError:
        return text


def _row(review: Review) -> dict[str, object]:
    return {name: getattr(review, name) for name in _COLUMNS}
