"""Performance on the command line."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mainspring.core.clock import iso, micros
from mainspring.core.console import json_option, room, show, table
from mainspring.monitoring.performances import PERIODS, Performance, WindowPerformance
from mainspring.monitoring.performing import Performing
from mainspring.monitoring.readings import Reading
from mainspring.monitoring.rowwise import RowEstimates
from mainspring.monitoring.service import Monitoring

_since = click.option("--since", default="", metavar="TIME", help="Earliest event time, ISO 8601 (default: all).")
_version = click.option(
    "--version", default=0, type=click.IntRange(min=0), help="Which version (default: the live one)."
)


@click.command("performance")
@click.argument("deployment")
@click.option("--by", type=click.Choice(PERIODS), default="day", show_default=True, help="How long a window is.")
@click.option("--segment", default="", help="Only these rows, such as carrier=AA.")
@_version
@_since
@click.option("--until", default="", metavar="TIME", help="First event time that is left out (default: none).")
@click.option("--windows", default=30, type=click.IntRange(1, 400), show_default=True, help="The newest so many.")
@json_option
@click.pass_context
def performance(
    ctx: click.Context,
    deployment: str,
    *,
    by: str,
    segment: str,
    version: int,
    since: str,
    until: str,
    windows: int,
    as_json: bool,
) -> None:
    """Show what labels say, and what scores say without them.  Example: mainspring monitor performance flights"""
    room(ctx, Monitoring).observe(deployment)
    found = room(ctx, Performing).performance(
        deployment,
        by=by,
        segment=segment,
        version=version,
        since=micros(since) if since else 0,
        until=micros(until) if until else 0,
        windows=windows,
    )
    if as_json:
        show(found, as_json=True)
        return
    click.echo(f"version {found.version} of {found.deployment}" + (f", {found.segment}" if found.segment else ""))
    name = found.headline
    columns = ("window", "predictions", "labelled", f"realized {name}", f"estimated {name}")
    table(
        [_line(window, name, found.by) for window in found.windows], columns, empty="nothing was predicted in that time"
    )
    for line in _total(found):
        click.echo(line)


def _line(window: WindowPerformance, name: str, by: str) -> dict[str, object]:
    return {
        "window": iso(window.start)[: 16 if by == "hour" else 10],
        "predictions": window.predictions,
        "labelled": window.labelled,
        f"realized {name}": _text(window.realized, name),
        f"estimated {name}": _text(window.estimated, name),
    }


def _text(readings: Mapping[str, Reading], name: str) -> str:
    return readings[name].text(3) if name in readings else ""


def _total(found: Performance) -> list[str]:
    lines = [found.rests_on] if found.rests_on else []
    lines += [
        f"{name}: realized {reading.text()}, estimated {_text(found.total.estimated, name) or 'not'}"
        for name, reading in found.total.realized.items()
        if name != "value"
    ]
    if "value" in found.total.realized:
        lines.append(f"value: {found.total.realized['value'].text(6)} {found.currency}".rstrip())
    return lines + [f"note: {note}" for note in found.notes]


@click.command("segments")
@click.argument("deployment")
@_version
@_since
@json_option
@click.pass_context
def segments(ctx: click.Context, deployment: str, *, version: int, since: str, as_json: bool) -> None:
    """Show the declared segments beside each other.  Example: mainspring monitor segments flights"""
    performing = room(ctx, Performing)
    found = performing.segments(deployment, version=version, since=micros(since) if since else 0)
    if as_json:
        show(found, as_json=True)
        return
    name = performing.performance(deployment, version=version, windows=1).headline
    rows = [{"segment": one.segment, **_line(one.window, name, "all")} for one in found]
    columns = ("segment", "predictions", "labelled", f"realized {name}", f"estimated {name}")
    table(rows, columns, empty='no segment is declared: segments = ["COLUMN"] in [monitor] of mainspring.toml')


@click.command("slices")
@click.argument("deployment")
@_version
@click.option("--days", default=30, type=click.IntRange(1, 3660), show_default=True, help="So far back.")
@json_option
@click.pass_context
def slices(ctx: click.Context, deployment: str, *, version: int, days: int, as_json: bool) -> None:
    """Find the rows a version is worst on.  Example: mainspring monitor slices flights"""
    found = room(ctx, Performing).worst(deployment, version=version, days=days)
    if as_json:
        show(found, as_json=True)
        return
    rows = [
        {
            "slice": one.name,
            "rows": one.rows,
            found.loss: f"{one.loss:.4g}",
            "elsewhere": f"{one.rest:.4g}",
            "worse by": f"{one.difference:.3g} ({one.low:.3g} to {one.high:.3g})",
            "of all loss": f"{one.excess:.1%}",
        }
        for one in found.slices
    ]
    empty = found.why or f"no slice of {found.rows} labelled rows is proved to be worse than the rest"
    table(rows, ("slice", "rows", found.loss, "elsewhere", "worse by", "of all loss"), empty=empty)


@click.command("feedback")
@click.argument("deployment")
@click.option("--by", type=click.Choice(PERIODS[1:]), default="week", show_default=True, help="How long a window is.")
@json_option
@click.pass_context
def feedback(ctx: click.Context, deployment: str, *, by: str, as_json: bool) -> None:
    """Show ratings, corrections and clicks over time.  Example: mainspring monitor feedback flights"""
    room(ctx, Monitoring).observe(deployment)
    found = room(ctx, Performing).feedback(deployment, by=by)
    if as_json:
        show(found, as_json=True)
        return
    rows = [
        {
            "kind": one.kind,
            "window": iso(one.start)[:10],
            "rows": one.rows,
            "of predictions": one.rate.text(3),
            "mean": one.mean.text(3),
        }
        for one in found
    ]
    table(rows, ("kind", "window", "rows", "of predictions", "mean"), empty="no feedback but labels yet")


@click.command("export")
@click.argument("deployment")
@click.argument("dataset")
@_since
@json_option
@click.pass_context
def export(ctx: click.Context, deployment: str, dataset: str, *, since: str, as_json: bool) -> None:
    """Store labelled and corrected predictions to train on.  Example: mainspring monitor export flights flights-live"""
    made = room(ctx, Performing).export(deployment, dataset, since=micros(since) if since else None)
    show(made, f"{made.ref} has {made.rows} rows with a label")


@click.command("estimate")
@click.argument("deployment")
@_version
@click.option("--days", default=7.0, type=click.FloatRange(0.01, 3660), show_default=True, help="So far back.")
@json_option
@click.pass_context
def estimate(ctx: click.Context, deployment: str, *, version: int, days: float, as_json: bool) -> None:
    """Estimate from rows: inputs that moved far, errors of numbers.  Example: mainspring monitor estimate flights"""
    room(ctx, Monitoring).observe(deployment)
    found = room(ctx, RowEstimates).estimate(deployment, days=days, version=version)
    about = f"version {found.version}, {found.rows} rows by {found.held_out} held-out ones worth {found.effective:.0f}"
    lines = [found.why] if found.why else [about, *(f"{name}: {one.text()}" for name, one in found.readings.items())]
    show(found, "\n".join(lines))


commands = (performance, segments, slices, feedback, export, estimate)
