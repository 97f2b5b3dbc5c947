"""Splits on the command line: parts of `mainspring data`."""

from __future__ import annotations

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.data.splits.model import Split, SplitSpec, Uses
from mainspring.data.splits.service import Splits


@click.command("split")
@click.argument("dataset", metavar="NAME[/VERSION]")
@click.option("--how", default="random", show_default=True, help="random, stratified, group or time.")
@click.option("--column", default="", help="What a stratified, group or time split goes by.")
@click.option("--folds", default=5, show_default=True)
@click.option("--test", default=0.2, show_default=True, help="Share of the rows that is sealed.")
@click.option("--seed", default=0, show_default=True)
@click.option("--name", default="", help="Name of the split (default: that of the dataset).")
@json_option
@click.pass_context
def make(
    ctx: click.Context,
    /,
    dataset: str,
    *,
    how: str,
    column: str,
    folds: int,
    test: float,
    seed: int,
    name: str,
    as_json: bool,
) -> None:
    """Part the rows of a dataset version into folds and sealed rows.

    Example: mainspring data split flights --how stratified --column late
    """
    made = room(ctx, Splits).make(dataset, SplitSpec(how, folds, test, column, seed), name=name)
    show(made, "\n".join(_lines(made)), as_json=as_json)


@click.command("splits")
@click.argument("name", required=False, metavar="[NAME/NUMBER]")
@json_option
@click.pass_context
def list_(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List splits, or show one with every opening of its sealed rows.  Example: mainspring data splits flights/1"""
    splits = room(ctx, Splits)
    if name is None:
        empty = "no splits yet: mainspring data split NAME"
        table(splits.splits(limit=1000), ("ref", "dataset", "rows", "uses", "digest", "created_at"), empty=empty)
        return
    found = splits.resolve(name)
    uses = splits.uses(found)
    show({"split": found, "uses": uses.uses}, "\n".join([*_lines(found), *_opened(uses)]), as_json=as_json)


def _lines(found: Split) -> list[str]:
    by = f" by {found.spec.column}" if found.spec.column else ""
    head = f"{found.ref} of {found.dataset}: {found.spec.kind}{by}, seed {found.spec.seed}, {found.digest[:12]}"
    return [head, *(f"  {part.name:10}{part.rows:>10,} rows  {part.digest[:12]}" for part in found.parts)]


def _opened(uses: Uses) -> list[str]:
    if not uses.uses:
        return ["the sealed rows were never opened"]
    return [f"  opened, use {use.number}, by {use.actor}: {use.purpose}" for use in uses.uses]
