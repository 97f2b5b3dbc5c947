"""What a reproduction compares, what it needs, and which packages it asks for."""

from __future__ import annotations

import io
import math
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid, NotFound
from mainspring.tracking.model import CodeState, Environment, Metric
from mainspring.tracking.reproduction import compare, differing, missing, rebuild, rebuilt, tolerances, unlike
from mainspring.tracking.reproduction.progress import Progress
from mainspring.tracking.reproduction.rebuilding import lock_of
from mainspring.tracking.reproduction.worktree import unknown_files

VALUES = st.lists(st.floats(), min_size=1, max_size=8)


def history(values: list[float], at: int = 0) -> dict[str, list[Metric]]:
    return {"loss": [Metric("loss", value, step, at) for step, value in enumerate(values)]}


def verdict(then: list[float], now: list[float], **allowed: float) -> str:
    return compare(history(then), history(now, at=9), allowed)[0].verdict


@given(VALUES)
def test_a_curve_is_the_same_as_itself_whatever_values_it_has(values: list[float]) -> None:
    assert verdict(values, values) == "same"


@given(VALUES, st.floats(0, 1))
def test_a_wider_tolerance_never_makes_it_worse(values: list[float], tolerance: float) -> None:
    other = [value * 1.001 for value in values]
    narrow, wide = verdict(values, other, loss=tolerance / 2), verdict(values, other, loss=tolerance)
    assert (narrow, wide) in {(a, b) for a in ("same", "within", "differs") for b in ("same", "within", "differs")} - {
        ("within", "differs")
    }


def test_the_last_bit_counts_unless_a_tolerance_is_given() -> None:
    assert verdict([0.1], [math.nextafter(0.1, 1)]) == "differs"
    assert verdict([0.1], [math.nextafter(0.1, 1)], loss=1e-15) == "within"


def test_a_point_more_or_less_differs_whatever_the_tolerance() -> None:
    assert verdict([1.0, 2.0], [1.0], loss=9.0) == "differs"


def test_a_metric_that_is_not_there_is_missing_and_one_more_is_new_and_those_of_the_machine_do_not_count() -> None:
    then, now = history([1.0]) | {"system/cpu": [Metric("system/cpu", 1.0)]}, {"auc": [Metric("auc", 1.0)]}
    found = {row.key: row.verdict for row in compare(then, now, {})}
    assert found == {"loss": "missing", "auc": "new"}


def test_a_tolerance_is_a_mapping_of_numbers() -> None:
    assert tolerances('{"*": 0.1}') == {"*": 0.1}
    assert tolerances("") == {}
    with pytest.raises(Invalid, match="no tolerance"):
        tolerances("[1]")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def code(tmp_path: Path) -> CodeState:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "train.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return CodeState(commit=git(tmp_path, "rev-parse", "HEAD"), folder=".", arguments=("train.py", "--depth", "6"))


def changed(code: CodeState, **changes: object) -> CodeState:
    from dataclasses import replace

    return replace(code, **changes)  # type: ignore[arg-type]  # fields of any type


def test_nothing_is_missing_of_a_run_that_recorded_all(code: CodeState, tmp_path: Path) -> None:
    assert missing(code, tmp_path) == ""
    assert missing(changed(code, arguments=("-m", "package")), tmp_path) == ""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"commit": ""}, "no commit"),
        ({"commit": "0" * 40}, "is not in this repository"),
        ({"diff_cut": True}, "too long"),
        ({"arguments": (), "entry": "notebook"}, "no entry point"),
        ({"arguments": ("train.py", "--password", "***"), "masked": True}, "--password"),
        ({"untracked": ("train.py",)}, "was not in git"),
        ({"arguments": ("../elsewhere.py",)}, "outside of the repository"),
    ],
)
def test_what_is_missing_is_named(code: CodeState, tmp_path: Path, changes: dict[str, object], says: str) -> None:
    assert says in missing(changed(code, **changes), tmp_path)


def test_arguments_that_are_given_take_the_place_of_masked_ones(code: CodeState, tmp_path: Path) -> None:
    masked = changed(code, arguments=("train.py", "TOKEN=***"), masked=True)
    assert missing(masked, tmp_path, instead=["train.py", "TOKEN=abc"]) == ""


def test_files_that_git_did_not_know_are_named_up_to_five(code: CodeState) -> None:
    assert unknown_files(code) == ""
    assert unknown_files(changed(code, untracked=tuple("abcdefg"))).endswith("a, b, c, d, e and 2 more")


