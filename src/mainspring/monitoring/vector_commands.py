"""Comparisons of whole vectors on the command line."""

from __future__ import annotations

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, room, show
from mainspring.monitoring.comparisons import VectorComparison, VectorFigures
from mainspring.monitoring.service import Monitoring


@click.command("vectors")
@click.argument("deployment")
@click.option(
    "--days",
    default=0.0,
    type=click.FloatRange(0, 3660),
    help="So far back (default: the latest window that was judged, else the latest day).",
)
@click.option("--kept", is_flag=True, help="Only show what was found before.")
@json_option
@click.pass_context
def vectors(ctx: click.Context, deployment: str, *, days: float, kept: bool, as_json: bool) -> None:
    """Compare embeddings whole with the training data.  Example: mainspring monitor vectors support-topics"""
    monitoring = room(ctx, Monitoring)
    if kept:
        every = monitoring.vectors.kept(deployment)
        show(every, "\n".join(line for one in every for line in _lines(one)) or "nothing was compared yet")
        return
    monitoring.observe(deployment)
    found = monitoring.vectors.compare(deployment, days=days)
    show(found, "\n".join(_lines(found)))


def _lines(found: VectorComparison) -> list[str]:
    span = f"{iso(found.window_start)[:16]} until {iso(found.window_end)[:16]} (event time)"
    about = f"version {found.version} of {found.deployment}, {span}" + (f", {found.alarm}" if found.alarm else "")
    return [about, *([found.why] if found.why else []), *(line for one in found.vectors for line in _figures(one))]


def _figures(one: VectorFigures) -> list[str]:
    missing = f", {one.missing} more without a vector" if one.missing else ""
    mixed = "" if one.energy_usual is None else f" (mixed rows: up to {one.energy_usual:.3g}, p = {one.energy_p:.2g})"
    chance = "" if one.classifier_p is None else f", p = {one.classifier_p:.2g}"
    return [
        f"{one.name}: {one.rows} rows beside {one.reference_rows} of the training data, {one.width} places{missing}",
        f"  energy distance: {one.energy.text(3)}{mixed}",
        f"  classifier, held-out AUC: {one.classifier.text(3)}{chance}",
        f"  the same of the newest such stretch of the training data: {one.usual.text(3)}",
    ]


commands = (vectors,)
