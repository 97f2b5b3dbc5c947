"""Experiments and runs on the command line: renamed, deleted, restored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mainspring.cli.root import root
from mainspring.core.settings import load
from mainspring.server.house import open_house
from mainspring.tracking import Tracking


@pytest.fixture
def made(tmp_path: Path) -> str:
    """A run of the experiment `flights`."""
    house = open_house(load(tmp_path, environ={}))
    run = house.get(Tracking).create_run("flights", name="first")
    house.close()
    return run.id


def _call(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(root, ["--data", str(folder / ".mainspring"), *words])


def _ok(folder: Path, *words: str) -> str:
    found = _call(folder, *words)
    assert found.exit_code == 0, found.output
    return found.output


def test_an_experiment_is_shown_renamed_deleted_and_restored(tmp_path: Path, made: str) -> None:
    assert "flights" in _ok(tmp_path, "experiments", "ls")
    assert "mlflow-artifacts:/" in _ok(tmp_path, "experiments", "show", "flights")
    _ok(tmp_path, "experiments", "rename", "flights", "delays")
    _ok(tmp_path, "experiments", "rm", "delays")
    assert "delays" not in _ok(tmp_path, "experiments", "ls")
    assert [entry["name"] for entry in json.loads(_ok(tmp_path, "experiments", "ls", "--deleted", "--json"))] == [
        "delays"
    ]
    _ok(tmp_path, "experiments", "restore", "delays")
    assert made in _ok(tmp_path, "runs", "ls", "--experiment", "delays")


def test_an_experiment_that_is_not_there_has_a_near_name(tmp_path: Path, made: str) -> None:
    found = _call(tmp_path, "experiments", "show", "flihgts")
    assert "flights" in str(found.output) + str(found.exception)


def test_a_run_is_renamed_deleted_and_restored(tmp_path: Path, made: str) -> None:
    _ok(tmp_path, "runs", "rename", made, "second")
    _ok(tmp_path, "runs", "rm", made)
    assert made not in _ok(tmp_path, "runs", "ls")
    _ok(tmp_path, "runs", "restore", made)
    assert "second" in _ok(tmp_path, "runs", "show", made)
