"""Bandits on the command line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mainspring.core.clock import micros
from mainspring.core.console import json_option, room, show, table
from mainspring.core.errors import Invalid
from mainspring.serving.model import Bandit
from mainspring.serving.notices import tell_served
from mainspring.serving.rules.assignment import shares_of
from mainspring.serving.rules.bandit import MOST_WAIT_S, BanditSpec, RewardKind
from mainspring.serving.service import Serving


@click.group()
def bandit() -> None:
    """Shares that follow rewards: start, status, stop, evaluate."""


@bandit.command("start")
@click.argument("name")
@click.argument("versions", nargs=-1, required=True, metavar="VERSION...")
@click.option("--feedback", default="click", show_default=True, help="The kind of feedback that is a reward.")
@click.option(
    "--reward",
    type=click.Choice(["binary", "number", "correct"]),
    default="binary",
    show_default=True,
    help="0 or 1, a number from --low to --high, or a label that the answer agrees with.",
)
@click.option("--low", type=float, default=0.0, show_default=True, help="Least number.")
@click.option("--high", type=float, default=1.0, show_default=True, help="Greatest number.")
@click.option("--absent", type=float, help="What an answer counts as when nothing came (default: it is left out).")
@click.option("--within-s", type=click.IntRange(1, MOST_WAIT_S), default=3600, show_default=True, help="In time is so.")
@click.option(
    "--floor", type=click.FloatRange(0, 1, min_open=True), default=0.05, show_default=True, help="Least share."
)
@click.option("--sticky", is_flag=True, help="A routing key stays with its version while the shares stand.")
@click.option("--error-limit", type=click.FloatRange(min=0), default=0.0, help="How far off a correct number may be.")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def start(
    ctx: click.Context,
    /,
    name: str,
    versions: Sequence[str],
    *,
    reward: RewardKind,
    reason: str,
    as_json: bool,
    **about: object,
) -> None:
    """Have the shares of the champion and these versions follow what comes back.

    Example: mainspring bandit start offers 2 3 --feedback click --absent 0 --within-s 600
    """
    serving = room(ctx, Serving)
    spec = BanditSpec(reward=reward, **about)  # type: ignore[arg-type]  # checked by click and by it
    made = serving.start_bandit(name, versions, spec=spec, reason=reason)
    tell_served(serving, name)
    show(made, f"versions {', '.join(map(str, made.versions))} share {name}; see: mainspring bandit status {name}")


@bandit.command("status")
@click.argument("name", default="")
@json_option
@click.pass_context
def status(ctx: click.Context, name: str, as_json: bool) -> None:
    """Bandits, newest first, with what is known of each version now.  Example: mainspring bandit status offers"""
    serving = room(ctx, Serving)
    found = [serving.known(entry.id) for entry in serving.bandits(name)]
    if as_json:
        table([{**_plain(entry), "regret": entry.regret} for entry in found], ())
        return
    table(
        [line for entry in found for line in _lines(entry)],
        ("deployment", "state", "version", "share", "rewards", "mean", "low", "high", "best", "started_at"),
        empty="no bandit yet\ntry: mainspring bandit start NAME VERSION",
    )
    for entry in found:
        click.echo(f"{entry.deployment}: about {entry.regret:.4g} of reward missed beside the best version all along")


@bandit.command("stop")
@click.argument("name")
@click.option(
    "--to", default="", metavar="VERSION|best", help="Who has all of the traffic then (default: the champion)."
)
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def stop(ctx: click.Context, name: str, *, to: str, reason: str, as_json: bool) -> None:
    """Have the shares follow nothing any more: one version has all of the traffic."""
    serving = room(ctx, Serving)
    if to not in ("", "best") and not to.isdecimal():
        raise Invalid(f"{to!r} is no version", where="--to", hint="--to 3, or --to best")
    done = serving.stop_bandit(name, to=int(to) if to.isdecimal() else "best" if to else None, reason=reason)
    tell_served(serving, name)
    show(done, f"{name} serves version {serving.get(name).champion}")


@bandit.command("evaluate")
@click.argument("name")
@click.argument("shares", nargs=-1, required=True, metavar="VERSION=SHARE...")
@click.option("--bandit", "bandit_id", default="", help="Which bandit (default: the newest).")
@click.option("--since", default="", metavar="TIME", help="Earliest event time, ISO 8601 (default: all).")
@json_option
@click.pass_context
def evaluate(
    ctx: click.Context, name: str, shares: Sequence[str], *, bandit_id: str, since: str, as_json: bool
) -> None:
    """What other shares would have brought, by the probabilities in the log.

    Example: mainspring bandit evaluate offers 2=1
    """
    earliest = micros(since) if since else None
    found = room(ctx, Serving).evaluate_shares(name, shares_of(shares), bandit_id=bandit_id, since=earliest)
    if as_json:
        show(found)
        return
    table([found.done, *found.estimates], ("method", "value", "low", "high"))
    click.echo(f"{found.rows} answers with a reward, worth {found.effective_rows:.0f} of these shares' own")


def _plain(found: Bandit) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__slots__}


def _lines(found: Bandit) -> list[dict[str, object]]:
    about = {"deployment": found.deployment, "state": found.state, "started_at": found.started_at}
    return [{**about, **{name: getattr(arm, name) for name in arm.__slots__}} for arm in found.arms]
