"""`mainspring plan` and `mainspring apply`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from mainspring.core.console import json_option, room, show
from mainspring.core.errors import Invalid, NotFound
from mainspring.loop.planning.model import Plan
from mainspring.loop.planning.service import Planner

MOST_BYTES = 16 * 1024 * 1024


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Keep the plan for `apply`.")
@click.option("--prune", is_flag=True, help="Show what `apply --prune` would take away.")
@click.option("--check", is_flag=True, help="End with exit code 4 when there is something to do.")
@json_option
@click.pass_context
def plan(ctx: click.Context, out: Path | None, prune: bool, check: bool, as_json: bool) -> None:
    """What an apply would change, and what was changed by hand.  Example: mainspring plan --out plan.json"""
    found = room(ctx, Planner).plan()
    if out is not None:
        out.write_text(json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show(found.to_json(), "\n".join(found.lines(prune=prune)), as_json=as_json)
    if check and found.work(prune=prune):
        sys.exit(4)


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--prune", is_flag=True, help="Take away what the file does not say any more.")
@json_option
@click.pass_context
def apply(ctx: click.Context, file: Path | None, prune: bool, as_json: bool) -> None:
    """Make what mainspring.toml declares live; twice is once.  Example: mainspring apply plan.json"""
    planner = room(ctx, Planner)
    found = planner.plan() if file is None else _read(file)
    if not as_json:
        show(None, "\n".join(found.lines(prune=prune)))
    made = planner.apply(found, prune=prune)
    show(made, f"applied {len(made.changes)}" if made.changes else "", as_json=as_json)


def _read(file: Path) -> Plan:
    if not file.is_file():
        raise NotFound(f"no file {file}", where=str(file), hint="mainspring plan --out plan.json")
    if file.stat().st_size > MOST_BYTES:
        raise Invalid("the file is too large for a plan", where=str(file), hint="mainspring plan --out plan.json")
    try:
        return Plan.from_json(json.loads(file.read_text(encoding="utf-8")), str(file))
    except (ValueError, RecursionError):
        raise Invalid("the file is no JSON", where=str(file), hint="mainspring plan --out plan.json") from None
