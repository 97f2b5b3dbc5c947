"""What a run came from: git state, entry point, machine. Reads, changes nothing, and never fails a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from mainspring.tracking.model import CodeState, Environment

DIFF_LIMIT = 200_000
_GIT_S = 5.0


def code_state(folder: Path | None = None, *, entry: str | None = None) -> CodeState:
    """The git state of `folder` (the current one) and the program that is running.

    The diff against the commit is cut at `DIFF_LIMIT` characters. Without git, or outside a repository, only the entry
    point is known.
    """
    entry = entry if entry is not None else " ".join(sys.argv)[:2000] or sys.executable
    place = folder or Path.cwd()
    commit = _git(place, "rev-parse", "HEAD").strip()
    if not commit:
        return CodeState(entry=entry)
    branch = _git(place, "rev-parse", "--abbrev-ref", "HEAD").strip()
    changed = _git(place, "status", "--porcelain", "--untracked-files=normal")
    diff = _git(place, "diff", "--no-color", "--no-ext-diff", "HEAD") if changed else ""
    cut = len(diff) > DIFF_LIMIT
    return CodeState(
        commit=commit, branch=branch, dirty=bool(changed), diff=diff[:DIFF_LIMIT], diff_cut=cut, entry=entry
    )


def environment() -> Environment:
    """Python, platform, hardware and the versions of all installed packages."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        memory_bytes=_memory(),
        gpus=_gpus(),
        packages=_packages(),
    )


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command, "" when it fails; at most a little over `DIFF_LIMIT` is read."""
    command = ["git", "-C", str(folder), *arguments]
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_S, env=quiet, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[: 4 * DIFF_LIMIT].decode(errors="replace").replace("\x00", "�") if not done.returncode else ""


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _gpus() -> tuple[str, ...]:
    """Models of NVIDIA GPUs as the kernel driver lists them."""
    found = []
    for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            lines = card.read_text().splitlines()
        except OSError:
            continue
        found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return tuple(found)


def _packages() -> dict[str, str]:
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    for entry in distributions():
        name = entry.metadata["Name"]
        if name:
            found.setdefault(name.lower(), entry.version)
    return dict(sorted(found.items()))
