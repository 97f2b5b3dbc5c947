"""Runs of pipelines while everything fails, at moments drawn from seeds; the bench `faults` lives through 400."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = 3


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_whatever_fails_and_when_each_step_is_finished_once_and_the_run_ends(
    kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "postgres":
        request.getfixturevalue("postgres_server")  # skips where there is none
    command = [sys.executable, "-m", "tests.e2e.faults", kind, "--seed", "1", "--count", str(SEEDS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == SEEDS, done.stderr
    assert [(each["plan"], each["hits"], each["troubles"]) for each in found if each["troubles"]] == []
