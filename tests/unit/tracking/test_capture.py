"""What is recorded of code and machine, in real git repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mainspring.tracking.capture import DIFF_LIMIT, code_state, environment


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "train.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    found = code_state(repository, entry="train.py")
    assert found.commit == git(repository, "rev-parse", "HEAD")
    assert (found.branch, found.dirty, found.diff, found.entry) == ("main", False, "", "train.py")


def test_changes_on_top_are_kept(repository: Path) -> None:
    (repository / "train.py").write_text("x = 2\n")
    found = code_state(repository)
    assert found.dirty
    assert "+x = 2" in found.diff


def test_a_new_file_makes_the_checkout_dirty(repository: Path) -> None:
    (repository / "new.py").write_text("")
    assert code_state(repository).dirty


def test_a_huge_change_is_cut_and_says_so(repository: Path) -> None:
    (repository / "train.py").write_text("y = 1\n" * DIFF_LIMIT)
    found = code_state(repository)
    assert len(found.diff) == DIFF_LIMIT
    assert found.diff_cut


def test_outside_a_repository_only_the_entry_is_known(tmp_path: Path) -> None:
    found = code_state(tmp_path, entry="notebook")
    assert (found.commit, found.entry) == ("", "notebook")


def test_the_environment_names_python_machine_and_packages() -> None:
    found = environment()
    assert found.python.count(".") == 2
    assert found.cpus >= 1
    assert "polars" in found.packages
