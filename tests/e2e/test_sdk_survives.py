"""kill -9 of the program that logs and of the server it logs to: every point arrives, once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.e2e.points import Storm

pytestmark = pytest.mark.usefixtures("warm_programs")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("MAINSPRING_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "pause_s"),
    [
        pytest.param(1, 0.005, marks=pytest.mark.long),
        pytest.param(2, 0.001, marks=pytest.mark.long),
        (3, 0.0),
    ],
)
def test_every_point_arrives_once_whatever_dies_when(root: Path, seed: int, pause_s: float) -> None:
    found = Storm(root, points=60_000, kills=2, seed=seed, pause_s=pause_s).run()
    assert found.steps == list(range(60_000))
    assert found.run["status"] == "finished"
    assert found.server_kills >= 1, "a run that is over early is killed less often, but never not at all"
