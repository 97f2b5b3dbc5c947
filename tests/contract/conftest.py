"""A real S3 server for the contract tests, one per session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mainspring.core.ids import new_id
from mainspring.testing.s3 import KEYS, NoS3, S3Server

pytest.register_assert_rewrite("mainspring.testing.blobs", "mainspring.testing.delta")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Where there is no S3 server, tests are skipped; in CI that is a failure."""
    try:
        server = S3Server(tmp_path_factory.mktemp("s3"))
    except NoS3 as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have an S3 server: {reason}")
        pytest.skip(str(reason))
    yield server
    server.stop()


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix nobody else uses, with the keys in the environment."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return s3_server.url("mainspring-tests", new_id())
