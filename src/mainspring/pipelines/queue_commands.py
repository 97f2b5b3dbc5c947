"""Queues on the command line."""

from __future__ import annotations

import signal
import threading

import click

from mainspring.core.console import json_option, room, show, table
from mainspring.pipelines.queues import Queues, QueueView
from mainspring.pipelines.worker import Worker


@click.group("queue")
def group() -> None:
    """Queues, their limits and dead letters, and the workers that take jobs."""


@group.command("ls")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Every queue: its mode, limits and jobs.  Example: mainspring queue ls"""
    found = room(ctx, Queues).all()
    if as_json:
        show(found, as_json=True)
        return
    table([each.status for each in found], ("queue", "mode", "limit", "queued", "running", "dead"), empty="no queue")


@group.command("workers")
@json_option
@click.pass_context
def workers(ctx: click.Context, as_json: bool) -> None:
    """Every process that takes jobs.  Example: mainspring queue workers"""
    found = room(ctx, Queues).workers()
    if as_json:
        show(found, as_json=True)
        return
    rows = [
        {
            "worker": each.name,
            "queues": ", ".join(each.queues),
            "threads": each.threads,
            "jobs": len(each.jobs),
            "seen_at": each.seen_at,
        }
        for each in found
    ]
    table(rows, ("worker", "queues", "threads", "jobs", "seen_at"), empty="no worker; start one: mainspring up")


@group.command("mode")
@click.argument("queue")
@click.argument("mode", type=click.Choice(["open", "paused", "draining"]))
@json_option
@click.pass_context
def mode_(ctx: click.Context, queue: str, mode: str, as_json: bool) -> None:
    """Stop a queue or open it: paused gives nothing out, draining takes nothing in.

    Example: mainspring queue mode pipelines paused
    """
    _say(room(ctx, Queues).set_mode(queue, mode), as_json=as_json)


@group.command("limit")
@click.argument("queue")
@click.argument("limit", type=click.IntRange(0))
@click.option("--project", default="", help="The quota of this project, instead of the limit of the queue.")
@json_option
@click.pass_context
def limit_(ctx: click.Context, queue: str, limit: int, project: str, as_json: bool) -> None:
    """How many jobs run at once; 0 for no limit.  Example: mainspring queue limit pipelines 4 --project fraud"""
    _say(room(ctx, Queues).set_limit(queue, limit, project=project), as_json=as_json)


@group.command("dead")
@click.argument("queue", default="pipelines")
@json_option
@click.pass_context
def dead(ctx: click.Context, queue: str, as_json: bool) -> None:
    """Jobs that were put aside after all their attempts.  Example: mainspring queue dead"""
    found = room(ctx, Queues).get(queue).dead
    if as_json:
        show(found, as_json=True)
        return
    table(found, ("id", "kind", "attempt", "finished_at", "error"), empty="no dead letters")


@group.command("revive")
@click.argument("job_id")
@json_option
@click.pass_context
def revive(ctx: click.Context, job_id: str, as_json: bool) -> None:
    """Give a dead letter another chance.  Example: mainspring queue revive 019a..."""
    done = room(ctx, Queues).revive(job_id)
    show({"job": job_id, "revived": done}, f"job {job_id} is {'queued again' if done else 'not dead'}", as_json=as_json)


@group.command("work")
@click.pass_context
def work(ctx: click.Context) -> None:
    """Take jobs until it is stopped: one more worker, also on another machine that shares database and blobs.

    Example: mainspring --db postgresql://db/mainspring --blobs s3://bucket/blobs queue work
    """
    worker, stopping = room(ctx, Worker), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    worker.start()
    click.echo(f"worker {worker.name} takes jobs; stop it with Ctrl-C", err=True)
    stopping.wait()
    worker.stop()


def _say(found: QueueView, *, as_json: bool) -> None:
    status = found.status
    limits = [f"at most {status.limit} at once"] * bool(status.limit)
    limits += [f"at most {limit} of project {project}" for project, limit in found.quotas.items()]
    show(found, ", ".join([f"queue {status.queue} is {status.mode}", *limits]), as_json=as_json)
