"""Runs on the command line."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, printable, room, show, table
from mainspring.core.errors import Invalid
from mainspring.tracking import file_commands
from mainspring.tracking.comparing import cell, compared, plain_run
from mainspring.tracking.files import Files
from mainspring.tracking.grammar import RUNS, read_fields
from mainspring.tracking.grammar.tree import ATTRIBUTES, Field, written_field
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.live import Watch
from mainspring.tracking.model import Run, RunChange, View
from mainspring.tracking.searching import MAX_LIMIT, MORE, VIEWS, Search
from mainspring.tracking.service import Tracking
from mainspring.tracking.views import Views

_SHOWN_METRICS = 4
_NO_RUNS = 'no runs yet; log one: with mainspring.run("first") as run: run.log({"loss": 0.5})'


@click.group("runs")
def group() -> None:
    """Tracked runs."""


@group.command("ls")
@click.option("--experiment", "names", multiple=True, help="Only this experiment; may be given again.")
@click.option("--filter", "text", default="", help="Which runs, such as 'metrics.loss < 0.1'.")
@click.option("--order-by", default="", help="What to sort by, such as 'metrics.loss DESC, name'.")
@click.option("--fields", default="", help="What to show, such as 'name, metrics.loss, params.lr'.")
@click.option("--view", default="active", show_default=True, type=click.Choice(VIEWS), help="Which runs there are.")
@click.option("--saved", default="", metavar="NAME", help="Take what is not given from a saved view.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, MAX_LIMIT))
@json_option
@click.pass_context
def list_(
    ctx: click.Context,
    names: tuple[str, ...],
    text: str,
    order_by: str,
    fields: str,
    view: str,
    saved: str,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, newest first.  Example: mainspring runs ls --filter "metrics.loss < 0.1" --order-by metrics.loss"""
    if saved:
        kept = room(ctx, Views).get(saved)
        names = names or ((kept.experiment,) if kept.experiment else ())
        text, fields = text or kept.filter, fields or ", ".join(kept.columns)
        order_by = order_by or ", ".join(kept.order_by)
    search = room(ctx, Search)
    orders = [order_by] if order_by else []
    ids = search.named(names) if names else None
    runs = search.runs(ids, text, view=view, order_by=orders, limit=limit, fields=fields).items
    asked = read_fields(fields, RUNS, MORE)
    if as_json:
        show([plain_run(run, asked) for run in runs], as_json=True)
        return
    shown = {_label(field): field for field in asked} or _columns(runs)
    rows = [{"id": run.id} | {name: cell(run, field) for name, field in shown.items()} for run in runs]
    nothing = "no run is like that" if text or names or view != "active" else _NO_RUNS
    table(rows, ("id", *(name for name in shown if name != "id")), empty=nothing)


def _label(field: Field) -> str:
    return written_field(field) if field.key else field.entity


def _columns(runs: Sequence[Run]) -> dict[str, Field]:
    """What is shown of runs when nothing is asked for."""
    metrics = sorted({key for run in runs for key in run.metrics})[:_SHOWN_METRICS]
    own = {name: Field(ATTRIBUTES, name) for name in ("experiment", "name", "status")}
    return own | {key: Field("metrics", key) for key in metrics} | {"started_at": Field(ATTRIBUTES, "started_at")}


@group.command("groups")
@click.argument("by")
@click.option("--experiment", "names", multiple=True, help="Only this experiment; may be given again.")
@click.option("--filter", "text", default="", help="Which runs, such as 'metrics.loss < 0.1'.")
@click.option("--metric", "metrics", multiple=True, help="Show the mean of this metric; may be given again.")
@json_option
@click.pass_context
def groups(
    ctx: click.Context, by: str, names: tuple[str, ...], text: str, metrics: tuple[str, ...], as_json: bool
) -> None:
    """Count runs by their value of a field.  Example: mainspring runs groups params.depth --metric loss"""
    search = room(ctx, Search)
    found = search.groups(search.named(names) if names else None, by, text, metrics=metrics)
    if as_json:
        show(found, as_json=True)
        return
    rows = [{**one.means, found.by: one.value, "runs": one.runs} for one in found.groups]
    rows = [{name: row.get(name) for name in (found.by, "runs", *metrics)} for row in rows]
    table(rows, (found.by, "runs", *metrics), empty="no run is like that")


for _command in (file_commands.files, file_commands.get, file_commands.put, file_commands.remove):
    group.add_command(_command)


