"""What is recorded of code and machine, in real git repositories."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distributions
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


def test_versions_of_packages_are_those_that_python_itself_reads() -> None:
    wanted: dict[str, str] = {}
    for entry in distributions():
        wanted.setdefault(str(entry.metadata["Name"]).lower(), entry.version)
    assert environment().packages == wanted


def test_git_is_not_started_where_no_repository_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho x >> {started}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    code_state(tmp_path, entry="notebook")
    assert not started.exists()
    (tmp_path / ".git").mkdir()
    code_state(tmp_path, entry="notebook")
    assert started.exists()


def test_files_that_git_does_not_know_are_listed(repository: Path) -> None:
    (repository / "notes").mkdir()
    (repository / "notes" / "a b.txt").write_text("")
    assert code_state(repository).untracked == ("notes/a b.txt",)


def test_the_working_folder_is_kept_as_seen_from_the_root_of_the_repository(repository: Path) -> None:
    (repository / "deep").mkdir()
    assert (code_state(repository).folder, code_state(repository / "deep").folder) == (".", "deep")


def test_a_changed_binary_file_is_in_the_patch(repository: Path) -> None:
    (repository / "train.py").write_bytes(bytes(range(256)))
    assert "GIT binary patch" in code_state(repository).diff


def asked(folder: Path, *arguments: str) -> list[str]:
    """What a program that is called so says that it was called."""
    code = "import json; from pathlib import Path; from mainspring.tracking.capture import entry_point\n"
    (folder / "program.py").write_text(code + "print(json.dumps(entry_point(Path.cwd())))")
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_a_program_knows_how_to_call_it_again(tmp_path: Path) -> None:
    assert asked(tmp_path, "program.py", "--depth", "6") == ["program.py", "--depth", "6"]
    assert asked(tmp_path, str(tmp_path / "program.py")) == ["program.py"]
    assert asked(tmp_path, "-m", "program", "--depth", "6") == ["-m", "program", "--depth", "6"]
    assert asked(tmp_path, "-c", "import program") == []


def test_variables_that_change_results_are_kept_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MY_PASSWORD", "hunter2")
    found = environment().variables
    assert found["OMP_NUM_THREADS"] == "1"
    assert "hunter2" not in found.values()
