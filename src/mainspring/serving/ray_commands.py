"""The config of Ray Serve for a project, on the command line."""

from __future__ import annotations

from pathlib import Path

import click

from mainspring.core.console import json_option, room, show
from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.plan import read_plan
from mainspring.serving.service import Serving


def config(folder: Path, *, host: str, port: int, replicas: int, max_replicas: int, cpus: float) -> dict[str, object]:
    """The config of Ray Serve for a project, as plain values.

    Args:
        folder: Its plan folder.
        host: Address that Ray Serve listens on, on every node.
        port: Its port.
        replicas: How many, the fewest.
        max_replicas: Most of them under load; 0 keeps their number.
        cpus: Cores that Ray keeps free for each.
    Raises: Invalid: There is nothing to serve, or there are fewer replicas at most than at least.
    """
    if not read_plan(folder).endpoints:
        raise Invalid("there is no deployment", where=str(folder), hint="mainspring deploy MODEL --version 1")
    if max_replicas and max_replicas < replicas:
        raise Invalid(f"{replicas} to {max_replicas} replicas", where="--max-replicas")
    scaled = {"autoscaling_config": {"min_replicas": replicas, "max_replicas": max_replicas}}
    many: dict[str, object] = {**scaled} if max_replicas else {"num_replicas": replicas}
    made = {"name": "Replica", **many, "ray_actor_options": {"num_cpus": cpus}}
    served = {"name": "mainspring", "route_prefix": "/", "import_path": "mainspring.serving.onray:application"}
    return {
        "http_options": {"host": host, "port": port},
        "applications": [{**served, "args": {"folder": str(folder)}, "deployments": [made]}],
    }


@click.command("ray")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that Ray Serve listens on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Its port.")
@click.option("--replicas", type=click.IntRange(min=1), default=1, show_default=True, help="How many, the fewest.")
@click.option("--max-replicas", type=click.IntRange(min=0), default=0, help="Most of them under load; 0: no more.")
@click.option("--cpus", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Cores for each replica.")
@json_option
@click.pass_context
def ray(
    ctx: click.Context, /, *, host: str, port: int, replicas: int, max_replicas: int, cpus: float, as_json: bool
) -> None:
    """The config that serves every deployment of the project on Ray Serve. `mainspring up` keeps running on the head
    node: it moves the log, watches and decides; replicas follow it.

    Example: mainspring ray --replicas 4 > serve.yaml && serve run serve.yaml
    """
    import yaml  # type: ignore[import-untyped]

    serving = room(ctx, Serving)
    serving.write_plan()
    made = config(serving.folder, host=host, port=port, replicas=replicas, max_replicas=max_replicas, cpus=cpus)
    show(made, yaml.safe_dump(made, sort_keys=False).rstrip(), as_json=as_json)
