"""`mainspring up`: API, pages, worker and loop in one process, the model server as its child."""

from __future__ import annotations

import gc
import logging

import click

from mainspring.core.settings import load


@click.command()
@click.option("--host", default=None, help="Address to listen on (default: 127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="Port of API and pages (default: 7600).")
@click.option("--serving-port", type=click.IntRange(1, 65535), default=None, help="Port of the model server.")
@click.option("--data", default=None, metavar="DIR", help="Data folder.")
@click.option("--db", default=None, metavar="URL", help="Metadata database.")
@click.option("--blobs", default=None, metavar="URL", help="Where blobs and tables live.")
@click.option("--engine", default=None, metavar="NAME", help="Where steps run: process, ray or ray://HOST:PORT.")
@click.option("--verbose", is_flag=True, help="Log what the loop decides.")
@click.pass_context
def up(ctx: click.Context, /, verbose: bool, **given: object) -> None:
    """Start the server; stops on Ctrl-C, and goes on where it was when started again.  Example: mainspring up"""
    gc.disable()  # nothing that is made while starting is garbage; `serve` turns it on when it is ready
    names = {"serving_port": "serving.port", "host": "server.host", "port": "server.port"}
    names["engine"] = "pipelines.engine"
    flags = {names.get(name, f"storage.{name}"): value for name, value in given.items() if value is not None}
    settings = load(flags={**ctx.meta["mainspring.flags"], **flags})
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    from mainspring.access.service import check_binding
    from mainspring.server.background import Background, FolderLock
    from mainspring.server.house import open_house
    from mainspring.server.run import serve

    check_binding(settings.server.host)
    lock = FolderLock(settings.data_dir)
    lock.take()
    wiring = open_house(settings)
    background = Background(wiring)
    try:
        serve(
            wiring,
            host=settings.server.host,
            port=settings.server.port,
            project=settings.project.name,
            on_listen=[background.launch],
            on_start=[background.start],
            on_stop=[background.stop],
            say=click.echo,
        )
    finally:
        wiring.close()
        lock.release()
