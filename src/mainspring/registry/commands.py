"""Registered models on the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import click

from mainspring.core.clock import iso, micros
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Conflict, Invalid
from mainspring.data import Data
from mainspring.registry.grants import MOST_DAYS, GrantRequest
from mainspring.registry.model import STAGES, ModelVersion
from mainspring.registry.provenance import Difference, Kin, Provenance
from mainspring.registry.rules import missing
from mainspring.registry.searching import ModelSearch
from mainspring.registry.service import Registry


@click.group("models")
def group() -> None:
    """Registered models, versions and aliases."""


@group.command("ls")
@click.argument("name", required=False)
@click.option("--filter", "text", default="", help="Such as: tags.team = 'growth', or with NAME: stage = 'Production'.")
@click.option("--order", default="", help="Such as: updated DESC.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@json_option
@click.pass_context
def list_(ctx: click.Context, name: str | None, text: str, order: str, limit: int, as_json: bool) -> None:
    """List models, or the versions of one.  Example: mainspring models ls flights"""
    order_by = [order] if order else []
    if name is None:
        empty = "no models yet; a training pipeline registers them: mainspring demo"
        models = room(ctx, ModelSearch).models(text, order_by=order_by, limit=limit).items
        table(models, ("name", "latest", "aliases", "updated_at", "description"), empty=empty)
        return
    columns = ("number", "stage", "aliases", "flavour", "task", "metrics", "size_bytes", "created_at", "digest")
    if text or order:
        both = f"name = {_quoted(room(ctx, Registry).model(name).name)}" + (f" AND ({text})" if text else "")
        found = list(room(ctx, ModelSearch).versions(both, order_by=order_by, limit=limit).items)
    else:
        found = room(ctx, Registry).versions(name, limit=limit)
    table(found, columns, empty=f"model {name} has no versions")


@group.command("show")
@click.argument("name")
@click.argument("version", default="latest")
@json_option
@click.pass_context
def show_(ctx: click.Context, name: str, version: str, as_json: bool) -> None:
    """Show a version, by number or alias.  Example: mainspring models show flights champion"""
    found = room(ctx, Registry).get(name, version)
    show(found, _lines(found))


@group.command("compose")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--example", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Rows of its inputs.")
@json_option
@click.pass_context
def compose(ctx: click.Context, name: str, file: Path, *, example: Path | None, as_json: bool) -> None:
    """Keep registered versions as one: an ensemble, with steps before and after, as FILE declares it (TOML).

    Example: mainspring models compose flights-both both.toml
    """
    from mainspring.data.sources import read_source
    from mainspring.registry.flavours.composed import composition_of

    try:
        said = composition_of(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValueError as reason:
        raise Invalid(f"not TOML: {reason}", where=str(file), hint="write [[members]] tables") from None
    rows = read_source(example)[0] if example else None
    registry = room(ctx, Registry)
    made = registry.compose(name, said, example=rows)
    show(made, "\n".join([f"{made.ref}: {made.task}, takes {', '.join(made.columns)}", *registry.composition(made)]))


@group.command("onnx")
@click.argument("name")
@click.argument("version", default="latest")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the file, and keep no version.")
@click.option("--data", "ref", default="", metavar="DATASET", help="Rows to compare by (default: its reference).")
@json_option
@click.pass_context
def onnx(ctx: click.Context, name: str, version: str, *, out: Path | None, ref: str, as_json: bool) -> None:
    """A version of scikit-learn as ONNX, once it says the same of every row: as the next version, or as a file.

    Example: mainspring models onnx flights champion --out flights.onnx
    """
    from mainspring.registry.converting import parity_in, require_convertible, rows_for
    from mainspring.registry.flavours.onnx import FILE

    registry = room(ctx, Registry)
    found = require_convertible(registry.get(name, version))
    if out is not None and out.exists():
        raise Conflict("there is something already", where=str(out), hint="take another name")
    rows, data = rows_for(room(ctx, Data), found, ref)
    click.echo(f"{found.ref} is converted, and both are asked {rows.height} rows of {data} ...", err=True)
    if out is None:
        made = registry.accelerate(name, found.number, rows, data=data)
        parity = registry.parity(made)
        show(made, f"{made.ref} is {parity.words}." if parity else made.ref)
        return
    package = registry.to_onnx(name, found.number, rows, data=data)
    out.write_bytes(package.files[FILE])
    parity = parity_in(package.manifest.notes)
    show(parity, f"{out} is {parity.words}." if parity else str(out))


@group.command("diff")
@click.argument("name")
@click.argument("before")
@click.argument("after")
@click.option("--other", default="", help="The model of the second version; the same when absent.")
@json_option
@click.pass_context
def diff(ctx: click.Context, name: str, before: str, after: str, other: str, as_json: bool) -> None:
    """What differs between two versions.  Example: mainspring models diff flights champion 7"""
    found = room(ctx, Provenance).diff(name, before, after, other=other)
    show(found, "\n".join(_differences(found)))


@group.command("lineage")
@click.argument("ref")
@json_option
@click.pass_context
def lineage(ctx: click.Context, ref: str, as_json: bool) -> None:
    """What a version or a dataset came from and led to.  Example: mainspring models lineage models/flights/3"""
    found = room(ctx, Provenance).lineage(ref)
    show(found, "\n".join(_tree(found)))


@group.command("promote")
@click.argument("name")
@click.argument("version")
@click.option("--to", default="champion", show_default=True, help="Alias it gets.")
@click.option("--reason", default="", help="Kept in the history.")
@json_option
@click.pass_context
def promote(ctx: click.Context, name: str, version: str, to: str, reason: str, as_json: bool) -> None:
    """Give a version an alias, once its gates have passed it.  Example: mainspring models promote flights 7"""
    moved = room(ctx, Registry).promote(name, version, to=to, reason=reason)
    show(moved, f"{moved.ref} is now {moved.alias}" + (f" (was version {moved.before})." if moved.before else "."))


@group.command("stage")
@click.argument("name")
@click.argument("version", required=False)
@click.argument("stage", required=False)
@click.option("--archive-others", is_flag=True, help="Move the versions that are in that stage to Archived.")
@click.option("--reason", default="", help="Kept in the history.")
@click.option("--at", default="", help="Ask which versions were in the stages at this time (ISO 8601).")
@json_option
@click.pass_context
def stage_(ctx: click.Context, /, name: str, version: str | None, stage: str | None, **options: object) -> None:
    """Move a version to a stage, or ask which are where.  Example: mainspring models stage flights 3 production"""
    registry = room(ctx, Registry)
    if version is not None and stage is not None:
        moved = registry.move_to_stage(
            name, version, stage, archive_others=bool(options["archive_others"]), reason=str(options["reason"])
        )
        show(moved, f"{moved.ref} is in {moved.stage}.")
        return
    at = micros(str(options["at"])) if options["at"] else 2**62
    there = {entry: registry.in_stage_at(name, entry, at) for entry in STAGES}
    lines = [f"{entry:11}{', '.join(map(str, numbers)) or '-'}" for entry, numbers in there.items()]
    show({"model": name, "stages": there}, "\n".join(lines))


@group.command("adopt")
@click.argument("name")
@click.argument("version")
@json_option
@click.pass_context
def adopt(ctx: click.Context, name: str, version: str, as_json: bool) -> None:
    """Make a version that can serve of one that MLflow logged as data.  Example: mainspring models adopt churn 3"""
    made = room(ctx, Registry).adopt(name, version)
    show(made, f"{made.ref} is what {made.source} was, as a package that can be gated and served.")


@group.command("rename")
@click.argument("name")
@click.argument("new_name")
@json_option
@click.pass_context
def rename(ctx: click.Context, name: str, new_name: str, as_json: bool) -> None:
    """Give a model another name; the old one still finds it.  Example: mainspring models rename flights delays"""
    made = room(ctx, Registry).rename(name, new_name)
    show(made, f"{name} is now {made.name}; references by its old name still find it.")


@group.command("rm")
@click.argument("name")
@click.argument("version", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def remove(ctx: click.Context, name: str, version: str | None, yes: bool, as_json: bool) -> None:
    """Delete a version, or a model with all of them.  Example: mainspring models rm flights 3 --yes"""
    registry = room(ctx, Registry)
    what = f"version {version} of {name}" if version else f"model {name} with all its versions"
    if not yes:
        click.confirm(f"Delete {what}?", abort=True)
    if version:
        gone = registry.delete_version(name, version).ref
    else:
        gone = registry.model(name).ref
        registry.delete_model(name)
    show({"deleted": gone}, f"{gone} is gone; its history stays on record.")


@group.command("copy")
@click.argument("name")
@click.argument("version")
@click.option("--to", default="", help="The name it gets; the same when absent.")
@click.option("--project", default="", help="The project it goes to; this one when absent.")
@click.option("--reason", default="", help="Kept as the description of the copy.")
@json_option
@click.pass_context
def copy(ctx: click.Context, /, name: str, version: str, **options: object) -> None:
    """Copy a version to another name or project.  Example: mainspring models copy flights 3 --project live"""
    to, project, reason = (str(options[key]) for key in ("to", "project", "reason"))
    made = room(ctx, Registry).copy(name, version, to=to, project=project, reason=reason)
    show(made, f"{made.ref}{f' of project {project}' if project else ''} is a copy of {made.source}.")


@group.command("describe")
@click.argument("name")
@click.argument("version", required=False)
@click.option("--text", default=None, help="What it is for.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Set a tag; KEY= takes it away.")
@json_option
@click.pass_context
def describe(
    ctx: click.Context, /, name: str, version: str | None, text: str | None, tags: tuple[str, ...], as_json: bool
) -> None:
    """Describe or tag a model or a version.  Example: mainspring models describe flights 3 --tag owner=ops"""
    registry = room(ctx, Registry)
    for entry in tags:
        key, _, value = entry.partition("=")
        if version and value:
            registry.tag_version(name, version, {key: value})
        elif version:
            registry.untag_version(name, version, key)
        elif value:
            registry.tag_model(name, {key: value})
        else:
            registry.untag_model(name, key)
    if text is not None and version:
        registry.describe_version(name, version, text)
    elif text is not None:
        registry.describe(name, text)
    found = registry.get(name, version) if version else registry.model(name)
    lines = [f"{key:10}{value}" for key, value in {"what": found.description, **found.tags}.items() if value]
    show(found, "\n".join([found.ref, *lines]))


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
    registry = room(ctx, Registry)
    written, key = registry.materialize(name, version, folder), registry.public_key.hex()
    files = sorted(e.relative_to(written).as_posix() for e in written.rglob("*") if e.is_file())
    say = f"{written}: {', '.join(files)}\nserve it anywhere: mainspring serve {written} --key {key}"
    show({"folder": str(written), "files": files, "public_key": key}, say)


@group.command("files")
@click.argument("name")
@click.argument("version", default="latest")
@json_option
@click.pass_context
def files(ctx: click.Context, name: str, version: str, as_json: bool) -> None:
    """List the files of a version, with their digests.  Example: mainspring models files flights champion"""
    found = room(ctx, Registry).files(name, version)
    table(found, ("path", "size_bytes", "digest"), empty="its files are not kept here")


@group.command("grants")
@click.argument("name")
@click.argument("version", default="latest")
@json_option
@click.pass_context
def grants(ctx: click.Context, name: str, version: str, as_json: bool) -> None:
    """Show who granted the pickle of a version, and why.  Example: mainspring models grants churn 3"""
    registry = room(ctx, Registry)
    found = registry.grants.history(registry.get(name, version))
    table(found, ("at", "granted", "expires_at", "actor", "reason", "scan"), empty="no grant was ever given")


@group.command("verify")
@click.argument("name")
@click.argument("version", default="latest")
@json_option
@click.pass_context
def verify(ctx: click.Context, name: str, version: str, as_json: bool) -> None:
    """Check every stored byte of a version.  Example: mainspring models verify flights 3"""
    found = room(ctx, Registry).verify(name, version)
    show(found, f"{found.ref} is whole: digest {found.digest[:16]}, signed by key {found.signed_by}.")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _tree(kin: Kin, depth: int = 0) -> Iterator[str]:
    yield "  " * depth + " ".join(part for part in (kin.role, kin.ref) if part)
    for entry in kin.kin:
        yield from _tree(entry, depth + 1)


def _differences(found: Difference) -> Iterator[str]:
    yield f"{found.before} -> {found.after}" + (" (the same package)" if found.same_package else "")
    for reason in found.breaking:
        yield f"breaks callers: {reason}"
    for side, refs in found.data.items():
        yield f"data {side}: {', '.join(refs)}"
    for part in ("schema", "code", "params", "metrics", "environment", "files", "facts"):
        for key, (before, after) in getattr(found, part).items():
            yield f"{part} {key}: {_short(before)} -> {_short(after)}"


def _short(value: object) -> str:
    text = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.splitlines()[0][:60] + " ..." if len(text) > 60 or "\n" in text else text


@group.command("grant")
@click.argument("name")
@click.argument("version")
@click.option("--reason", required=True, help="Why; kept in the event log.")
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, MOST_DAYS), help="How long it counts.")
@click.option("--despite-scan", is_flag=True, help="Also when the scan says unsafe: it can do whatever you can.")
@click.option("--revoke", is_flag=True, help="Take the grant back; the version is unloaded where it is served.")
@json_option
@click.pass_context
def grant_(ctx: click.Context, /, name: str, version: str, **options: object) -> None:
    """Allow to load the pickle of a version.  Example: mainspring models grant churn 3 --reason "made by our team" """
    registry, reason = room(ctx, Registry), str(options["reason"])
    if options["revoke"]:
        found = registry.get(name, version)
        registry.grants.revoke(found, reason)
        show({"ref": found.ref, "revoked": True}, f"{found.ref} may not be loaded any more.")
        return
    request = GrantRequest(reason, int(str(options["days"])), bool(options["despite_scan"]))
    given = registry.grant(name, version, request)
    show(given, f"models/{given.model}/{given.version} may be loaded until {iso(given.expires_at)}; scan: {given.scan}")


def _lines(found: ModelVersion) -> str:
    inputs = ", ".join(f"{entry.name}:{entry.dtype}" for entry in found.inputs)
    outputs = ", ".join(f"{entry.name}:{entry.dtype}" for entry in found.outputs)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(found.metrics.items()))
    facts = {
        "version": found.ref,
        "about": found.description,
        "aliases": ", ".join(found.aliases),
        "stage": "" if found.stage == STAGES[0] else found.stage,
        "tags": ", ".join(f"{key}={_short(value)}" for key, value in found.tags.items()),
        "source": found.source,
        "task": f"{found.task or 'unknown'} ({found.flavour or 'no format'}, {found.size_bytes} bytes)",
        "lacks": "; ".join(missing(found)),
        "inputs": inputs,
        "outputs": outputs,
        "metrics": metrics,
        "run": found.run_id,
        "datasets": ", ".join(found.datasets),
        "reference": found.reference,
        "digest": f"{found.digest} (key {found.signed_by})" if found.digest else "",
    }
    return "\n".join(f"{name:10}{text}" for name, text in facts.items() if text)
