"""A run is run again from what was recorded of it, by the command, in a real repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = """
import random, sys
import mainspring as ms
from settings import RATE

ms.seed(int(sys.argv[1]))
with ms.run("warm up") as run:
    run.log({"loss": 9.0})
with ms.run("train", params={"rate": RATE}) as run:
    if "--loose" in sys.argv:
        run.tolerance(0.5)
    for step in range(20):
        noise = random.SystemRandom().random() * 0.01 if "--loose" in sys.argv else 0
        run.log({"loss": 1 + random.random() * RATE + noise})
    run.log({"loss": float("nan")})
    if "--input" in sys.argv:
        run.input("datasets/flights/1")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a program whose last change is not committed."""
    for name in [name for name in os.environ if name.startswith("MAINSPRING_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "project"
    (folder / "deep").mkdir(parents=True)
    (folder / "mainspring.toml").write_text('[project]\nname = "storm"\n')
    (folder / ".gitignore").write_text(".mainspring\n__pycache__\n")
    (folder / "deep" / "train.py").write_text(TRAIN)
    (folder / "deep" / "settings.py").write_text("RATE = 1.0\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "deep" / "settings.py").write_text("RATE = 2.0\n")
    return folder


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True,
        capture_output=True,
    )


def trained(project: Path, *arguments: str) -> str:
    """Run the program, and give the id of its second run."""
    subprocess.run([sys.executable, "train.py", *arguments], cwd=project / "deep", check=True, timeout=120)
    runs = json.loads(command(project, "runs", "ls", "--json").stdout)
    return str(next(run["id"] for run in runs if run["name"] == "train"))


def command(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mainspring", *arguments]
    return subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.long
def test_a_run_is_reproduced_to_the_bit_from_a_commit_and_the_changes_on_top(project: Path) -> None:
    run_id = trained(project, "7")
    (project / "deep" / "settings.py").write_text("RATE = 3.0\n")
    (project / "deep" / "train.py").write_text("raise SystemExit('not this one')\n")
    done = command(project, "reproduce", run_id, "--no-env", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["metrics"]
    assert json.loads(done.stdout)["differs"] == {}
    assert (row["key"], row["verdict"], row["points"]) == ("loss", "same", 21)
    assert (
        subprocess.run(
            ["git", "-C", str(project), "worktree", "list"], capture_output=True, text=True, check=True
        ).stdout.count("\n")
        == 1
    )
    again = command(project, "runs", "show", json.loads(done.stdout)["reproduction"], "--json")
    assert json.loads(again.stdout)["tags"]["mainspring.reproduces"] == run_id


@pytest.mark.slow
@pytest.mark.long
def test_another_result_is_told_with_exit_code_4_unless_it_is_within_a_tolerance(project: Path) -> None:
    run_id = trained(project, "7")
    off = command(project, "reproduce", run_id, "--no-env", "--", "train.py", "8")
    assert off.returncode == 4
    assert "differs" in off.stdout
    assert "1 of 1 metrics differ: loss" in off.stderr
    wide = command(project, "reproduce", run_id, "--no-env", "--tolerance", "1e9", "--", "train.py", "8")
    assert wide.returncode == 0
    loose = trained(project, "7", "--loose")
    declared = command(project, "reproduce", loose, "--no-env")
    assert declared.returncode == 0, declared.stderr
    assert "within" in declared.stdout


@pytest.mark.slow
@pytest.mark.long
def test_what_is_missing_is_named_and_nothing_is_run(project: Path) -> None:
    secret = trained(project, "7", "--api-token", "hunter2")
    shown = command(project, "runs", "show", secret, "--json").stdout
    assert "hunter2" not in shown
    done = command(project, "reproduce", secret, "--no-env")
    assert (done.returncode, done.stdout) == (3, "")
    assert "--api-token ***" in done.stderr
    data = command(project, "reproduce", trained(project, "7", "--input"), "--no-env")
    assert data.returncode == 3
    assert "datasets/flights/1 is gone" in data.stderr
    (project / "new.py").write_text("import mainspring as ms\nwith ms.run('train') as run: run.log({'loss': 1.0})\n")
    subprocess.run([sys.executable, "new.py"], cwd=project, check=True)
    newest = json.loads(command(project, "runs", "ls", "--json").stdout)[0]["id"]
    untracked = command(project, "reproduce", newest, "--no-env")
    assert "the program new.py was not in git" in untracked.stderr
