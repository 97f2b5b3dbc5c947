"""Pipeline tools to measure against, each from an environment of its own below the folder `MAINSPRING_FLOWS`.

    python -m venv FOLDER/prefect  && FOLDER/prefect/bin/pip install prefect "fastapi==0.139.*"
    python -m venv FOLDER/zenml    && FOLDER/zenml/bin/pip install "zenml[local]"
    python -m venv FOLDER/metaflow && FOLDER/metaflow/bin/pip install metaflow "setuptools<81"
    and likewise dagster, kedro, kfp and dbos[postgres] with psycopg[binary]

What a tool keeps, it keeps in a fresh folder; nothing leaves the machine. One that cannot do what it is asked raises
`CannotRun` with the reason, and the others go on.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flow_programs import DONE, FILES, HEAD, SERVED, WHOLE
from tree import Used, cpu_of_tree, end_tree, used

LIMIT_S = 900.0
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # 20 as it comes, which a busy machine needs for less
    "DO_NOT_TRACK": "1",
    "ZENML_ANALYTICS_OPT_IN": "false",
    "ZENML_LOGGING_VERBOSITY": "ERROR",
    "KEDRO_DISABLE_TELEMETRY": "1",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "METAFLOW_USER": "bench",
    "USERNAME": "bench",
}


class CannotRun(Exception):
    """Why a tool is left out."""


@dataclass(frozen=True)
class Turn:
    """One run of a work: CPU seconds of the whole tree, seconds of the clock, and what it said."""

    cpu_s: float
    wall_s: float
    said: object


class Contestant:
    """A tool whose program stays and does what it is asked.

    Args:
        name: A key of `SERVED`.
        root: A folder; its own is made in it.
        env: More variables for it.
        beside: The process of a server that works for it, whose CPU counts too.
    Raises:
        CannotRun: It is not installed, or its program did not start.
    """

    def __init__(self, name: str, root: Path, env: Mapping[str, str] | None = None, beside: int = 0) -> None:
        self.name, self._beside = name, beside
        folder, python = placed(name, root)
        (folder / "work.py").write_text(HEAD + SERVED[name])
        self._errors = folder / "errors.log"
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        with self._errors.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "work.py"],
                cwd=folder,
                env={**environ(folder), **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._found(LIMIT_S)
        except CannotRun:
            self.close()
            raise

    def turn(self, work: str, *words: int, runs: int = 1) -> Turn:
        """Do a work some times; the figures are for one.

        Raises:
            CannotRun: It failed, or did not end in time.
        """
        assert self._process.stdin is not None
        before = self._cpu_s()
        try:
            self._process.stdin.write(" ".join(map(str, (work, runs, *words))).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise CannotRun(self._reason("it ended")) from None
        found = self._found(LIMIT_S)
        return Turn((self._cpu_s() - before) / runs, float(str(found["wall_s"])), found["said"])

    def close(self) -> None:
        """End it and all that it started."""
        end_tree(self._process)

    def _cpu_s(self) -> float:
        return cpu_of_tree(self._process.pid) + (cpu_of_tree(self._beside) if self._beside else 0.0)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"FOUND "):
                self._lines.put(line.decode().removeprefix("FOUND "))
        self._lines.put("")

    def _found(self, limit_s: float) -> dict[str, object]:
        try:
            line = self._lines.get(timeout=limit_s)
        except queue.Empty:
            raise CannotRun(f"it took longer than {limit_s:.0f} s") from None
        if not line:
            raise CannotRun(self._reason("it ended"))
        found: dict[str, object] = json.loads(line)
        return found

    def _reason(self, what: str) -> str:
        return f"{what}: {last_line(self._errors.read_text(errors='replace'))}"


def run_whole(name: str, root: Path, number: int, *, command: tuple[str, ...] = (), done: str = "") -> Used:
    """Run a command of a tool, that of `WHOLE` unless another is given, and check that it says what it should.

    Raises:
        CannotRun: It is not installed, failed, or said something else.
    """
    folder, python = placed(name, root)
    given = [word.replace("NUMBER", str(number)) for word in command or WHOLE[name]]
    given[0] = python
    found = used(given, cwd=folder, env=environ(folder), limit_s=LIMIT_S)
    wanted = (done or DONE[name]).replace("NUMBER", str(number + 10))
    if found.exit != 0 or wanted not in found.output:
        raise CannotRun(f"exit code {found.exit} without {wanted!r}: {last_line(found.output)}")
    return found


def placed(name: str, root: Path) -> tuple[Path, str]:
    """The folder of a tool below `root`, with its files, and its Python.

    Raises:
        CannotRun: It is not installed.
    """
    python = Path(os.environ.get("MAINSPRING_FLOWS", "/nowhere"), name, "bin", "python")
    if name in ("mainspring", "pool"):
        python = Path(sys.executable)
    if not python.exists():
        raise CannotRun(f"there is no {python}")
    folder = root / name
    if not folder.exists():
        folder.mkdir(parents=True)
        for file, text in FILES.get(name, {}).items():
            (folder / file).write_text(text)
    return folder, str(python)


def environ(folder: Path) -> dict[str, str]:
    """Variables for a tool: nothing of this one's environment of Python, its own home, and no word to its makers."""
    places = {name: str(folder) for name in ("HOME", "PREFECT_HOME", "ZENML_CONFIG_PATH", "DAGSTER_HOME")}
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, **QUIET, **places}


def last_line(text: str) -> str:
    """The last line that says something, at most 200 characters of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
