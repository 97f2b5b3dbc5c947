"""Files of runs on the command line."""

from __future__ import annotations

from pathlib import Path

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.tracking.files import Files
from mainspring.tracking.shelf import LocalShelf, RunFiles


@click.command("files")
@click.argument("run_id")
@click.argument("folder", default="")
@json_option
@click.pass_context
def files(ctx: click.Context, run_id: str, folder: str, as_json: bool) -> None:
    """List the files of a run, or of one of its folders.  Example: mainspring runs files 019a... plots"""
    found = _of(ctx, run_id).list(folder)
    table(found, ("path", "size_bytes", "digest", "at"), empty="no files there; mainspring runs put RUN FILE adds one")


@click.command("get")
@click.argument("run_id")
@click.argument("path", default="")
@click.option(
    "--to", type=click.Path(path_type=Path), default=".", help="The file or folder it becomes (default: here)."
)
@json_option
@click.pass_context
def get(ctx: click.Context, run_id: str, path: str, to: Path, as_json: bool) -> None:
    """Fetch a file or folder of a run, or all of its files.  Example: mainspring runs get 019a... plots --to ./plots"""
    place = _of(ctx, run_id).get(path, to)
    show({"path": str(place)}, f"{path or 'all files'}: {place}")


@click.command("put")
@click.argument("run_id")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--as", "name", default="", metavar="PATH", help="Its path in the run (default: its own name).")
@json_option
@click.pass_context
def put(ctx: click.Context, run_id: str, source: Path, name: str, as_json: bool) -> None:
    """Keep a file or folder with a run.  Example: mainspring runs put 019a... report.md --as notes/report.md"""
    made = _of(ctx, run_id).put(source, name)
    show({"files": made}, f"kept {len(made)}: {', '.join(made[:5])}{' ...' if len(made) > 5 else ''}")


@click.command("rm-file")
@click.argument("run_id")
@click.argument("paths", nargs=-1, required=True)
@json_option
@click.pass_context
def remove(ctx: click.Context, run_id: str, paths: tuple[str, ...], as_json: bool) -> None:
    """Delete files or folders of a run; they do not come back.  Example: mainspring runs rm-file 019a... plots/a.svg"""
    own = _of(ctx, run_id)
    gone = sum(own.delete(path) for path in paths)
    show({"files": gone}, f"deleted {gone}")


def _of(ctx: click.Context, run_id: str) -> RunFiles:
    return RunFiles(LocalShelf(room(ctx, Files)), run_id)
