"""The main job, as the README says it: one command, real data, every step checked; run again it changes nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


def demo(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "mainspring", "demo", "--dir", str(folder), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(700)
def test_the_demo_holds_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = demo(tmp_path / "demo")
    assert first.returncode == 0, first.stdout + first.stderr
    for step in ("data", "serve", "train", "gate", "deploy", "alarm", "canary", "promoted", "record", "worth", "why"):
        assert re.search(rf"ok +{step} ", first.stdout), f"no step {step} in\n{first.stdout}"
    assert "FAILED" not in first.stdout
    second = demo(tmp_path / "demo")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "0 live requests" in second.stdout
    assert tables(second.stdout) == tables(first.stdout)


def tables(text: str) -> str:
    """From the first table to the last line before the server stops."""
    return text.partition("Which version served when")[2].partition("stop")[0].rpartition("\n")[0]


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = demo(tmp_path)
    assert done.returncode == 1
    assert "is not empty and not the demo's" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("until", ["soon", "2012-01-01"])
def test_a_day_outside_the_year_is_refused(tmp_path: Path, until: str) -> None:
    done = demo(tmp_path / "demo", "--until", until)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 3)
