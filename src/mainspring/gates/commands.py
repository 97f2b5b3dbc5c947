"""The gates on the command line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Refused
from mainspring.gates import report
from mainspring.gates.approving import Approval
from mainspring.gates.model import CheckResult, SliceResult, Verdict
from mainspring.gates.service import Gates


@click.group("gate")
def group() -> None:
    """Judge a version by declared checks."""


@group.command("run")
@click.argument("gate")
@click.argument("model")
@click.argument("version", default="latest")
@click.option("--data", default="", metavar="NAME[/NUMBER]", help="Dataset to judge on (default: the gate's).")
@click.option("--label", default="", help="Column with the truth (default: the gate's).")
@click.option("--key", default="", help="With the same key the stored verdict is given back.")
@json_option
@click.pass_context
def run(ctx: click.Context, /, gate: str, model: str, version: str, **options: object) -> None:
    """Put a version before a gate. Exit code 4 unless it passes.

    Example: mainspring gate run promote flights 3 --data flights-eval
    """
    data, label, key = (str(options[name]) for name in ("data", "label", "key"))
    found = room(ctx, Gates).run(gate, model, version, data=data, label=label, key=key)
    show(found, _lines(found))
    if found.outcome != "pass":
        raise Refused(
            f"gate {gate}: {found.outcome}",
            where=f"models/{model}/{found.version}",
            hint=f"mainspring gate show {found.id}",
        )


@group.command("ls")
@click.option("--model", default="", help="Only verdicts on this model.")
@click.option("--gate", default="", help="Only verdicts of this gate.")
@click.option("--limit", default=100, type=click.IntRange(1, 500), show_default=True)
@json_option
@click.pass_context
def list_(ctx: click.Context, model: str, gate: str, limit: int, as_json: bool) -> None:
    """List verdicts, newest first.  Example: mainspring gate ls --model flights"""
    columns = ("id", "created_at", "gate", "model", "version", "champion", "outcome", "n", "data_ref", "use")
    empty = "no verdicts yet: mainspring gate run GATE MODEL VERSION"
    table(room(ctx, Gates).verdicts(model, gate=gate, limit=limit), columns, empty=empty)


@group.command("show")
@click.argument("verdict")
@click.option("--markdown", "form", flag_value="markdown", help="As Markdown, to stand below a change.")
@click.option("--html", "form", flag_value="html", help="As one HTML file.")
@click.option("--junit", "form", flag_value="junit", help="As JUnit XML, for a build server.")
@json_option
@click.pass_context
def show_(ctx: click.Context, verdict: str, form: str | None, as_json: bool) -> None:
    """Show a verdict with its evidence.  Example: mainspring gate show 0192f3a4b5c67d8e9f00112233445566"""
    gates = room(ctx, Gates)
    found, said = gates.verdict(verdict), gates.approvals(verdict)
    if form == "junit":
        click.echo(report.junit([found]), nl=False)
    elif form is not None:
        click.echo((report.html if form == "html" else report.markdown)(found, said), nl=False)
    else:
        show(found, _lines(found, said))


@group.command("approve")
@click.argument("verdict")
@click.option("--reason", required=True, help="Why; kept with the decision.")
@json_option
@click.pass_context
def approve(ctx: click.Context, verdict: str, reason: str, as_json: bool) -> None:
    """Approve a version that a gate passed.

    Example: mainspring gate approve 0192f3a4b5c67d8e9f00112233445566 --reason "read the card"
    """
    _decide(ctx, verdict, "approved", reason)


@group.command("refuse")
@click.argument("verdict")
@click.option("--reason", required=True, help="Why; kept with the decision.")
@json_option
@click.pass_context
def refuse(ctx: click.Context, verdict: str, reason: str, as_json: bool) -> None:
    """Refuse a version although a gate passed it.

    Example: mainspring gate refuse 0192f3a4b5c67d8e9f00112233445566 --reason "the card says nothing of night flights"
    """
    _decide(ctx, verdict, "refused", reason)


def _decide(ctx: click.Context, verdict: str, decision: str, reason: str) -> None:
    made = room(ctx, Gates).decide(verdict, decision, reason=reason)
    show(made, f"verdict {made.verdict} is {made.decision} by {made.actor} as {made.role}.")


def _lines(found: Verdict, said: Sequence[Approval] = ()) -> str:
    against = f"models/{found.model}/{found.champion}" if found.champion else "no champion"
    head = [
        f"{found.outcome.upper()}  gate {found.gate}: models/{found.model}/{found.version} against {against}",
        f"{found.reason}",
        f"{found.n} rows of {found.data_ref} (use {found.use} of them), alpha {found.alpha}, seed {found.seed}",
        f"verdict {found.id}",
    ]
    head += [f"approval: {text}" for name, text in report.evidence(found, said) if name == "approval"]
    checks = [line for result in found.checks for line in (_line(result), *map(_part, result.slices))]
    return "\n".join([*head, *checks])


def _part(part: SliceResult) -> str:
    value = "" if part.value is None else f"  {part.value:.4g}"
    return f"      {part.state:6}{part.name}{value}  {part.note}".rstrip()


def _line(result: CheckResult) -> str:
    parts = [f"  {result.outcome:10}{result.title}"]
    if result.value is not None and result.low is not None and result.high is not None:
        parts.append(f"{result.value:.4g} [{result.low:.4g}, {result.high:.4g}] against {result.threshold:.4g}")
    if result.p is not None:
        parts.append(f"p {result.p:.2g}")
    if result.rows_needed is not None:
        parts.append(f"about {result.rows_needed} rows would decide")
    return "  ".join([*parts, result.note]).rstrip()
