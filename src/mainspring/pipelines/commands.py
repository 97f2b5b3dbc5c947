"""Pipelines on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click

from mainspring.core.clock import iso
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Invalid, Refused
from mainspring.pipelines.export.commands import export
from mainspring.pipelines.model import PipelineRun, Resources, RunState, StepRun, size_text
from mainspring.pipelines.parts.commands import REFUSED, json_object, part, until_stopped
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.targets import check_target


@click.group("pipeline")
def group() -> None:
    """Run pipelines and look at their runs."""


@group.command("run")
@click.argument("target", metavar="FILE:NAME")
@click.option("-p", "--param", "params", multiple=True, metavar="K=V", help="A parameter; may be repeated.")
@click.option("--params", "whole", default="", metavar="JSON", help="All parameters, as one JSON object.")
@click.option("--queue", is_flag=True, help="Leave it to the server's worker and return at once.")
@click.option("--key", default="", help="The same key is the same run: what another process left is gone on with.")
@click.option("--engine", default="", help="With --queue or --key: where, such as ray (default: a process of its own).")
@click.option("--priority", default=0, help="With --queue: higher goes first (-100 to 100).")
@click.option("--no-cache", is_flag=True, help="Run every step, whatever is stored.")
@json_option
@click.pass_context
def run_(
    ctx: click.Context,
    /,
    target: str,
    params: Sequence[str],
    whole: str,
    *,
    queue: bool,
    key: str,
    engine: str,
    priority: int,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Run a pipeline here and now, or queue it.  Example: mainspring pipeline run train.py:flights -p trees=200"""
    pipelines, values = room(ctx, Pipelines), {**json_object(whole, "--params"), **dict(map(_pair, params))}
    if target.rpartition(":")[0].endswith(".py"):  # people mean the folder they are in, not that of mainspring.toml
        target = check_target(target, Path.cwd())
    if (priority and not queue) or (engine and not queue and not key):
        raise Invalid("an engine or a priority is for queued runs", where="--queue", hint="add --queue")
    if queue:
        pipelines.check(target, values)  # what is wrong with the call is the caller's to hear, and no run
        run = pipelines.get(
            pipelines.submit(target, values, key=key, engine=engine, cache=not no_cache, priority=priority)
        )
        show(run, f"queued as {run.id}; look: mainspring pipeline show {run.id}", as_json=as_json)
        return
    with redirect_stdout(sys.stderr):  # what steps print is not our answer
        if key:
            run = pipelines.run_on(target, values, key=key, engine=engine, cache=not no_cache, stopping=until_stopped())
        else:
            run = pipelines.run_inline(target, values, cache=not no_cache)
    show(run, _lines(run), as_json=as_json)
    if run.error:
        sys.exit(REFUSED if run.error_code == Refused.code else 1)


group.add_command(export)
group.add_command(part)


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
        show(found, "\n".join(found.lines()), as_json=as_json)
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


@group.command("pause")
@click.argument("run_id")
@json_option
@click.pass_context
def pause(ctx: click.Context, run_id: str, as_json: bool) -> None:
    """Let a run rest after the steps that are under way.  Example: mainspring pipeline pause 019a..."""
    pipelines = room(ctx, Pipelines)
    changed = pipelines.steering.pause(pipelines.get(run_id))
    run = pipelines.get(run_id)
    resting = run.state if not changed or run.state is RunState.PAUSED else "going to rest"
    show(run, f"run {run.id} is {resting}", as_json=as_json)


@group.command("resume")
@click.argument("run_id")
@json_option
@click.pass_context
def resume(ctx: click.Context, run_id: str, as_json: bool) -> None:
    """Go on with a run that was paused, failed or was cancelled; what is finished stays.

    Example: mainspring pipeline resume 019a...
    """
    pipelines = room(ctx, Pipelines)
    changed = pipelines.steering.resume(pipelines.get(run_id))
    run = pipelines.get(run_id)
    show(run, f"run {run.id} is {'now' if changed else 'already'} {run.state}", as_json=as_json)


@group.command("approve")
@click.argument("run_id")
@click.option("--step", default="", help="Which question, where a run asks several.")
@click.option("--refuse", is_flag=True, help="Say no: the run fails.")
@click.option("--comment", default="", help="Kept with the answer.")
@json_option
@click.pass_context
def approve(ctx: click.Context, run_id: str, step: str, refuse: bool, comment: str, as_json: bool) -> None:
    """Answer what a run asks, with yes.  Example: mainspring pipeline approve 019a... --comment "looks right" """
    pipelines = room(ctx, Pipelines)
    answered = pipelines.steering.answer(pipelines.get(run_id), step, approve=not refuse, comment=comment)
    show(answered, f"{answered.id} is {'refused' if refuse else 'approved'}", as_json=as_json)


@group.command("sizes")
@click.argument("pipeline")
@json_option
@click.pass_context
def sizes(ctx: click.Context, pipeline: str, as_json: bool) -> None:
    """What each step asks for and what it took in the latest runs.  Example: mainspring pipeline sizes flights"""
    found = room(ctx, Pipelines).sizes(pipeline)
    if as_json:
        show(found, as_json=True)
        return
    rows = [
        {
            "step": each.step,
            "asks": _resources(each.asks),
            "took": _resources(each.took),
            "enough": _resources(each.enough),
            "hint": each.hint,
        }
        for each in found
    ]
    table(rows, ("step", "asks", "took", "enough", "hint"), empty=f"no finished steps of {pipeline} yet")


def _resources(each: Resources) -> str:
    parts = [f"{each.cpu:g} cores"] * bool(each.cpu) + [size_text(each.memory)] * bool(each.memory)
    return ", ".join([*parts, *[f"{each.gpu} cards"] * bool(each.gpu)]) or "nothing"


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
