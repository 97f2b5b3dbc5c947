"""Commands of the loop."""

from __future__ import annotations

import re
from dataclasses import asdict

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.loop.service import ALL, Loop
from mainspring.pipelines import Pipelines

_RUN = re.compile(r"[0-9a-f]{32}")


@click.group()
def group() -> None:
    """Cycles, policies and the kill switch."""


@group.command("ls")
@click.option("--deployment", default="", help="Only this deployment.")
@json_option
@click.pass_context
def list_cycles(ctx: click.Context, deployment: str, as_json: bool) -> None:
    """Cycles, newest first.  Example: mainspring loop ls"""
    columns = ("id", "policy", "state", "version", "started_at", "reason", "note")
    empty = "no cycle yet\ntry: mainspring loop start POLICY"
    table(room(ctx, Loop).cycles(deployment), columns, empty=empty)


@group.command("policies")
@json_option
@click.pass_context
def list_policies(ctx: click.Context, as_json: bool) -> None:
    """Policies as declared in mainspring.toml, and whether they act: `loop off` ends that."""
    loop = room(ctx, Loop)
    columns = ("name", "acts", "deployment", "model", "pipeline", "gate", "cool_down_days", "canary_share", "dry_run")
    empty = "no policy yet\ntry: mainspring init --data my.csv --target column"
    table([{**asdict(policy), "acts": loop.acts(name)} for name, policy in loop.policies.items()], columns, empty=empty)


@group.command("start")
@click.argument("policy")
@click.option("--reason", default="asked for", show_default=True, help="Kept in the event log.")
@json_option
@click.pass_context
def start(ctx: click.Context, policy: str, reason: str, as_json: bool) -> None:
    """Begin a cycle: train, gate, then deploy or canary. A running server does the work."""
    cycle = room(ctx, Loop).start(policy, reason=reason)
    show(cycle, f"cycle {cycle.id} is {cycle.state}; `mainspring up` does the work, `mainspring loop ls` shows it")


@group.command("off")
@click.argument("policy", default=ALL)
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def off(ctx: click.Context, policy: str, reason: str, as_json: bool) -> None:
    """The kill switch: no policy (or not this one) acts any more until `loop on`."""
    show(room(ctx, Loop).switch(policy, enabled=False, reason=reason), f"policy {policy} is off")


@group.command("on")
@click.argument("policy", default=ALL)
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def on(ctx: click.Context, policy: str, reason: str, as_json: bool) -> None:
    """Let policies (or this one) act again."""
    show(room(ctx, Loop).switch(policy, enabled=True, reason=reason), f"policy {policy} is on")


@click.command()
@click.argument("subject", metavar="PREDICTION|RUN/STEP")
@json_option
@click.pass_context
def why(ctx: click.Context, subject: str, as_json: bool) -> None:
    """Why a prediction was what it was, or why a step of a pipeline ran.

    Of a prediction: version, data, run, verdicts, and the cycle that brought it. Of a step: which part of what it
    depends on changed.  Example: mainspring why 019a.../train
    """
    run, _, step = subject.removeprefix("pipeline-runs/").partition("/")
    if step and _RUN.fullmatch(run):  # a prediction may have any id
        known = room(ctx, Pipelines).why(run, step)
        show(known, "\n".join(known.lines()), as_json=as_json)
        return
    found = room(ctx, Loop).why(subject)
    show(found, "\n".join(found.lines()))
