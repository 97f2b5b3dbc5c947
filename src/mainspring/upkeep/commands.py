"""Commands of upkeep."""

from __future__ import annotations

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.upkeep.model import Report
from mainspring.upkeep.service import Upkeep


@click.group(invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--grace", default="", metavar="SPAN", help="In place of every grace of [retention], such as 2d.")
@json_option
@click.pass_context
def group(ctx: click.Context, dry_run: bool, grace: str, as_json: bool) -> None:
    """Take away what nobody needs, after a grace.  Example: mainspring gc --dry-run"""
    if ctx.invoked_subcommand is None:
        report = room(ctx, Upkeep).run(dry_run=dry_run, grace=grace)
        show(report, "\n".join(_lines(report)), as_json=as_json)


@group.command("ls")
@json_option
@click.pass_context
def list_trash(ctx: click.Context, as_json: bool) -> None:
    """Blobs in the trash, oldest first."""
    table(room(ctx, Upkeep).trash(), ("digest", "size_bytes", "at"), empty="the trash is empty")


@group.command("restore")
@click.argument("digest")
@json_option
@click.pass_context
def restore(ctx: click.Context, digest: str, as_json: bool) -> None:
    """Put a blob back in place.  Example: mainspring gc restore 9f86d081884c"""
    whole = room(ctx, Upkeep).restore(digest)
    show({"digest": whole}, f"blob {whole[:12]} is back in place", as_json=as_json)


def _lines(report: Report) -> list[str]:
    would = "would be " if report.dry_run else ""
    blobs = report.blobs
    lines = [f"{count} {kind} {would}removed" for kind, count in report.removed.items() if count]
    said = (
        (blobs.discarded, f"blobs ({_size(blobs.discarded_bytes)}) {would}moved to the trash"),
        (blobs.restored, f"blobs {would}put back from the trash"),
        (blobs.purged, f"blobs ({_size(blobs.purged_bytes)}) {would}deleted"),
        (blobs.waiting, f"blobs ({_size(blobs.waiting_bytes)}) wait in the trash: mainspring gc ls"),
        (blobs.swept, "unfinished writes removed"),
        (report.files, f"files of tables ({_size(report.files_bytes)}) {would}deleted"),
        (len(report.compacted), f"tables {would}compacted"),
    )
    return lines + [f"{count} {text}" for count, text in said if count] or ["nothing to do"]


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MB"