def test_environments_differ_in_packages_python_and_variables_and_not_in_pip() -> None:
    then = Environment("3.11.7", packages={"a": "1", "b": "1", "pip": "1"}, variables={"TZ": "UTC"})
    now = Environment("3.11.8", packages={"a": "1", "b": "2", "c": "1", "pip": "2"})
    found = differing(then, now)
    assert found == {"python": ("3.11.7", "3.11.8"), "b": ("1", "2"), "c": ("", "1"), "$TZ": ("UTC", "")}


def test_what_no_environment_brings_back_is_named_where_it_was_recorded() -> None:
    then = Environment("3.11.7", "Linux-6", 8, cpu="Xeon", gpus=("H200",))
    assert unlike(then, then) == {}
    now = Environment("3.11.9", "Linux-6", 2, cpu="Epyc")
    assert unlike(then, now) == {
        "python": ("3.11.7", "3.11.9"),
        "processor": ("Xeon", "Epyc"),
        "cores": ("8", "2"),
        "GPUs": ("H200", ""),
    }
    assert unlike(now, then)["GPUs"] == ("", "H200")
    assert unlike(Environment(), then) == {}, "nothing was recorded of it"


def test_the_lock_names_versions_repositories_and_no_folders() -> None:
    sources = {"mine": "file:///home/me/mine", "theirs": "git+https://example.org/theirs@abc"}
    recorded = Environment(packages={"a": "1", "mine": "2", "pip": "9", "theirs": "3"}, sources=sources)
    assert lock_of(recorded) == ["a==1", "theirs @ git+https://example.org/theirs@abc"]


def wheel(folder: Path, name: str, version: str) -> None:
    """A package of one file, as an index would have it."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Environment) -> Path:
    (tmp_path / "wheels").mkdir()
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", "alpha", version)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PATH", os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if "uv" not in p))
    return rebuilt(recorded, tmp_path / "environments", LINES.append)


LINES: list[str] = []


@pytest.mark.slow
def test_the_environment_has_just_the_recorded_versions_and_the_folders_packages_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platform

    (tmp_path / "mine" / "src").mkdir(parents=True)
    (tmp_path / "mine" / "src" / "mine.py").write_text("VERSION = 'here'\n")
    recorded = Environment(
        platform.python_version(),
        packages={"alpha": "1.0", "mine": "0.1"},
        sources={"mine": (tmp_path / "mine").as_uri()},
    )
    python = installed(tmp_path, monkeypatch, recorded)
    said = subprocess.run(
        [python, "-c", "import alpha, mine; print(alpha.VERSION, mine.VERSION)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "1.0 here\n"
    assert any("alpha" in line for line in LINES), "what the installer says is told while it works"
    LINES.clear()
    assert rebuilt(recorded, tmp_path / "environments", LINES.append) == python
    assert LINES == [], "an environment that is whole is used again"


@pytest.mark.slow
def test_a_package_that_is_not_to_be_had_any_more_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    recorded = Environment(platform.python_version(), packages={"alpha": "3.0"})
    with pytest.raises(NotFound, match=r"alpha==3\.0"):
        installed(tmp_path, monkeypatch, recorded)
    assert [path.name for path in (tmp_path / "environments").iterdir()] == ["lock"], "nothing is left half made"


def test_an_installation_that_is_broken_off_leaves_nothing_and_ends_the_installer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platform

    (tmp_path / "bin").mkdir()
    installer = tmp_path / "bin" / "uv"
    installer.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho 'Collecting alpha'\nexec sleep 600\n")
    installer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    recorded = Environment(platform.python_version(), packages={"alpha": "1.0"})
    with pytest.raises(KeyboardInterrupt):
        rebuilt(recorded, tmp_path / "environments", stop)
    assert [path.name for path in (tmp_path / "environments").iterdir()] == ["lock"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_progress_is_a_line_that_changes_on_a_terminal_and_a_few_lines_elsewhere() -> None:
    shown, plain = Terminal(), io.StringIO()
    for stream in (shown, plain):
        progress = Progress(20, stream)
        for number in range(20):
            progress.tell(f"Collecting p{number}==1")
            progress.tell("  Downloading p.whl\x1b[31m (1 kB)")
        progress.end()
    assert shown.getvalue().count("\n") == 0
    assert "[20/20] Collecting p19==1" in shown.getvalue()
    assert shown.getvalue().endswith("\r\x1b[2K")
    assert len(plain.getvalue().splitlines()) == 10
    assert "\x1b" not in plain.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_python_or_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    import platform

    with pytest.raises(NotFound, match=r"3\.1\.7"):
        rebuild(Environment("3.1.7"), tmp_path / "venv")
    gone = Environment(platform.python_version(), packages={"m": "1"}, sources={"m": "file:///nowhere/at/all"})
    with pytest.raises(NotFound, match="/nowhere/at/all"):
        rebuild(gone, tmp_path / "venv")