@group.command("show")
@click.argument("run_id")
@json_option
@click.pass_context
def show_(ctx: click.Context, run_id: str, as_json: bool) -> None:
    """Show a run.  Example: mainspring runs show 019a..."""
    run = room(ctx, Tracking).get(run_id)
    show(run, _lines(run, [entry.path for entry in room(ctx, Files).below(run.folder)]))


@group.command("rename")
@click.argument("run_id")
@click.argument("name")
@json_option
@click.pass_context
def rename(ctx: click.Context, run_id: str, name: str, as_json: bool) -> None:
    """Give a run another name.  Example: mainspring runs rename 019a... baseline"""
    made = room(ctx, Runs).change(run_id, RunChange(name=name))
    show({"id": made.id, "name": made.name}, f"{made.ref} is now {made.name}")


@group.command("rm")
@click.argument("run_ids", nargs=-1, required=True)
@json_option
@click.pass_context
def remove(ctx: click.Context, run_ids: Sequence[str], as_json: bool) -> None:
    """Delete runs; they can be restored.  Example: mainspring runs rm ID1 ID2"""
    for run_id in run_ids:
        room(ctx, Runs).delete(run_id)
    show({"deleted": list(run_ids)}, f"deleted {len(run_ids)}; mainspring runs restore ID brings one back")


@group.command("restore")
@click.argument("run_ids", nargs=-1, required=True)
@json_option
@click.pass_context
def restore(ctx: click.Context, run_ids: Sequence[str], as_json: bool) -> None:
    """Bring back deleted runs.  Example: mainspring runs restore ID1"""
    for run_id in run_ids:
        room(ctx, Runs).restore(run_id)
    show({"restored": list(run_ids)}, f"restored {len(run_ids)}")


@group.command("compare")
@click.argument("run_ids", nargs=-1, required=True)
@json_option
@click.pass_context
def compare(ctx: click.Context, run_ids: Sequence[str], as_json: bool) -> None:
    """Show where runs differ, from params to environment.  Example: mainspring runs compare ID1 ID2"""
    if len(set(run_ids)) < 2:
        hint = "mainspring runs ls shows ids, mainspring runs show ID what one run is"
        raise Invalid("one run alone has nothing to differ from", where="run_ids", hint=hint)
    tracking = room(ctx, Tracking)
    runs = [tracking.get(run_id) for run_id in run_ids]
    found = compared(runs)
    if as_json:
        show(found, as_json=True)
        return
    names = [run.name if len({r.name for r in runs}) == len(runs) else run.id[-8:] for run in runs]
    sections = found.sections()
    if not sections and not any(found.changes):
        click.echo("these runs do not differ in anything that was recorded")
    for section, rows in sections.items():
        table([{section: key} | dict(zip(names, row, strict=True)) for key, row in rows.items()], (section, *names))
        click.echo()
    for change in filter(None, found.changes):
        click.echo(printable(change))


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


@click.group("views")
def views() -> None:
    """Searches of runs that were saved under a name."""


@views.command("ls")
@json_option
@click.pass_context
def list_views(ctx: click.Context, as_json: bool) -> None:
    """List saved views.  Example: mainspring views ls"""
    table(room(ctx, Views).list(), ("name", "experiment", "filter", "order_by", "columns"), empty="no views yet")


@views.command("save")
@click.argument("name")
@click.option("--experiment", default="", help="Only runs of this experiment.")
@click.option("--filter", "text", default="", help="Which runs.")
@click.option("--order-by", multiple=True, help="What to sort by; may be given again.")
@click.option("--column", "columns", multiple=True, help="A field to show; may be given again.")
@json_option
@click.pass_context
def save_view(
    ctx: click.Context,
    name: str,
    experiment: str,
    text: str,
    order_by: tuple[str, ...],
    columns: tuple[str, ...],
    as_json: bool,
) -> None:
    """Save a search of runs.  Example: mainspring views save best --filter "metrics.auc > 0.9" --column metrics.auc"""
    made = room(ctx, Views).save(View(name, experiment, text, order_by, columns))
    show(made, f"{made.name} is saved; see it with: mainspring runs ls --saved {made.name}")


@views.command("rm")
@click.argument("name")
@click.pass_context
def remove_view(ctx: click.Context, name: str) -> None:
    """Remove a saved view.  Example: mainspring views rm best"""
    room(ctx, Views).remove(name)
    show({"removed": name}, f"{name} is gone")


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
