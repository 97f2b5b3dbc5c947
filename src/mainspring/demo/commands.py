"""`mainspring demo`: one whole turn of the loop on real flights, every step checked."""

from __future__ import annotations

import shutil
from datetime import datetime
from importlib import resources
from pathlib import Path

import click

from mainspring.core.errors import Conflict, Invalid
from mainspring.demo.report import Report, make_console

MARK = ".mainspring-demo"
FIRST_LIVE = datetime(2013, 5, 15)


@click.command()
@click.option("--dir", "folder", default="mainspring-demo", show_default=True, help="Folder of the demo's project.")
@click.option("--until", default="2013-07-21", show_default=True, help="Last day of the replay; at most 2013-12-31.")
@click.option("--fresh", is_flag=True, help="Throw the demo's folder away and begin anew.")
@click.option("--keep", is_flag=True, help="Leave the server running at the end, until Ctrl-C.")
@click.pass_context
def demo(ctx: click.Context, folder: str, until: str, fresh: bool, keep: bool) -> None:
    """One whole turn of the loop on the flights that left New York in 2013.

    Train on what is known by the middle of May, gate, deploy, then every flight that follows as a live request. Run
    again, it goes on where it was; finished, it shows what is on record.
    """
    last = _last_day(until)
    console = make_console()
    console.print(f"Mainspring on the flights of New York 2013, in [bold]{folder}[/]", highlight=False)
    report = Report(console)
    root = prepare(Path(folder).absolute(), fresh=fresh)
    from mainspring.demo.turn import play

    play(root, FIRST_LIVE, last, report, keep=keep)
    ctx.exit(1 if report.failed else 0)


def _last_day(until: str) -> datetime:
    try:
        last = datetime.fromisoformat(until)
    except ValueError:
        raise Invalid(f"{until!r} is not a day", where="--until", hint="write it like 2013-07-21") from None
    if not datetime(2013, 5, 20) <= last <= datetime(2013, 12, 31):
        raise Invalid(f"{until} is not in the year", where="--until", hint="use 2013-05-20 to 2013-12-31")
    return last


def prepare(root: Path, *, fresh: bool = False) -> Path:
    """Write the project's two files into a folder of the demo's own.

    Raises:
        Conflict: There is such a folder, and it is not the demo's.
    """
    mark = root / MARK
    if root.exists() and not mark.exists() and any(root.iterdir()):
        raise Conflict(f"{root} is not empty and not the demo's", where="--dir", hint="mainspring demo --dir ANOTHER")
    if fresh and mark.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    mark.touch()
    for entry in resources.files("mainspring.demo").joinpath("project").iterdir():
        if entry.name.endswith((".py", ".toml")):
            (root / entry.name).write_text(entry.read_text(encoding="utf-8"), encoding="utf-8")
    return root
