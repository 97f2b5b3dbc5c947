"""Runs on the command line."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, room, show, table
from mainspring.tracking.files import Files
from mainspring.tracking.live import Watch
from mainspring.tracking.model import Run
from mainspring.tracking.rules import differences
from mainspring.tracking.service import Tracking

_SHOWN_METRICS = 4


@click.group("runs")
def group() -> None:
    """Tracked runs."""


@group.command("ls")
@click.option("--experiment", default="", help="Only this experiment.")
@click.option("--status", default="", help="Only running, finished, failed or killed runs.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@json_option
@click.pass_context
def list_(ctx: click.Context, experiment: str, status: str, limit: int, as_json: bool) -> None:
    """List runs, newest first.  Example: mainspring runs ls --experiment flights"""
    runs = room(ctx, Tracking).search(experiment, status=status, limit=limit)
    if as_json:
        show(runs, as_json=True)
        return
    metrics = sorted({key for run in runs for key in run.metrics})[:_SHOWN_METRICS]
    rows = [
        {"id": run.id, "experiment": run.experiment, "name": run.name, "status": run.status}
        | {key: run.metrics[key].value if key in run.metrics else None for key in metrics}
        | {"started_at": run.started_at}
        for run in runs
    ]
    columns = ("id", "experiment", "name", "status", *metrics, "started_at")
    table(rows, columns, empty='no runs yet; log one: with mainspring.run("first") as run: run.log({"loss": 0.5})')


@group.command("show")
@click.argument("run_id")
@json_option
@click.pass_context
def show_(ctx: click.Context, run_id: str, as_json: bool) -> None:
    """Show a run.  Example: mainspring runs show 019a..."""
    run = room(ctx, Tracking).get(run_id)
    show(run, _lines(run, [entry.path for entry in room(ctx, Files).below(run.folder)]))


@group.command("compare")
@click.argument("run_ids", nargs=-1, required=True)
@json_option
@click.pass_context
def compare(ctx: click.Context, run_ids: Sequence[str], as_json: bool) -> None:
    """Show where runs differ in params, metrics, code and data.  Example: mainspring runs compare ID1 ID2"""
    tracking = room(ctx, Tracking)
    runs = [tracking.get(run_id) for run_id in run_ids]
    found = differences([_facts(run) for run in runs])
    columns = [run.name if len({r.name for r in runs}) == len(runs) else run.id[-8:] for run in runs]
    rows = [{"what": key} | dict(zip(columns, row, strict=True)) for key, row in found.items()]
    table(rows, ("what", *columns), empty="these runs do not differ in anything that was recorded")


@click.command("track")
@click.argument("run_id")
@click.option(
    "--every", "every_s", default=1.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between two looks."
)
@json_option
@click.pass_context
def track(ctx: click.Context, run_id: str, every_s: float, as_json: bool) -> None:
    """Follow a run: its metrics as they move, until it ends.  Example: mainspring track 019a..."""
    watch = Watch(room(ctx, Tracking), run_id)
    while True:
        news = watch.news()
        for point in news.points:
            line = f"{iso(point.at)[11:19]}  step {point.step:<8} {point.key} = {point.value:.6g}"
            show(point, line, as_json=as_json)
        if news.over:
            show({"status": news.status}, news.status, as_json=as_json)
            return
        time.sleep(every_s)


def _facts(run: Run) -> dict[str, object]:
    facts: dict[str, object] = {f"param {key}": value for key, value in run.params.items()}
    facts |= {f"metric {key}": point.value for key, point in run.metrics.items()}
    facts |= {"seed": run.seed, "status": run.status, "data": " ".join(entry.dataset for entry in run.inputs)}
    if run.code:
        facts |= {"commit": run.code.commit[:12], "uncommitted changes": run.code.dirty}
    if run.environment:
        facts["python"] = run.environment.python
        facts |= {f"package {name}": version for name, version in run.environment.packages.items()}
    return facts


def _lines(run: Run, files: Sequence[str]) -> str:
    ended = f", ended {iso(run.ended_at)[:19]}" if run.ended_at else ""
    lines = [f"{run.name}  {run.id}", f"{run.status} in {run.experiment}, started {iso(run.started_at)[:19]}{ended}"]
    lines += [f"param   {key} = {value}" for key, value in run.params.items()]
    lines += [f"metric  {key} = {point.value:.6g} (step {point.step})" for key, point in run.metrics.items()]
    lines += [f"data    {entry.dataset} ({entry.context})" for entry in run.inputs]
    lines += [f"file    {path}" for path in files]
    if run.code and run.code.commit:
        lines.append(f"code    {run.code.commit[:12]}{' with uncommitted changes' if run.code.dirty else ''}")
    return "\n".join(lines)
