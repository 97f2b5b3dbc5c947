"""Searches on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click

from mainspring.core.console import json_option, printable, room, show, table
from mainspring.core.errors import Invalid
from mainspring.pipelines.search.model import SearchState, Study, Trial
from mainspring.pipelines.search.rules import best_of
from mainspring.pipelines.search.service import Searches
from mainspring.pipelines.targets import check_target


@click.group("search")
def group() -> None:
    """Search the parameters of pipelines."""


@group.command("run")
@click.argument("target", metavar="FILE:NAME|SECTION")
@click.option("--trials", type=int, help="How many runs (default: as declared).")
@click.option("--parallel", type=int, help="How many at once (default: as declared).")
@click.option("--sampler", help="tpe, gp, cmaes, nsga2 or random (default: as declared).")
@click.option("--prune", help="median or halving: stop what is behind.")
@click.option("--maximize", multiple=True, metavar="METRIC", help="In place of the declared objective.")
@click.option("--minimize", multiple=True, metavar="METRIC", help="In place of the declared objective.")
@click.option("-p", "--param", "params", multiple=True, metavar="K=V", help="A parameter that stays; may be repeated.")
@click.option("--seed", type=int)
@click.option("--inline", is_flag=True, help="Run trials in this process, one after the other.")
@click.option("--workers", type=click.IntRange(0, 64), help="Threads of this process (default: --parallel).")
@click.option("--queue", is_flag=True, help="Leave it to the server's worker and return at once.")
@click.option("--key", default="", help="With --queue: the same key is the same search.")
@json_option
@click.pass_context
def run_(
    ctx: click.Context,
    /,
    target: str,
    *,
    inline: bool,
    workers: int | None,
    queue: bool,
    key: str,
    as_json: bool,
    **said: object,
) -> None:
    """Try parameters of a pipeline until the best are found.

    Example: mainspring search run train.py:model --trials 50 --parallel 4
    """
    _check_place(inline=inline, workers=workers, queue=queue)
    if key and not queue:
        hint = "add --queue; what runs here is gone on with by its id: mainspring search resume ID"
        raise Invalid("only a search of the server has a key", where="--key", hint=hint)
    if ":" in target and target.rpartition(":")[0].endswith(".py"):  # people mean the folder they are in
        target = check_target(target, Path.cwd())
    changes = {
        name: said[name] for name in ("trials", "parallel", "sampler", "prune", "seed") if said[name] is not None
    }
    aims = {name: way for way in ("maximize", "minimize") for name in _texts(said[way])}
    changes |= {"objective": aims} if aims else {}
    fixed = dict(_pair(text) for text in _texts(said["params"]))
    changes |= {"params": fixed} if fixed else {}
    searches = room(ctx, Searches)
    with redirect_stdout(sys.stderr):  # what a pipeline's module prints is not our answer
        study = searches.start(target, changes, key=key, queue=queue)
    if queue:
        _show_queued(study, as_json=as_json)
    else:
        _finish(searches, study, inline=inline, workers=workers, as_json=as_json)


@group.command("ls")
@click.option("--pipeline", default="", help="Only searches of this pipeline.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@json_option
@click.pass_context
def list_(ctx: click.Context, pipeline: str, limit: int, as_json: bool) -> None:
    """List searches, newest first.  Example: mainspring search ls --pipeline model"""
    studies = room(ctx, Searches).studies(pipeline, limit=limit)
    if as_json:
        show(studies, as_json=True)
        return
    rows = [
        {
            "id": study.id,
            "pipeline": study.pipeline,
            "state": study.state,
            "trials": f"{study.ended} of {study.search.trials}",
            "best": "; ".join(_values(trial) for trial in best_of(study.trials, study.search.objective)[:3]),
            "created_at": study.created_at,
        }
        for study in studies
    ]
    empty = "no searches yet: mainspring search run FILE.py:NAME"
    table(rows, ("id", "pipeline", "state", "trials", "best", "created_at"), empty=empty)


@group.command("show")
@click.argument("search")
@json_option
@click.pass_context
def show_(ctx: click.Context, search: str, as_json: bool) -> None:
    """Show a search and its trials.  Example: mainspring search show 019a..."""
    study = room(ctx, Searches).get(search)
    show(study, "\n".join(lines_of(study)), as_json=as_json)


@group.command("cancel")
@click.argument("search")
@click.option("--reason", default="", help="Kept with the search.")
@json_option
@click.pass_context
def cancel(ctx: click.Context, search: str, reason: str, as_json: bool) -> None:
    """Stop a search and its trials.  Example: mainspring search cancel 019a..."""
    searches = room(ctx, Searches)
    stopped = searches.cancel(search, reason=reason)
    study = searches.get(search)
    show(study, f"search {study.id} is {'now' if stopped else 'already'} {study.state}", as_json=as_json)


@group.command("resume")
@click.argument("search")
@click.option("--trials", default=0, type=click.IntRange(0), help="So many trials more.")
@click.option("--inline", is_flag=True, help="Run trials in this process, one after the other.")
@click.option("--workers", type=click.IntRange(0, 64), help="Threads of this process (default: as many as at once).")
@click.option("--queue", is_flag=True, help="Leave it to the server's worker and return at once.")
@json_option
@click.pass_context
def resume(
    ctx: click.Context, /, search: str, *, trials: int, inline: bool, workers: int | None, queue: bool, as_json: bool
) -> None:
    """Go on with a search that was stopped or killed.  Example: mainspring search resume 019a... --trials 20"""
    _check_place(inline=inline, workers=workers, queue=queue)
    searches = room(ctx, Searches)
    study = searches.resume(search, trials=trials, queue=queue)
    if queue:
        _show_queued(study, as_json=as_json)
    else:
        _finish(searches, study, inline=inline, workers=workers, as_json=as_json)


def _check_place(*, inline: bool, workers: int | None, queue: bool) -> None:
    if queue and (inline or workers is not None):
        hint = "take out --inline and --workers; [loop] workers says how many jobs the server does at once"
        raise Invalid("the server's worker runs the trials", where="--queue", hint=hint)


def _show_queued(study: Study, *, as_json: bool) -> None:
    show(study, f"queued as {study.id}; look: mainspring search show {study.id}", as_json=as_json)


def _finish(searches: Searches, study: Study, *, inline: bool, workers: int | None, as_json: bool) -> None:
    def told(trial: Trial) -> None:
        if not as_json:
            said = _values(trial) or trial.note.partition("\n")[0]
            click.echo(printable(f"  trial {trial.number}: {trial.state}, {said}  {_params(trial)}"), err=True)

    if not as_json:
        click.echo(f"search {study.id}: {study.search.trials} trials of {study.pipeline}", err=True)
    threads = 0 if inline else study.search.parallel if workers is None else workers
    with redirect_stdout(sys.stderr):
        study = searches.run(study.id, workers=threads, told=told)
    show(study, "\n".join(lines_of(study)), as_json=as_json)
    if study.state is not SearchState.FINISHED:
        sys.exit(1)


def lines_of(study: Study) -> list[str]:
    """A search as people read it."""
    aims = ", ".join(f"{way} {name}" for name, way in study.search.objective.items())
    lines = [f"{study.pipeline}  {study.id}", f"{study.state}: {aims} with {study.search.method}"]
    told = "".join(f", {count} {state}" for state, count in study.standings.items())
    lines.append(f"  {study.ended} of {study.search.trials} trials have ended{told}")
    best = best_of(study.trials, study.search.objective)
    lines += [printable(f"best: trial {trial.number}, {_values(trial)}  {_params(trial)}") for trial in best[:20]]
    lines += [f"the best ran once more as pipeline run {study.winner}"] if study.winner else []
    return [*lines, study.error] if study.error else lines


def _values(trial: Trial) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in trial.values.items())


def _params(trial: Trial) -> str:
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in trial.params.items()
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"{text!r} is not a parameter", where="--param", hint="write name=value")
    return name, value


def _texts(value: object) -> Sequence[str]:
    return [str(entry) for entry in value] if isinstance(value, tuple) else []
