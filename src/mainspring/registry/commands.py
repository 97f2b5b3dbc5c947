"""Registered models on the command line."""

from __future__ import annotations

from pathlib import Path

import click

from mainspring.core.clock import micros
from mainspring.core.console import json_option, room, show, table
from mainspring.registry.model import ModelVersion
from mainspring.registry.service import Registry


@click.group("models")
def group() -> None:
    """Registered models, versions and aliases."""


@group.command("ls")
@click.argument("name", required=False)
@json_option
@click.pass_context
def list_(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List models, or the versions of one.  Example: mainspring models ls flights"""
    registry = room(ctx, Registry)
    if name is None:
        empty = "no models yet; a training pipeline registers them: mainspring demo"
        table(registry.models(), ("name", "latest", "aliases", "updated_at"), empty=empty)
    else:
        columns = ("number", "flavour", "task", "metrics", "size_bytes", "created_at", "digest")
        table(registry.versions(name), columns, empty=f"model {name} has no versions")


@group.command("show")
@click.argument("name")
@click.argument("version", default="latest")
@json_option
@click.pass_context
def show_(ctx: click.Context, name: str, version: str, as_json: bool) -> None:
    """Show a version, by number or alias.  Example: mainspring models show flights champion"""
    found = room(ctx, Registry).get(name, version)
    show(found, _lines(found))


@group.command("alias")
@click.argument("name")
@click.argument("alias")
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option("--reason", default="", help="Kept in the history.")
@click.option("--at", default="", help="Ask where it pointed at this time (ISO 8601).")
@click.option("--remove", is_flag=True, help="Let it point nowhere.")
@json_option
@click.pass_context
def alias_(
    ctx: click.Context,
    /,
    name: str,
    alias: str,
    version: int | None,
    **options: object,
) -> None:
    """Ask where an alias points, or move it.  Example: mainspring models alias flights champion 3 --reason tested"""
    registry = room(ctx, Registry)
    reason, at = str(options["reason"]), str(options["at"])
    if options["remove"]:
        gone = registry.remove_alias(name, alias, reason)
        show(gone, f"{name} {alias} points nowhere (was version {gone.before}).")
    elif version is not None:
        moved = registry.set_alias(name, alias, version, reason)
        show(moved, f"{name} {alias} is version {version}" + (f" (was {moved.before})." if moved.before else "."))
    else:
        number = registry.alias_at(name, alias, micros(at)) if at else registry.alias(name, alias)
        answer = {"model": name, "alias": alias, "version": number}
        show(answer, f"{name} {alias} " + ("pointed nowhere." if number is None else f"is version {number}."))


@group.command("download")
@click.argument("name")
@click.argument("version")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def download(ctx: click.Context, name: str, version: str, folder: Path, as_json: bool) -> None:
    """Write a version's files to a new folder.  Example: mainspring models download flights champion ./flights"""
    written = room(ctx, Registry).materialize(name, version, folder)
    files = sorted(entry.name for entry in written.iterdir())
    show({"folder": str(written), "files": files}, f"{written}: {', '.join(files)}")


@group.command("verify")
@click.argument("name")
@click.argument("version", default="latest")
@json_option
@click.pass_context
def verify(ctx: click.Context, name: str, version: str, as_json: bool) -> None:
    """Check every stored byte of a version.  Example: mainspring models verify flights 3"""
    found = room(ctx, Registry).verify(name, version)
    show(found, f"{found.ref} is whole: digest {found.digest[:16]}, signed by key {found.signed_by}.")


def _lines(found: ModelVersion) -> str:
    inputs = ", ".join(f"{entry.name}:{entry.dtype}" for entry in found.inputs)
    outputs = ", ".join(f"{entry.name}:{entry.dtype}" for entry in found.outputs)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(found.metrics.items()))
    facts = {
        "version": found.ref,
        "task": f"{found.task} ({found.flavour}, {found.size_bytes} bytes)",
        "inputs": inputs,
        "outputs": outputs,
        "metrics": metrics,
        "run": found.run_id,
        "datasets": ", ".join(found.datasets),
        "reference": found.reference,
        "digest": f"{found.digest} (key {found.signed_by})",
    }
    return "\n".join(f"{name:10}{text}" for name, text in facts.items() if text)
