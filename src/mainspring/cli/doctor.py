"""`mainspring doctor`: where things live, and what is wrong."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import click

from mainspring import __version__
from mainspring.core.console import json_option, show
from mainspring.core.errors import MainspringError
from mainspring.core.settings import FILE, Settings, find_file, load
from mainspring.core.values import dataclass

LEAST_FREE = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    ok: bool = True
    hint: str = ""


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Where things live, and what is wrong. Exit code 1 when something is."""
    settings = load(flags=ctx.meta["mainspring.flags"])
    findings = [look(settings) for look in LOOKS]
    lines = []
    for finding in findings:
        lines.append(f"{'ok   ' if finding.ok else 'WRONG'}  {finding.what:<10} {finding.found}")
        if finding.hint:
            lines.append(f"                  try: {finding.hint}")
    lines.append(f"\nTo remove everything Mainspring keeps for this project, delete {settings.data_dir}")
    show(findings, "\n".join(lines), as_json=as_json)
    ctx.exit(0 if all(finding.ok for finding in findings) else 1)


def _program(settings: Settings) -> Finding:
    return Finding("program", f"Mainspring {__version__}, Python {platform.python_version()} at {sys.prefix}")


def _file(settings: Settings) -> Finding:
    from mainspring.loop.planning.reading import read_declared
    from mainspring.server.house import check_names, check_rooms

    path = find_file(settings.root)
    try:
        reading = read_declared(settings)
        with reading.placed():
            check_rooms(reading.settings)
            check_names(reading.settings)
    except MainspringError as error:
        return Finding("settings", f"{path or FILE}: {error.what}, at {error.where}", False, error.hint)
    if not path:
        return Finding("settings", f"no {FILE} here or above; defaults are used")
    declared = settings.project.declarations
    return Finding("settings", f"{path} and {declared}" if declared else str(path))


def _folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        return Finding("data", f"{folder} can't be written", False, "--data DIR, or change its permissions")
    free = shutil.disk_usage(nearest).free
    text = f"{folder} ({_size(folder)} used, {free / 2**30:.1f} GB free)" if folder.exists() else f"{folder} (new)"
    return Finding("data", text, free >= LEAST_FREE, "" if free >= LEAST_FREE else "free some disk space")


def _size(folder: Path) -> str:
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{total / 2**20:.1f} MB"


def _database(settings: Settings) -> Finding:
    where = settings.storage.db or f"{settings.data_dir}/mainspring.sqlite"
    from mainspring.storage import migrations, open_tables

    shown = _no_secret(where)
    if "://" not in where.replace("sqlite:///", "") and not Path(where.removeprefix("sqlite:///")).exists():
        return Finding("database", f"{shown} (new)")
    try:
        tables = open_tables(settings.storage.db, settings.data_dir)
        try:
            step, newest = migrations.step_of(tables), migrations.HEAD
        finally:
            tables.close()
    except MainspringError as error:
        return Finding("database", f"{shown}: {error.what}", False, error.hint)
    if step == newest:
        return Finding("database", f"{shown} (schema {step})")
    if step > newest:
        hint = "install the release that wrote it, or a newer one"
        return Finding("database", f"{shown} (schema {step}, this release ends at {newest})", False, hint)
    return Finding("database", f"{shown} (schema {step or 'none yet'}; the next start brings it to {newest})")


def _no_secret(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if "@" in rest else url


def _ports(settings: Settings) -> Finding:
    taken = [port for port in (settings.server.port, settings.serving_port) if _is_taken(settings.server.host, port)]
    ports = f"{settings.server.host}, server {settings.server.port}, model server {settings.serving_port}"
    if not taken:
        return Finding("ports", f"{ports} (free)")
    return Finding("ports", f"{ports} (in use: {', '.join(map(str, taken))}; fine when it is Mainspring)")


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, port)) == 0


LOOKS: tuple[Callable[[Settings], Finding], ...] = (_program, _file, _folder, _database, _ports)
