"""Mainspring as the suite starts it: a real process, on SQLite and files or on Postgres and S3."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from mainspring.demo.server import ServerProcess, free_ports
from mainspring.testing.postgres import NoPostgres, PostgresServer
from mainspring.testing.s3 import KEYS, NoS3, S3Server


def server(storage: str, started: dict[str, object], folders: pytest.TempPathFactory) -> str:
    """The address of the worker's server on this kind of storage, started when it is asked for first."""
    if storage not in started:
        env = {
            "MAINSPRING_PROJECT_NAME": "default",
            **(_elsewhere(started, folders) if storage == "postgres-s3" else {}),
        }
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
        port, serving = free_ports(2, near=24_000 + 200 * worker + 100 * (storage == "postgres-s3"))
        process = ServerProcess(folders.mktemp(storage), port=port, serving_port=serving, env=env)
        process.start()
        started[storage] = process
    found = started[storage]
    assert isinstance(found, ServerProcess)
    return found.address


def _elsewhere(started: dict[str, object], folders: pytest.TempPathFactory) -> dict[str, str]:
    """Settings for a fresh database and a fresh prefix. Where there is none of them: skipped, in CI a failure."""
    try:
        started["postgres"] = postgres = PostgresServer()
        started["s3"] = s3 = S3Server(folders.mktemp("s3"))
    except (NoPostgres, NoS3) as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have a Postgres and an S3 server: {reason}")
        pytest.skip(str(reason))
    name = f"suite_{uuid4().hex}"
    postgres.execute(f"CREATE DATABASE {name}")
    settings = {"MAINSPRING_STORAGE_DB": postgres.url(name), "MAINSPRING_STORAGE_BLOBS": s3.url("suite", name)}
    return {**settings, **KEYS}
