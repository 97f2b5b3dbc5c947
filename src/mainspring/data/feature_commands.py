"""Feature views on the command line."""

from __future__ import annotations

from pathlib import Path

import click

from mainspring.core.clock import SECOND_US, iso, micros, span_us
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Invalid
from mainspring.data.features.model import Feature, FeatureView, ViewSpec
from mainspring.data.features.service import FeatureViews


@click.group("features")
def group() -> None:
    """Feature views: what is known of an entity, at any time and now."""


@group.command("add")
@click.argument("name")
@click.option("--dataset", required=True, metavar="NAME[/VERSION]", help="Whose rows are the facts.")
@click.option("--entity", multiple=True, required=True, metavar="COLUMN", help="What a row is about; repeat for more.")
@click.option("--time", "time_column", required=True, metavar="COLUMN", help="When it was so.")
@click.option("--created", default="", metavar="COLUMN", help="When it was known (default: at its time).")
@click.option("--ttl", default="", metavar="SPAN", help="How long a value holds, such as 7d (default: for ever).")
@click.option(
    "--feature", "features", multiple=True, required=True, metavar="NAME[=EXPRESSION]", help="A value; repeat for more."
)
@json_option
@click.pass_context
def add(
    ctx: click.Context,
    /,
    name: str,
    *,
    dataset: str,
    entity: tuple[str, ...],
    time_column: str,
    created: str,
    ttl: str,
    features: tuple[str, ...],
    as_json: bool,
) -> None:
    """Keep a feature view, or its next version.

    Example: mainspring features add carriers --dataset delays --entity carrier --time day --feature "late=delay > 15"
    """
    ttl_s = span_us(ttl, "--ttl") / SECOND_US if ttl else 0.0
    spec = ViewSpec(dataset, entity, time_column, tuple(Feature.of(text) for text in features), created, ttl_s)
    made = room(ctx, FeatureViews).add(name, spec)
    show(made, f"{made.ref}: {', '.join(spec.names)}; look values up after: mainspring features materialize {name}")


@group.command("ls")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List feature views."""
    found = room(ctx, FeatureViews).views(limit=1000)
    rows = [{**_row(view), "features": ", ".join(view.spec.names)} for view in found]
    columns = ("name", "number", "dataset", "entity", "features", "ttl")
    table(rows, columns, empty="no feature views yet: mainspring features add NAME --dataset DATASET ...")


@group.command("show")
@click.argument("name")
@click.argument("number", type=click.IntRange(min=1), required=False)
@json_option
@click.pass_context
def show_(ctx: click.Context, name: str, number: int | None, as_json: bool) -> None:
    """Show a version of a feature view, and what was made of it for lookups."""
    views = room(ctx, FeatureViews)
    found = views.get(name, number)
    made = [entry for entry in views.materializations(name) if entry.number == found.number]
    last = f"{made[0].entities:,} entities as of {iso(made[0].as_of)} from {made[0].dataset}" if made else "never"
    facts = {**_row(found), "time": found.spec.time, "created": found.spec.created, "materialized": last}
    lines = [f"{key:13}{value}" for key, value in facts.items() if value]
    lines += [f"  {one.text}  {column.dtype}" for one, column in zip(found.spec.features, found.columns, strict=True)]
    show(found, "\n".join(lines))


@group.command("materialize")
@click.argument("name")
@click.option("--version", "number", type=click.IntRange(min=1), help="Of the view (default: the newest).")
@click.option("--dataset-version", type=click.IntRange(min=1), help="Whose rows (default: the newest).")
@click.option("--as-of", default="", metavar="TIME", help="What was known then counts, ISO 8601 (default: now).")
@json_option
@click.pass_context
def materialize(
    ctx: click.Context, name: str, *, number: int | None, dataset_version: int | None, as_of: str, as_json: bool
) -> None:
    """Make the newest value of every entity ready for lookups; model servers see them at once."""
    at = micros(as_of) if as_of else None
    made = room(ctx, FeatureViews).materialize(name, number, as_of=at, dataset_version=dataset_version)
    show(made, f"{made.entities:,} entities of {made.view} {made.number} as of {iso(made.as_of)}, from {made.dataset}")


@group.command("get")
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--version", "number", type=click.IntRange(min=1), help="Of the view (default: the newest).")
@json_option
@click.pass_context
def get(ctx: click.Context, name: str, key: tuple[str, ...], *, number: int | None, as_json: bool) -> None:
    """Look an entity up, as a model server does.  Example: mainspring features get carriers AA"""
    found = room(ctx, FeatureViews).lookup(name, key, number)
    age = "" if found.age_s is None else f", {found.age_s:,.0f} s old"
    shown = [f"  {one}  {value}" for one, value in found.values.items()] if found.state == "fresh" else []
    show(found, "\n".join([f"{' '.join(key)}: {found.state}{age}", *shown]))


@group.command("history")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--view", "views", multiple=True, required=True, metavar="NAME[/VERSION]", help="Repeat for more.")
@click.option("--time", "time_column", required=True, metavar="COLUMN", help="When each row of SOURCE was so.")
@click.option("--dataset-version", type=click.IntRange(min=1), help="Of the views' dataset (default: the newest).")
@click.pass_context
def history(
    ctx: click.Context,
    source: Path,
    out: Path,
    *,
    views: tuple[str, ...],
    time_column: str,
    dataset_version: int | None,
) -> None:
    """Add to each row of SOURCE what was known at its time, and write OUT; both are Parquet or CSV.

    Example: mainspring features history flights.parquet training.parquet --view carriers --time scheduled
    """
    from mainspring.data.sources import read_source

    frame, _ = read_source(source)
    joined = room(ctx, FeatureViews).history(frame, views, on=time_column, dataset_version=dataset_version)
    match out.suffix.lower():
        case ".parquet":
            joined.write_parquet(out)
        case ".csv":
            joined.write_csv(out)
        case _:
            raise Invalid(f"{out.name} is neither Parquet nor CSV", where="OUT", hint="name it .parquet or .csv")
    click.echo(f"{joined.height:,} rows, {joined.width - frame.width} features added: {out}")


def _row(view: FeatureView) -> dict[str, object]:
    spec = view.spec
    return {
        "name": view.name,
        "number": view.number,
        "dataset": spec.dataset,
        "entity": ", ".join(spec.entity),
        "ttl": spec.ttl,
    }
