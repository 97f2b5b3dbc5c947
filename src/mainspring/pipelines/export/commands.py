"""Exports on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from mainspring.core.clock import SECOND_US, span_us
from mainspring.core.console import json_option, room
from mainspring.core.errors import Invalid
from mainspring.pipelines.export.kubeflow import kubeflow
from mainspring.pipelines.export.kubernetes import Manifest, cron_job, job
from mainspring.pipelines.export.place import Place, Schedule, Schedules
from mainspring.pipelines.export.rayjob import ray_job
from mainspring.pipelines.model import Graph, Json, size_of
from mainspring.pipelines.service import Pipelines

KINDS = ("job", "cronjob", "rayjob", "kfp")


@click.command("export")
@click.argument("target", metavar="FILE:NAME", required=False, default="")
@click.option("--to", "kind", required=True, type=click.Choice(KINDS), help="What runs it there.")
@click.option("--image", default="", help="Container image with Mainspring and the project's folder.")
@click.option("-p", "--param", "params", multiple=True, metavar="K=V", help="A parameter; may be repeated.")
@click.option("--trigger", default="", help="For a CronJob: pipeline, schedule and params of this trigger.")
@click.option("--cron", default="", help='For a CronJob: five fields, such as "30 4 * * mon-fri".')
@click.option("--zone", default="UTC", show_default=True, help="Time zone of --cron.")
@click.option("--name", default="", help="Name (default: made of the pipeline's).")
@click.option("--namespace", default="", help="Namespace (default: left to kubectl).")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable; may be repeated.")
@click.option("--secret", default="", help="The Secret that has the secrets of steps, by name.")
@click.option("--secret-env", multiple=True, metavar="NAME=SECRET/KEY", help="A variable that is read from a Secret.")
@click.option("--volume", multiple=True, metavar="CLAIM:PATH", help="A claim of a volume, and where it is mounted.")
@click.option("--cpu", default=0.0, help="Cores of a container with all steps (default: the most a step asks for).")
@click.option("--memory", default="", help="Its memory, such as 8GB (default: likewise).")
@click.option("--retries", default=3, show_default=True, help="How often a container that died is started again.")
@click.option("--deadline", default="", help="When it is stopped, such as 2h (default: made of the steps' timeout_s).")
@click.option("--workers", default=1, show_default=True, help="For a RayJob: pods besides the head.")
@click.option("--ray-version", default="", help="For a RayJob: Ray's version in the image.")
@click.option("-o", "--out", default="", metavar="FILE", help="Where it is written (default: standard output).")
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    /,
    target: str,
    *,
    kind: str,
    params: Sequence[str],
    trigger: str,
    cron: str,
    zone: str,
    out: str,
    as_json: bool,
    **place: object,
) -> None:
    """A pipeline as a Job, CronJob or RayJob of Kubernetes, or for Kubeflow Pipelines.

    Example: mainspring pipeline export train.py:flights --to job --image hub.example/flights:1
    --secret-env MAINSPRING_STORAGE_DB=mainspring/db --env MAINSPRING_STORAGE_BLOBS=s3://flights -o job.yaml
    """
    schedule = _schedule(ctx, kind, trigger, cron, zone)
    values: dict[str, Json] = {**(schedule.params if schedule else {}), **_pairs(params, "--param")}
    pipelines = room(ctx, Pipelines)
    target = target or (schedule.pipeline if schedule else "")
    if not target:
        raise Invalid("no pipeline was named", where="FILE:NAME", hint="name one, or a --trigger that starts one")
    pipeline = pipelines.load(target)
    graph, _ = pipeline.draw(values)
    made = _made(kind, graph, pipelines.place_in_project(target), _place(**place), schedule)  # type: ignore[arg-type]
    text = _text(made, as_json=as_json)
    if out:
        Path(out).write_text(text)
        click.echo(f"written to {out}", err=True)
    else:
        sys.stdout.write(text)


def _made(kind: str, graph: Graph, target: str, place: Place, schedule: Schedule | None) -> list[Manifest]:
    if kind == "kfp":
        return kubeflow(graph, target, place)
    if kind == "cronjob" and schedule is not None:
        return [cron_job(graph, target, place, schedule)]
    return [(ray_job if kind == "rayjob" else job)(graph, target, place)]


def _schedule(ctx: click.Context, kind: str, trigger: str, cron: str, zone: str) -> Schedule | None:
    if kind != "cronjob":
        if trigger or cron:
            raise Invalid(f"a {kind} has no schedule", where="--trigger, --cron", hint="--to cronjob")
        return None
    if bool(trigger) == bool(cron):
        what = "a CronJob has one schedule" if trigger else "nobody says when it is to run"
        raise Invalid(what, where="--trigger, --cron", hint='--trigger NAME, or --cron "30 4 * * mon-fri"')
    schedules = room(ctx, Schedules)  # type: ignore[type-abstract]  # the wiring knows it by its protocol
    return schedules.of_trigger(trigger) if trigger else schedules.of_text(cron, zone)


def _place(
    *,
    image: str,
    name: str,
    namespace: str,
    env: Sequence[str],
    secret: str,
    secret_env: Sequence[str],
    volume: Sequence[str],
    cpu: float,
    memory: str,
    retries: int,
    deadline: str,
    workers: int,
    ray_version: str,
) -> Place:
    secrets = _pairs(secret_env, "--secret-env")
    place = Place(image=image, name=name, namespace=namespace, secret=secret, retries=retries, ray_version=ray_version)
    return replace(
        place,
        env=_pairs(env, "--env"),
        secret_env={key: _halves(value, "/", "--secret-env", "NAME=SECRET/KEY") for key, value in secrets.items()},
        volumes=dict(_halves(each, ":", "--volume", "CLAIM:PATH") for each in volume),
        cpu=cpu,
        memory=size_of(memory) if memory else 0,
        deadline_s=round(span_us(deadline, "--deadline") / SECOND_US) if deadline else 0,
        workers=workers,
    )


def _pairs(texts: Sequence[str], where: str) -> dict[str, str]:
    return dict(_halves(text, "=", where, "NAME=VALUE") for text in texts)


def _halves(text: str, sign: str, where: str, form: str) -> tuple[str, str]:
    first, found, second = text.partition(sign)
    if not first or not found:
        raise Invalid(f"{text[:60]!r} has no {sign!r}", where=where, hint=f"{where} {form}")
    return first, second


def _text(made: Sequence[Mapping[str, object]], *, as_json: bool) -> str:
    import yaml  # type: ignore[import-untyped]

    text = json.dumps(made[0] if len(made) == 1 else list(made))
    if as_json:
        return f"{text}\n"
    apart = json.loads(f"[{text}]" if len(made) == 1 else text)  # no part is in it twice, so YAML needs no anchors
    return str(yaml.safe_dump_all(apart, sort_keys=False, width=120))
