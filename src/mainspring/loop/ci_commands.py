"""`mainspring ci`: what a change does to data, pipeline and gate, before it is merged."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib import resources
from pathlib import Path

import click

from mainspring.core.console import json_option, room, show
from mainspring.core.errors import Conflict, Invalid
from mainspring.core.settings import Settings

PLACES = {"github": ".github/workflows/mainspring.yml", "gitlab": ".gitlab-ci.yml"}


@click.group("ci", invoke_without_command=True)
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Report for people.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Report for machines.")
@json_option
@click.pass_context
def group(ctx: click.Context, markdown: Path | None, junit: Path | None, as_json: bool) -> None:
    """Run data checks, pipeline and gate on the working tree, with no server; ends with 4 when the gate refuses.

    Example: mainspring ci --markdown ci.md --junit ci.xml
    """
    if ctx.invoked_subcommand is not None:
        return
    from mainspring.data import Data
    from mainspring.gates import Gates
    from mainspring.loop.ci import reporting
    from mainspring.loop.ci.model import spec_of
    from mainspring.loop.ci.service import Ci
    from mainspring.loop.planning.reading import read_declared
    from mainspring.pipelines import Pipelines

    settings = read_declared(room(ctx, Settings)).settings
    spec = spec_of(settings.section("ci"), settings.section("policy"))
    parts = room(ctx, Data), room(ctx, Pipelines), room(ctx, Gates)
    with redirect_stdout(sys.stderr):  # what steps print is not our answer
        found = Ci(data=parts[0], pipelines=parts[1], gates=parts[2], root=settings.root).run(spec)
    text = reporting.markdown(found)
    if markdown is not None:
        markdown.write_text(text, encoding="utf-8")
    if junit is not None:
        junit.write_text(reporting.junit(found), encoding="utf-8")
    show(found, text, as_json=as_json)
    sys.exit(found.exit_code)


@group.command("init")
@click.option("--github", "kind", flag_value="github", help="A workflow of GitHub Actions.")
@click.option("--gitlab", "kind", flag_value="gitlab", help="A pipeline of GitLab CI.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.pass_context
def init(ctx: click.Context, kind: str | None, force: bool) -> None:
    """Write a workflow that runs `mainspring ci` and comments on the change.  Example: mainspring ci init --github"""
    if kind is None:
        raise Invalid("it is not said for what", where="mainspring ci init", hint="mainspring ci init --github")
    place = Path(PLACES[kind])
    if place.exists() and not force:
        raise Conflict(f"{place} is there already", where=str(place), hint="merge by hand, or --force")
    place.parent.mkdir(parents=True, exist_ok=True)
    text = resources.files("mainspring.loop.ci").joinpath("templates", f"{kind}.yml").read_text(encoding="utf-8")
    place.write_text(text, encoding="utf-8")
    show({"file": str(place)}, f"wrote {place}")
