"""Datasets on the command line."""

from __future__ import annotations

import re
from pathlib import Path

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Invalid
from mainspring.data import split_commands
from mainspring.data.model import Check, DatasetVersion, parse_checks
from mainspring.data.service import Data


@click.group("data")
def group() -> None:
    """Datasets: ingest, look, and see what was left out and why."""


@group.command("ingest")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--not-null", multiple=True, metavar="COLUMN", help="Rows without a value go to quarantine.")
@click.option("--unique", multiple=True, metavar="COLUMN", help="Rows whose value is there twice go to quarantine.")
@click.option("--range", "ranges", multiple=True, metavar="COLUMN=LOW:HIGH", help="Rows outside go to quarantine.")
@click.option("--checks", default="", metavar="JSON", help='All kinds: [{"column": "age", "kind": "not_null"}].')
@click.option("--time", "time_column", default="", metavar="COLUMN", help="The column that tells the time.")
@click.option("--personal", multiple=True, metavar="COLUMN", help="No least and greatest values are kept of it.")
@click.option("--separate", multiple=True, metavar="PREFIX", help="Columns PREFIX_0, PREFIX_1, ... are no vector.")
@click.option("--key", default="", help="Ingesting again under the same key gives the same version.")
@json_option
@click.pass_context
def ingest(ctx: click.Context, /, name: str, file: Path, **options: object) -> None:
    """Keep a CSV or Parquet file as the next version.  Example: mainspring data ingest flights flights.csv"""
    checks = parse_checks(str(options["checks"]))
    checks += [Check(column, "not_null") for column in _texts(options["not_null"])]
    checks += [Check(column, "unique") for column in _texts(options["unique"])]
    checks += [_range(text) for text in _texts(options["ranges"])]
    data = room(ctx, Data)
    made = data.ingest(
        name,
        file,
        checks=checks,
        key=str(options["key"]),
        time_column=str(options["time_column"]),
        personal=_texts(options["personal"]),
        separate=_texts(options["separate"]),
    )
    left_out = f", {made.quarantined:,} in quarantine (mainspring data quarantine {name})" if made.quarantined else ""
    show(made, f"{made.ref}: {made.rows:,} rows, {len(made.columns)} columns{left_out}.")


group.add_command(split_commands.make)
group.add_command(split_commands.list_)


@group.command("ls")
@click.argument("name", required=False)
@json_option
@click.pass_context
def list_(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List datasets, or the versions of one.  Example: mainspring data ls flights"""
    data = room(ctx, Data)
    if name is None:
        empty = "no datasets yet: mainspring data ingest NAME FILE.csv"
        table(data.datasets(limit=1000), ("name", "latest", "rows", "changed_at"), empty=empty)
    else:
        table(data.versions(name), ("number", "rows", "quarantined", "source", "created_at", "digest"))


@group.command("show")
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1), required=False)
@json_option
@click.pass_context
def show_(ctx: click.Context, name: str, version: int | None, as_json: bool) -> None:
    """Show a version with its columns.  Example: mainspring data show flights 3"""
    from mainspring.data.charts import column_shapes

    found = room(ctx, Data).get(name, version)
    show(found, _lines(found))
    if not as_json:
        shapes = column_shapes(found.columns, room(ctx, Data).profile(name, found.number))
        rows = [
            {
                "column": shape.name,
                "type": shape.dtype,
                "missing": f"{shape.nulls:.1%}",
                "least": shape.least,
                "median": shape.median,
                "most": shape.most,
                "often": ", ".join(shape.labels[:3]) if not shape.least else "",
            }
            for shape in shapes
        ]
        table(rows, ("column", "type", "missing", "least", "median", "most", "often"))


@group.command("quarantine")
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="Most rows shown.")
@json_option
@click.pass_context
def quarantine(ctx: click.Context, name: str, version: int | None, limit: int, as_json: bool) -> None:
    """Show rows that a version left out, and why.  Example: mainspring data quarantine flights 3"""
    from mainspring.data.rules import REASON

    left_out = room(ctx, Data).quarantined(name, version).head(limit)
    columns = [REASON, *(column for column in left_out.columns if column != REASON)]
    table(left_out.to_dicts(), columns, empty="every row passed")


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, tuple) else []


def _range(text: str) -> Check:
    found = re.fullmatch(r"(.+)=([^:=]*):([^:=]*)", text)
    try:
        if found is None:
            raise ValueError
        low, high = (float(end) if end else None for end in found.group(2, 3))
    except ValueError:
        raise Invalid(f"{text!r} is no range", where="--range", hint="write --range age=0:120") from None
    return Check(found.group(1), "in_range", low=low, high=high)


def _lines(found: DatasetVersion) -> str:
    facts = {
        "version": found.ref,
        "rows": f"{found.rows:,}" + (f" ({found.quarantined:,} in quarantine)" if found.quarantined else ""),
        "source": found.source,
        "time": found.time_column,
        "checks": "; ".join(found.checks),
        "parents": ", ".join(found.parents),
        "digest": found.digest,
    }
    return "\n".join(f"{name:10}{text}" for name, text in facts.items() if text) + "\n"
