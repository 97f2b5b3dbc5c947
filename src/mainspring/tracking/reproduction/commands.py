"""`mainspring reproduce`: run a run again and hold its metrics against what was recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from mainspring.core.clock import SystemClock
from mainspring.core.console import json_option, plain, room, show
from mainspring.core.console import table as print_table
from mainspring.core.errors import Failed, Invalid, NotFound, Refused
from mainspring.core.settings import Settings
from mainspring.data import Data
from mainspring.tracking.capture import environment
from mainspring.tracking.model import REPRODUCES, REPRODUCES_VARIABLE, TOLERANCE, CodeState, Metric, Run
from mainspring.tracking.reproduction import (
    Comparison,
    compare,
    differing,
    missing,
    rebuilt,
    tolerances,
    unlike,
    worktree,
)
from mainspring.tracking.reproduction.progress import Progress
from mainspring.tracking.reproduction.rebuilding import environ_of, lock_of
from mainspring.tracking.reproduction.worktree import unknown_files
from mainspring.tracking.searching import Search
from mainspring.tracking.service import Tracking

_SHOWN = 20
_NOT_OURS = ("MAINSPRING_URL", "MAINSPRING_OFFLINE", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that would send the reproduction elsewhere, or let it see other packages."""


@click.command()
@click.argument("run_id")
@click.argument("arguments", nargs=-1)
@click.option("--no-env", is_flag=True, help="Use the packages of this Python; what differs is listed.")
@click.option("--tolerance", type=click.FloatRange(min=0), help="Greatest relative difference of any metric.")
@click.option("--keep", is_flag=True, help="Leave the worktree where it is.")
@click.option("--repository", type=click.Path(path_type=Path), default=".", help="A folder in the git repository.")
@json_option
@click.pass_context
def reproduce(
    ctx: click.Context,
    run_id: str,
    arguments: Sequence[str],
    no_env: bool,
    tolerance: float | None,
    keep: bool,
    repository: Path,
    as_json: bool,
) -> None:
    """Run a run again: its commit and changes, its packages, its arguments; then compare the metrics.

    Exit code 0: they are the same to the bit, or within the tolerance. 4: they differ. 3: something that is needed is
    missing, and the message names it. Arguments after -- take the place of the recorded ones.

    Example: mainspring reproduce 019a... --no-env
    """
    tracking = room(ctx, Tracking)
    run = tracking.get(run_id.removeprefix("runs/"))
    code = _reproducible(ctx, run, repository, arguments)
    allowed = tolerances(run.tags.get(TOLERANCE, "")) if tolerance is None else {"*": tolerance}
    begun = SystemClock().now()
    python = sys.executable if no_env else str(_environment(run, room(ctx, Settings).data_dir / "reproductions"))
    with _scratch(keep) as place, worktree(code, repository, place / "code", keep=keep) as folder:
        differs = _list_differences(run, packages=no_env)
        _say(f"running {' '.join(arguments or code.arguments)} in {folder}")
        status = _execute([python, *(arguments or code.arguments)], folder, room(ctx, Settings), run)
    if status and run.status == "finished":
        raise Failed(f"the program ended with {status}, and did not then", where=run.ref, hint="read what it said")
    again = _again(ctx, run, begun)
    rows = compare(_histories(tracking, run), _histories(tracking, again), allowed)
    _show(run, again, rows, differs, as_json=as_json)
    off = [row.key for row in rows if not row.holds]
    if off:
        hint = f"mainspring runs compare {run.id} {again.id}"
        raise Refused(f"{len(off)} of {len(rows)} metrics differ: {', '.join(off[:5])}", where=again.ref, hint=hint)


@contextmanager
def _scratch(keep: bool) -> Iterator[Path]:
    """A folder for the code, gone afterwards unless it shall be kept."""
    place = Path(tempfile.mkdtemp(prefix="mainspring-reproduce-"))
    try:
        yield place
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def _reproducible(ctx: click.Context, run: Run, repository: Path, arguments: Sequence[str]) -> CodeState:
    """The recorded code, when nothing is missing.

    Raises:
        NotFound: Something is; says what.
        Invalid: The run is a part of another.
    """
    if run.parent:
        hint = f"mainspring reproduce {run.parent}"
        raise Invalid("the run is a part of another, which started it", where=run.ref, hint=hint)
    gone = missing(run.code, repository, instead=arguments)
    if gone:
        raise NotFound(f"it can't be run again: {gone}", where=run.ref, hint="mainspring runs show shows what is there")
    assert run.code is not None
    for entry in run.inputs:
        if entry.dataset.startswith("datasets/"):
            _check_dataset(ctx, run, entry.dataset)
        else:
            _say(f"the input {entry.dataset} is not kept here: that it is the same is for you to see to")
    unknown = unknown_files(run.code)
    if unknown:
        _say(unknown)
    return run.code


