"""Mainspring as the suite starts it: a real process, on SQLite and files or on Postgres and S3."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from tests.ports import own_ports
from tests.warm import Warm

from mainspring.core.errors import Failed
from mainspring.demo.server import ServerProcess
from mainspring.testing.postgres import NoPostgres, PostgresServer
from mainspring.testing.s3 import KEYS, NoS3, S3Server


def server(storage: str, started: dict[str, object], folders: pytest.TempPathFactory) -> str:
    """The address of the worker's server on this kind of storage, started when it is asked for first."""
    if storage not in started:
        env = {
            "MAINSPRING_PROJECT_NAME": "default",
            **(_elsewhere(started, folders) if storage == "postgres-s3" else {}),
        }
        started[storage] = _process(folders.mktemp(storage), env)
    found = started[storage]
    assert isinstance(found, ServerProcess)
    return found.address


def _process(folder: Path, env: dict[str, str]) -> ServerProcess:
    """A server on ports of its own, with its imports behind it."""
    for _ in range(5):
        port, serving = own_ports(2)
        process = ServerProcess(folder, port=port, serving_port=serving, env=env)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(subprocess, "Popen", Warm)
                process.start()
        except Failed as reason:
            if "is taken" not in str(reason):
                raise
        else:
            return process
    pytest.fail("five times somebody else was quicker to take the port")


def _elsewhere(started: dict[str, object], folders: pytest.TempPathFactory) -> dict[str, str]:
    """Settings for a fresh database and a fresh prefix. Where there is none of them: skipped, in CI a failure."""
    try:
        started["postgres"] = postgres = PostgresServer()
        started["s3"] = s3 = S3Server(folders.mktemp("s3"))
    except (NoPostgres, NoS3) as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have a Postgres and an S3 server: {reason}")
        pytest.skip(str(reason))
    settings = {
        "MAINSPRING_STORAGE_DB": postgres.url(postgres.make_database()),
        "MAINSPRING_STORAGE_BLOBS": s3.url("suite", uuid4().hex),
    }
    return {**settings, **KEYS}
