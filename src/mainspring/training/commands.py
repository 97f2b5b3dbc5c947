"""Training on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mainspring.core.console import json_option, printable, room, show, table
from mainspring.data import Data
from mainspring.training.model import Candidate, CandidateState, Estimate, Leaderboard, LeaderboardState, TrainRequest
from mainspring.training.service import Training


@click.command()
@click.option("--data", "source", required=True, metavar="NAME|FILE", help="A dataset, or a file to ingest first.")
@click.option("--target", required=True, help="The column to predict.")
@click.option("--task", default="", help="binary, multiclass or regression (default: guessed from the target).")
@click.option("--metric", default="", help="What candidates are ordered by (default: the usual one of the task).")
@click.option("--family", "families", multiple=True, help="Only this family; may be repeated.")
@click.option("--configurations", default=3, show_default=True, help="Most configurations of each family.")
@click.option("--budget", "budget_s", default=120.0, show_default=True, metavar="SECONDS", help="Time for the work.")
@click.option("--split", default="", metavar="NAME[/N]", help="A split that is there (default: one is made).")
@click.option("--how", default="", help="random, stratified, group or time (default: stratified).")
@click.option("--folds", default=5, show_default=True)
@click.option("--test", default=0.2, show_default=True, help="Share of the rows that is sealed.")
@click.option("--group", default="", metavar="COLUMN", help="Rows of one group stay together; no feature.")
@click.option("--time", default="", metavar="COLUMN", help="Folds follow each other in time.")
@click.option("--leave-out", multiple=True, metavar="COLUMN", help="No feature; may be repeated.")
@click.option("--fair", default="", metavar="COLUMN", help="Show the gap between groups of this column.")
@click.option("--register", default="", metavar="MODEL", help="Register the best under this name.")
@click.option("--open-test", is_flag=True, help="Measure the best on the sealed rows, which is counted.")
@click.option("--seed", default=0, show_default=True)
@click.option("--queue", is_flag=True, help="Leave it to the server's worker and return at once.")
@json_option
@click.pass_context
def train(ctx: click.Context, /, source: str, *, queue: bool, as_json: bool, **options: object) -> None:
    """Train many families of models on the same folds, and show which is best.

    Example: mainspring train --data flights.csv --target late --budget 60
    """
    request = TrainRequest(data=source, **{**options, "leave_out": tuple(_texts(options["leave_out"]))})  # type: ignore[arg-type]
    training = room(ctx, Training)
    if source.endswith((".csv", ".parquet", ".pq")):
        from dataclasses import replace

        from mainspring.training.sources import ingested

        request = replace(request, data=ingested(room(ctx, Data), Path(source)))
    board = training.start(request, here=not queue)
    if queue:
        show(board, f"queued as {board.id}; look: mainspring training show {board.id}", as_json=as_json)
        return
    _finish(training, board, as_json=as_json)


@click.group("training")
def group() -> None:
    """Leaderboards: look at them, stop them, go on with them."""


@group.command("ls")
@click.option("--data", default="", metavar="NAME", help="Only those of this dataset.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@json_option
@click.pass_context
def list_(ctx: click.Context, data: str, limit: int, as_json: bool) -> None:
    """List leaderboards, newest first.  Example: mainspring training ls --data flights"""
    boards = room(ctx, Training).leaderboards(data, limit=limit)
    if as_json:
        show(boards, as_json=True)
        return
    rows = [
        {
            "id": board.id,
            "dataset": board.dataset.removeprefix("datasets/"),
            "target": board.request.target,
            "state": board.state,
            "best": board.best.name if board.best else "",
            board.metric: board.best.score.value if board.best and board.best.score else "",
            "score": f"{board.metric} {board.best.score.value:.4g}" if board.best and board.best.score else "",
            "created_at": board.created_at,
        }
        for board in boards
    ]
    empty = "no leaderboards yet: mainspring train --data NAME --target COLUMN"
    table(rows, ("id", "dataset", "target", "state", "best", "score", "created_at"), empty=empty)


@group.command("show")
@click.argument("leaderboard")
@json_option
@click.pass_context
def show_(ctx: click.Context, leaderboard: str, as_json: bool) -> None:
    """Show a leaderboard.  Example: mainspring training show 019a..."""
    board = room(ctx, Training).get(leaderboard)
    show(board, "\n".join(lines_of(board)), as_json=as_json)


@group.command("cancel")
@click.argument("leaderboard")
@click.option("--reason", default="", help="Kept with the leaderboard.")
@json_option
@click.pass_context
def cancel(ctx: click.Context, leaderboard: str, reason: str, as_json: bool) -> None:
    """Stop a leaderboard; what was measured stays.  Example: mainspring training cancel 019a..."""
    training = room(ctx, Training)
    stopped = training.cancel(leaderboard, reason=reason)
    board = training.get(leaderboard)
    show(board, f"leaderboard {board.id} is {'now' if stopped else 'already'} {board.state}", as_json=as_json)


@group.command("resume")
@click.argument("leaderboard")
@click.option("--budget", "budget_s", default=0.0, metavar="SECONDS", help="So many seconds more.")
@click.option("--queue", is_flag=True, help="Leave it to the server's worker and return at once.")
@json_option
@click.pass_context
def resume(ctx: click.Context, leaderboard: str, budget_s: float, queue: bool, as_json: bool) -> None:
    """Go on with what was stopped, killed or out of time.  Example: mainspring training resume 019a... --budget 60"""
    training = room(ctx, Training)
    training.settle()
    board = training.resume(leaderboard, budget_s=budget_s, here=not queue)
    if queue:
        show(board, f"queued again; look: mainspring training show {board.id}", as_json=as_json)
        return
    _finish(training, board, as_json=as_json)


def _finish(training: Training, board: Leaderboard, *, as_json: bool) -> None:
    if not as_json:
        click.echo(f"leaderboard {board.id}: {len(board.candidates)} candidates on {board.split}", err=True)
        for warning in board.warnings:
            click.echo(printable(f"mind: {warning}"), err=True)

    def told(candidate: Candidate) -> None:
        if not as_json:
            click.echo(_progress(candidate, board.metric), err=True)

    board = training.work(board.id, told)
    show(board, "\n".join(lines_of(board)), as_json=as_json)
    if board.state is not LeaderboardState.FINISHED:
        sys.exit(1)


def lines_of(board: Leaderboard) -> list[str]:
    """A leaderboard as people read it."""
    head = [f"{board.request.target} of {board.dataset}, {board.task}, on {board.split}: {board.state}"]
    head += [board.error] if board.error else []
    cells: list[tuple[str, ...]] = [
        ("candidate", board.metric, "95 %", "behind the best", "ms a row", "size", "cpu s", "gap")
    ]
    measured = [each for each in board.candidates if each.state is CandidateState.MEASURED]
    cells += [_cells(each) for each in measured]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    drawn = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if not board.request.fair:
        drawn = [line.removesuffix("gap").rstrip() for line in drawn]
    rest = [f"{each.name}: {each.state}, {each.note}" for each in board.candidates if each.note]
    tail = []
    if board.test:
        said = ", ".join(f"{name} {value:.4g}" for name, value in board.test.items())
        tail.append(f"sealed rows, opened for the {_nth(board.test_use)} time: {said}")
    if board.version:
        tail.append(f"registered as models/{board.request.register}/{board.version}")
    return [*head, *(drawn if measured else []), *(printable(line) for line in rest), *tail]


def _cells(candidate: Candidate) -> tuple[str, ...]:
    score, far = candidate.score, candidate.behind
    return (
        candidate.name,
        f"{score.value:.4f}" if score else "",
        _ends(score),
        f"{far.value:.4f} {_ends(far)}" if far and far.value else "",
        f"{candidate.latency_ms:.2f}" if candidate.latency_ms is not None else "",
        f"{candidate.size_bytes:,}" if candidate.size_bytes is not None else "",
        f"{candidate.cpu_s:.2f}" if candidate.cpu_s is not None else "",
        f"{candidate.gap:.3f}" if candidate.gap is not None else "",
    )


def _ends(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.4f} to {estimate.high:.4f}"


def _progress(candidate: Candidate, metric: str) -> str:
    if candidate.score is None:
        return printable(f"  {candidate.name}: {candidate.state}, {candidate.note}")
    return f"  {candidate.name}: {metric} {candidate.score.value:.4f} in {candidate.cpu_s or 0:.1f} cpu s"


def _nth(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else endings.get(number % 10, 'th')}"


def _texts(value: object) -> Sequence[str]:
    return [str(entry) for entry in value] if isinstance(value, tuple) else []
