"""Pipelines on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Invalid
from mainspring.pipelines.model import PipelineRun, StepRun
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.targets import check_target


@click.group("pipeline")
def group() -> None:
    """Run pipelines and look at their runs."""


@group.command("run")
@click.argument("target", metavar="FILE:NAME")
@click.option("-p", "--param", "params", multiple=True, metavar="K=V", help="A parameter; may be repeated.")
@click.option("--queue", is_flag=True, help="Leave it to the server's worker and return at once.")
@click.option("--key", default="", help="With --queue: the same key is the same run.")
@click.option("--engine", default="", help="With --queue: where, such as ray (default: a process of the worker's).")
@json_option
@click.pass_context
def run_(
    ctx: click.Context, /, target: str, params: Sequence[str], *, queue: bool, key: str, engine: str, as_json: bool
) -> None:
    """Run a pipeline here and now, or queue it.  Example: mainspring pipeline run train.py:flights -p trees=200"""
    pipelines, values = room(ctx, Pipelines), dict(_pair(text) for text in params)
    if target.rpartition(":")[0].endswith(".py"):  # people mean the folder they are in, not that of mainspring.toml
        target = check_target(target, Path.cwd())
    if (key or engine) and not queue:
        raise Invalid("a key or an engine is for queued runs", where="--key, --engine", hint="add --queue")
    if queue:
        run = pipelines.get(pipelines.submit(target, values, key=key, engine=engine))
        show(run, f"queued as {run.id}; look: mainspring pipeline show {run.id}", as_json=as_json)
        return
    with redirect_stdout(sys.stderr):  # what steps print is not our answer
        run = pipelines.run_inline(target, values)
    show(run, _lines(run), as_json=as_json)
    if run.error:
        sys.exit(1)


@group.command("ls")
@click.option("--pipeline", default="", help="Only runs of this pipeline.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@json_option
@click.pass_context
def list_(ctx: click.Context, pipeline: str, limit: int, as_json: bool) -> None:
    """List runs, newest first.  Example: mainspring pipeline ls --pipeline flights"""
    runs = room(ctx, Pipelines).runs(pipeline, limit=limit)
    if as_json:
        show(runs, as_json=True)
        return
    empty = "no pipeline runs yet; start one: mainspring pipeline run FILE.py:NAME"
    table(runs, ("id", "pipeline", "state", "seconds", "created_at"), empty=empty)


@group.command("show")
@click.argument("run_id")
@click.option("--log", "step", default="", metavar="STEP", help="Print what this step wrote.")
@click.option("--why", "why", default="", metavar="STEP", help="Say why this step ran or did not.")
@json_option
@click.pass_context
def show_(ctx: click.Context, run_id: str, step: str, why: str, as_json: bool) -> None:
    """Show a run and its steps.  Example: mainspring pipeline show 019a... --why train"""
    pipelines = room(ctx, Pipelines)
    if step:
        show({"step": step, "text": (text := pipelines.log(run_id, step))}, text.rstrip(), as_json=as_json)
        return
    if why:
        found = pipelines.why(run_id, why)
        changed = [f"  {c.part} {c.name}: {c.before} -> {c.after}".replace(" :", ":") for c in found.changes]
        show(found, "\n".join([f"{found.step}: {found.reason}", *changed]), as_json=as_json)
        return
    run = pipelines.get(run_id)
    show(run, _lines(run), as_json=as_json)


@group.command("cancel")
@click.argument("run_id")
@click.option("--reason", default="", help="Kept with the run.")
@json_option
@click.pass_context
def cancel(ctx: click.Context, run_id: str, reason: str, as_json: bool) -> None:
    """Stop a run.  Example: mainspring pipeline cancel 019a..."""
    pipelines = room(ctx, Pipelines)
    stopped = pipelines.cancel(run_id, reason=reason)
    run = pipelines.get(run_id)
    show(run, f"run {run.id} is {'now' if stopped else 'already'} {run.state}", as_json=as_json)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"{text!r} is not a parameter", where="--param", hint="write name=value")
    return name, value


def _lines(run: PipelineRun) -> str:
    started = f", started {iso(run.started_at)[:19]}" if run.started_at else ""
    took = f", took {run.seconds:.1f} s" if run.seconds is not None else ""
    lines = [f"{run.pipeline}  {run.id}", f"{run.state}{started}{took}"]
    width = max((len(step.id) for step in run.steps), default=0)
    lines += [f"  {step.id.ljust(width)}  {step.state}{_took(step)}" for step in run.steps]
    if run.result is not None:
        lines.append(f"result {run.result}")
    return "\n".join([*lines, run.error] if run.error else lines)


def _took(step: StepRun) -> str:
    if step.source:
        return f" from run {step.source[-8:]}"
    return f" in {step.seconds:.2f} s" if step.seconds is not None else ""
