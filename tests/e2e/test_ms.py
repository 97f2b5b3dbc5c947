"""`./ms` makes its environment on awkward machines too, and costs nothing once it is there.

The real script runs beside a small package of the same name that needs nothing, so no index is asked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = "/usr/bin/python3"
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "mainspring"
version = "0.0.1"
[project.optional-dependencies]
demo = []
dev = []
"""
BACKEND = '''
"""Builds the package without asking anybody for anything."""
import os, zipfile
NAME = "mainspring-0.0.1"
def get_requires_for_build_editable(settings=None): return []
def build_editable(folder, settings=None, metadata=None):
    wheel = f"{NAME}-py3-none-any.whl"
    info = "mainspring-0.0.1.dist-info"
    with zipfile.ZipFile(os.path.join(folder, wheel), "w") as file:
        file.writestr("mainspring.pth", os.path.abspath("src"))
        text = "Metadata-Version: 2.1|Name: mainspring|Version: 0.0.1|Provides-Extra: demo|Provides-Extra: dev|"
        file.writestr(f"{info}/METADATA", text.replace("|", chr(10)))
        text = "Wheel-Version: 1.0|Generator: test|Root-Is-Purelib: true|Tag: py3-none-any|"
        file.writestr(f"{info}/WHEEL", text.replace("|", chr(10)))
        file.writestr(f"{info}/RECORD", "")
    return wheel
'''
MAIN = "import sys; print('here', sys.prefix, *sys.argv[1:])"
MISSING = "raise ImportError('not on this machine')"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return cloned(tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose environment is there."""
    folder = tmp_path_factory.mktemp("installed")
    clone = cloned(folder)
    installs_and_runs(clone, sys.executable, machine(folder))
    return clone


def cloned(where: Path) -> Path:
    """A folder with the real `ms` and a package it can install."""
    folder = where / "clone"
    (folder / "src" / "mainspring").mkdir(parents=True)
    shutil.copy(ROOT / "ms", folder / "ms")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "constraints.txt").write_text("")
    (folder / "src" / "mainspring" / "__init__.py").write_text("")
    (folder / "src" / "mainspring" / "__main__.py").write_text(MAIN)
    return folder


def machine(tmp_path: Path, *missing: str) -> dict[str, str]:
    """The environment of a machine without these modules, and without uv."""
    shadows = tmp_path / "shadows"
    shadows.mkdir(exist_ok=True)
    for name in missing:
        (shadows / f"{name}.py").write_text(MISSING)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAINSPRING", "VIRTUAL"))
    }
    return {**kept, "PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PYTHONPATH": str(shadows)}


def ms(clone: Path, python: str, environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [python, str(clone / "ms"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=clone, check=False)


def another_python() -> str:
    """The system's where a distribution manages it (PEP 668), else the interpreter of the tests, as in `installed`."""
    return DEBIAN if Path(DEBIAN).exists() and is_new_enough(DEBIAN) else sys.executable


def is_new_enough(python: str) -> bool:
    return (
        subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False).returncode == 0
    )


def installs_and_runs(clone: Path, python: str, environ: dict[str, str]) -> None:
    done = ms(clone, python, environ, "runs", "ls")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["here", str(clone / ".venv"), "runs", "ls"]
    assert "installing Mainspring into .venv" in done.stderr
    again = ms(clone, python, environ, "up")
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "missing",
    [
        pytest.param((), marks=pytest.mark.long, id="whole"),  # `installed` proves it of the interpreter of the tests
        pytest.param(("ensurepip",), id="without ensurepip"),
    ],
)
def test_the_first_call_installs_and_runs(clone: Path, tmp_path: Path, missing: tuple[str, ...]) -> None:
    environ, python = machine(tmp_path, *missing), another_python()
    if missing and subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        python = sys.executable  # that one has no pip to fall back on
    installs_and_runs(clone, python, environ)


def test_a_machine_without_any_installer_is_told_what_to_get(clone: Path, tmp_path: Path) -> None:
    done = ms(clone, sys.executable, machine(tmp_path, "ensurepip", "pip"), "up")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "neither ensurepip nor pip nor uv was found",
        "try: install your system's python3-venv, or pip, or uv",
    ]


def test_a_changed_list_of_dependencies_is_installed_anew(installed: Path, tmp_path: Path) -> None:
    (installed / "constraints.txt").write_text("# another line\n")
    done = ms(installed, sys.executable, machine(tmp_path), "up")
    assert done.returncode == 0
    assert "installing Mainspring" in done.stderr


def test_later_calls_cost_less_than_a_tenth_of_a_second(installed: Path, tmp_path: Path) -> None:
    environ = machine(tmp_path)
    inside = [str(installed / ".venv" / "bin" / "python"), "-m", "mainspring", "up"]

    def seconds(command: list[str]) -> float:
        before = os.times()
        subprocess.run(command, capture_output=True, env=environ, cwd=installed, check=True)
        after = os.times()  # of the processor, which others that run beside leave as it is
        return after.children_user + after.children_system - before.children_user - before.children_system

    tries = [(seconds([sys.executable, str(installed / "ms"), "up"]), seconds(inside)) for _ in range(9)]
    overhead = min(through for through, _ in tries) - min(direct for _, direct in tries)
    assert overhead < 0.1
