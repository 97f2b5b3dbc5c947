"""Shares and routes on the command line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mainspring.core.console import json_option, room, show
from mainspring.serving.model import Deployment, Route
from mainspring.serving.notices import tell_served
from mainspring.serving.rules.assignment import shares_of
from mainspring.serving.service import Serving


@click.group()
def traffic() -> None:
    """Who answers: show, set, route, unroute."""


@traffic.command("show")
@click.argument("name")
@json_option
@click.pass_context
def show_now(ctx: click.Context, name: str, as_json: bool) -> None:
    """Who answers at an endpoint now, and who is asked afterwards."""
    found = room(ctx, Serving).get(name)
    show(found.traffic, found.traffic.words)


@traffic.command("set")
@click.argument("name")
@click.argument("shares", nargs=-1, required=True, metavar="VERSION=SHARE...")
@click.option("--champion", type=click.IntRange(min=1), help="The version that is live (default: it stays).")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def set_shares(
    ctx: click.Context, name: str, shares: Sequence[str], *, champion: int | None, reason: str, as_json: bool
) -> None:
    """Share the traffic between versions, without a rollout.  Example: mainspring traffic set flights 3=0.8 4=0.2"""
    serving = room(ctx, Serving)
    _done(serving, serving.weigh(name, shares_of(shares), champion=champion, reason=reason))


@traffic.command("route")
@click.argument("name")
@click.option("--header", required=True, help="Name of the header.")
@click.option("--value", default="", help="What it has to be (default: it has the number of a version).")
@click.option("--version", type=click.IntRange(min=1), help="Who answers then.")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def route(
    ctx: click.Context, /, name: str, *, header: str, value: str, version: int | None, reason: str, as_json: bool
) -> None:
    """Bring requests with a header to a version.

    Example: mainspring traffic route flights --header x-beta --value yes --version 4
    """
    serving = room(ctx, Serving)
    _done(serving, serving.route(name, Route(header.lower(), value, version), reason=reason))


@traffic.command("unroute")
@click.argument("name")
@click.option("--header", required=True, help="Name of the header.")
@click.option("--value", default="", help="The value of the route.")
@click.option("--reason", default="", help="Kept in the event log.")
@json_option
@click.pass_context
def unroute(ctx: click.Context, name: str, *, header: str, value: str, reason: str, as_json: bool) -> None:
    """End a route."""
    serving = room(ctx, Serving)
    _done(serving, serving.unroute(name, header.lower(), value, reason=reason))


def _done(serving: Serving, made: Deployment) -> None:
    tell_served(serving, made.name)
    show(made, made.traffic.words)
