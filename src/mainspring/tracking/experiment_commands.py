"""Experiments on the command line."""

from __future__ import annotations

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import NotFound, did_you_mean
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.model import Experiment


@click.group("experiments")
def group() -> None:
    """The names that runs are kept under."""


@group.command("ls")
@click.option("--deleted", is_flag=True, help="Those that are deleted.")
@json_option
@click.pass_context
def list_(ctx: click.Context, deleted: bool, as_json: bool) -> None:
    """List experiments by name.  Example: mainspring experiments ls --deleted"""
    found = room(ctx, Experiments).list(deleted=deleted)
    table(found, ("id", "name", "runs", "updated_at"), empty="no experiments; a first run makes one")


@group.command("show")
@click.argument("experiment")
@json_option
@click.pass_context
def show_(ctx: click.Context, experiment: str, as_json: bool) -> None:
    """Show an experiment by name or id.  Example: mainspring experiments show flights"""
    found = _found(ctx, experiment)
    deleted = "" if found.deleted_at is None else f", deleted {iso(found.deleted_at)[:19]}"
    lines = [f"{found.name}  {found.id}", f"made {iso(found.created_at)[:19]}{deleted}", f"files   {found.location}"]
    lines += [f"tag     {key} = {value}" for key, value in found.tags.items()]
    show(found, "\n".join(lines))


@group.command("rename")
@click.argument("experiment")
@click.argument("name")
@json_option
@click.pass_context
def rename(ctx: click.Context, experiment: str, name: str, as_json: bool) -> None:
    """Give an experiment another name.  Example: mainspring experiments rename flights delays"""
    made = room(ctx, Experiments).rename(_found(ctx, experiment).id, name)
    show(made, f"{experiment} is now {made.name}")


@group.command("rm")
@click.argument("experiment")
@json_option
@click.pass_context
def remove(ctx: click.Context, experiment: str, as_json: bool) -> None:
    """Delete an experiment and its runs; both can be restored.  Example: mainspring experiments rm flights"""
    found = _found(ctx, experiment)
    room(ctx, Experiments).delete(found.id)
    show({"deleted": found.id}, f"{found.name} is deleted; mainspring experiments restore {found.id} brings it back")


@group.command("restore")
@click.argument("experiment")
@json_option
@click.pass_context
def restore(ctx: click.Context, experiment: str, as_json: bool) -> None:
    """Bring back a deleted experiment and its runs.  Example: mainspring experiments restore flights"""
    made = room(ctx, Experiments).restore(_found(ctx, experiment).id)
    show(made, f"{made.name} is back")


def _found(ctx: click.Context, text: str) -> Experiment:
    """An experiment by name, else by id."""
    experiments = room(ctx, Experiments)
    try:
        return experiments.named(text)
    except NotFound:
        try:
            return experiments.get(text)
        except NotFound:
            known = [entry.name for entry in experiments.list()]
            hint = did_you_mean(text, known) or "mainspring experiments ls"
            raise NotFound(f"there is no experiment {text[:60]!r}", where="experiments", hint=hint) from None
