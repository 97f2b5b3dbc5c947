"""Moving from MLflow and back on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mainspring.core.console import json_option, room, show
from mainspring.core.errors import Refused, Unavailable

if TYPE_CHECKING:
    from mainspring.mlflow.moving.arriving import Report
    from mainspring.mlflow.moving.model import Source


@click.group("import")
def importing() -> None:
    """Bring what another tool keeps here."""


@importing.command("mlflow")
@click.argument("source")
@click.option("--experiment", "experiments", multiple=True, help="Only this experiment; may be given again.")
@click.option(
    "--artifacts-root", default="", help="Where `mlflow-artifacts:` files lie: a folder or s3://bucket/prefix."
)
@click.option("--no-artifacts", is_flag=True, help="Leave files where they are.")
@json_option
@click.pass_context
def import_mlflow(
    ctx: click.Context,
    source: str,
    experiments: Sequence[str],
    artifacts_root: str,
    no_artifacts: bool,
    as_json: bool,
) -> None:
    """Bring experiments, runs, histories, files, models, versions and aliases from MLflow.

    SOURCE is the address of a server (http://host:5000), a database (postgresql://...) or the file of one (mlflow.db).
    Run it again after it was broken off, or later for what is new: what came whole is left. Exit code 4 when something
    could not be brought or is not the same here.

    Example: mainspring import mlflow http://127.0.0.1:5000
    """
    from mainspring.mlflow.moving.arriving import Importer
    from mainspring.registry import Registry
    from mainspring.tracking import Files, Tracking
    from mainspring.tracking.arrivals import Arrivals

    opened = _source(source, artifacts_root)
    try:
        report = Importer(
            opened,
            arrivals=room(ctx, Arrivals),
            tracking=room(ctx, Tracking),
            files=room(ctx, Files),
            registry=room(ctx, Registry),
            with_files=not no_artifacts,
            tell=lambda line: click.echo(line, err=True),
        ).run(experiments)
    finally:
        opened.close()
    _told(report, as_json=as_json)


@click.group("export")
def exporting() -> None:
    """Bring what is kept here to another tool."""


@exporting.command("mlflow")
@click.argument("target")
@click.option("--from", "origin", default="", help="Address of the server to read from (default: this project's).")
@click.option("--experiment", "experiments", multiple=True, help="Only this experiment; may be given again.")
@click.option("--no-artifacts", is_flag=True, help="Leave files where they are.")
@json_option
@click.pass_context
def export_mlflow(
    ctx: click.Context, target: str, origin: str, experiments: Sequence[str], no_artifacts: bool, as_json: bool
) -> None:
    """Bring experiments, runs, histories, files, models, versions and aliases to an MLflow server.

    TARGET is its address. A server of ours must be up, since both ends are spoken to through the protocol. Ids that the
    target does not let one choose are kept there as tags, so an export can be broken off and repeated.

    Example: mainspring export mlflow http://127.0.0.1:5000
    """
    from mainspring.core.settings import Settings
    from mainspring.mlflow.moving.leaving import Exporter
    from mainspring.mlflow.moving.server import Server, ServerSource

    server = room(ctx, Settings).server
    source = ServerSource(origin or f"http://{server.host}:{server.port}")
    try:
        exporter = Exporter(
            source, Server(target), with_files=not no_artifacts, tell=lambda line: click.echo(line, err=True)
        )
        _told(exporter.run(experiments), as_json=as_json)
    except Unavailable as reason:
        if origin or reason.where != source.label:
            raise
        raise Unavailable("the server of this project is not up", where=source.label, hint="mainspring up") from None
    finally:
        source.close()


def _source(address: str, root: str) -> Source:
    if address.startswith(("http://", "https://")):
        from mainspring.mlflow.moving.server import ServerSource

        return ServerSource(address, root)
    from mainspring.mlflow.moving.database import DatabaseSource

    return DatabaseSource(address, root)


def _told(report: Report, *, as_json: bool) -> None:
    show(report, _lines(report), as_json=as_json)
    if not report.whole:
        found = f"{len(report.problems)} things could not be brought, {len(report.differences)} differ"
        raise Refused(found, where=report.source, hint="see the list above; run it again after mending")


def _lines(report: Report) -> str:
    kinds = [*report.brought, *(kind for kind in report.skipped if kind not in report.brought)]
    lines = [
        f"{kind:<18} {report.brought.get(kind, 0):>9} brought {report.skipped.get(kind, 0):>9} here already"
        for kind in kinds
    ]
    lines += [f"not brought: {line}" for line in report.problems]
    lines += [f"differs: {line}" for line in report.differences]
    return "\n".join([*lines, "everything came" if report.whole else ""]).rstrip()