def _check_dataset(ctx: click.Context, run: Run, ref: str) -> None:
    try:
        room(ctx, Data).resolve(ref)
    except NotFound:
        what = f"it can't be run again: the dataset version {ref} is gone"
        raise NotFound(what, where=run.ref, hint="mainspring data ls") from None


def _environment(run: Run, home: Path) -> Path:
    if run.environment is None:
        hint = "use --no-env to run it with the packages that are here"
        raise NotFound("it can't be run again: no environment was recorded", where=run.ref, hint=hint)
    packages = len(lock_of(run.environment))
    progress = Progress(packages)
    try:
        _say(f"environment: {packages} packages for Python {run.environment.python}")
        return rebuilt(run.environment, home, progress.tell)
    finally:
        progress.end()


def _list_differences(run: Run, *, packages: bool) -> dict[str, tuple[str, str]]:
    """Say what is not as it was and stays so: of the machine, and of the packages when they are those that are here."""
    if run.environment is None:
        _say("no environment was recorded")
        return {}
    today = environment()
    found = {**unlike(run.environment, today), **(differing(run.environment, today) if packages else {})}
    for name, (then, now) in list(found.items())[:_SHOWN]:
        _say(f"differs  {name}: {then or 'absent'} then, {now or 'absent'} now")
    if len(found) > _SHOWN:
        _say(f"differs  and {len(found) - _SHOWN} more")
    return found


def _execute(command: Sequence[str], folder: Path, settings: Settings, run: Run) -> int:
    """Run the program; what it prints goes to stderr. Its runs go to this house and name the one they repeat."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    environ: Mapping[str, str] = {**kept, **settings.environ(), REPRODUCES_VARIABLE: run.id}
    if run.environment is not None:
        environ = environ_of(run.environment, environ)
    sys.stderr.flush()
    return subprocess.run(command, cwd=folder, env=environ, stdout=sys.stderr.fileno(), check=False).returncode


def _again(ctx: click.Context, run: Run, begun: int) -> Run:
    """The run that the program made in place of `run`: the one that it started after as many others.

    Raises:
        NotFound: It made none.
    """
    tracking = room(ctx, Tracking)
    page = room(ctx, Search).runs(None, f"tags.`{REPRODUCES}` = '{run.id}'", limit=1000)
    found = [tracking.get(entry.id) for entry in page.items if entry.started_at >= begun]
    order = run.code.order if run.code else 0
    for entry in found:
        if entry.code is not None and entry.code.order == order:
            return entry
    if len(found) == 1:
        return found[0]
    hint = "the program must call mainspring.run as it did then"
    raise NotFound(f"the program made {len(found)} runs, and none is the {order + 1}th", where=run.ref, hint=hint)


def _histories(tracking: Tracking, run: Run) -> dict[str, list[Metric]]:
    return {key: tracking.history(run.id, key) for key in run.metrics}


def _show(
    run: Run, again: Run, rows: Sequence[Comparison], differs: Mapping[str, tuple[str, str]], *, as_json: bool
) -> None:
    if as_json:
        found = {"run": run.id, "reproduction": again.id, "metrics": plain(rows), "differs": plain(differs)}
        show(found, as_json=True)
        return
    shown = [
        {"metric": row.key, "then": _number(row.recorded), "now": _number(row.now), "points": row.points}
        | {"difference": f"{row.difference:.3g}", "tolerance": f"{row.tolerance:g}", "verdict": row.verdict}
        for row in rows
    ]
    columns = ("metric", "then", "now", "points", "difference", "tolerance", "verdict")
    print_table(shown, columns, empty="the run has no metrics to compare")
    if all(row.holds for row in rows):
        click.echo(f"{run.ref} is reproduced by {again.ref}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.17g}"


def _say(line: str) -> None:
    click.echo(line, err=True)
