"""What a command took is counted with all that it started, also what outlived it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "bench" / "tree.py"
BURN = "import time\nwhile time.process_time() < 0.4: pass\n"


def used(tmp_path: Path, code: str, limit_s: float = 30.0) -> dict[str, float]:
    report = tmp_path / "report"
    command = [sys.executable, str(PROGRAM), str(report), str(limit_s), sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60)
    found: dict[str, float] = json.loads(report.read_text())
    return found


def test_a_child_that_outlives_its_parent_counts(tmp_path: Path) -> None:
    orphan = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BURN!r}], start_new_session=True)"
    found = used(tmp_path, orphan)
    assert found["exit"] == 0
    assert found["cpu_s"] >= 0.4


def test_a_command_that_takes_too_long_is_killed_and_says_so(tmp_path: Path) -> None:
    found = used(tmp_path, "import time; time.sleep(60)", limit_s=0.5)
    assert found["exit"] == 124
    assert found["wall_s"] < 30


def test_the_exit_code_of_the_command_is_kept(tmp_path: Path) -> None:
    assert used(tmp_path, "raise SystemExit(7)")["exit"] == 7


def test_what_is_left_behind_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sleeper = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    used(tmp_path, f"import subprocess, sys\nopen({str(pid)!r}, 'w').write(str({sleeper}.pid))")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
