"""What a run came from: git state, entry point, machine. Reads, changes nothing, and never fails a run."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.tracking.model import CodeState, Environment
from mainspring.tracking.secrets import masked, masked_text

if TYPE_CHECKING:
    from importlib.metadata import Distribution

DIFF_LIMIT = 200_000
MAX_UNTRACKED = 200
VARIABLES = (
    "PYTHONHASHSEED",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "TZ",
    "LC_ALL",
    "LANG",
)
"""Environment variables that change what a program computes; no others are recorded."""
_GIT_S = 5.0


def code_state(folder: Path | None = None, *, entry: str | None = None, order: int = 0) -> CodeState:
    """The git state of `folder` (the current one) and the program that is running.

    The diff against the commit is cut at `DIFF_LIMIT` characters. Without git, or outside a repository, only the entry
    point is known.

    Args:
        folder: Where the program works.
        entry: The entry point when it is no program, such as a pipeline.
        order: How many runs the program started before.
    """
    place = folder or Path.cwd()
    root, _, commit = _git(place, "rev-parse", "--show-toplevel", "HEAD").strip().partition("\n")
    arguments, hidden = ((), False) if entry is not None else masked(entry_point(place))
    if entry is None:
        entry = " ".join(masked(sys.argv)[0])[:2000] or sys.executable
    found = CodeState(entry=entry, arguments=arguments, masked=hidden, order=order)
    if not commit:
        return found
    changed = _git(place, "status", "--porcelain", "-z", "--untracked-files=all")
    untracked = sorted(line[3:] for line in changed.split("\0") if line.startswith("?? "))
    diff = _git(place, "diff", "--no-color", "--no-ext-diff", "--binary", "--full-index", "HEAD") if changed else ""
    return CodeState(
        commit=commit,
        branch=_git(place, "rev-parse", "--abbrev-ref", "HEAD").strip(),
        dirty=bool(changed),
        diff=diff[:DIFF_LIMIT],
        diff_cut=len(diff) > DIFF_LIMIT,
        entry=entry,
        arguments=arguments,
        masked=hidden,
        folder=os.path.relpath(place.resolve(), root),
        untracked=tuple(untracked[:MAX_UNTRACKED]),
        order=order,
    )


def in_a_repository(folder: Path) -> bool:
    """Whether git may know something of a folder: it or one above is a repository, as far as files tell."""
    place = os.path.abspath(folder)
    while not (found := _is_repository(place)) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return found or "GIT_DIR" in os.environ


def entry_point(place: Path) -> tuple[str, ...]:
    """How the program that is running was called, from `place`: its file or `-m` and its module, then its arguments.

    Empty for what can't be called again: a notebook, a shell, `python -c`.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return ("-m", spec.name.removesuffix(".__main__"), *sys.argv[1:])
    file = getattr(main, "__file__", None)
    if not file or not Path(file).is_file() or not sys.argv or sys.argv[0] in ("", "-c", "-"):
        return ()
    return (os.path.relpath(Path(file).resolve(), place.resolve()), *sys.argv[1:])


def environment() -> Environment:
    """Python, platform, hardware and the versions of all installed packages."""
    packages, sources = _packages()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        memory_bytes=_memory(),
        gpus=_gpus(),
        packages=packages,
        cpu=_cpu(),
        sources=sources,
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command, "" when it fails; at most a little over `DIFF_LIMIT` is read."""
    if not in_a_repository(folder):
        return ""  # no process to hear that there is none
    command = ["git", "-C", str(folder), *arguments]
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_S, env=quiet, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if done.returncode:
        return ""
    text = done.stdout[: 4 * DIFF_LIMIT].decode(errors="replace")
    return text if "-z" in arguments else text.replace("\x00", "�")


def _is_repository(folder: str) -> bool:
    return os.path.exists(f"{folder}/.git") or os.path.exists(f"{folder}/HEAD")  # as within a repository's own files


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _cpu() -> str:
    """Model of the processor as the kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


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


def _packages() -> tuple[dict[str, str], dict[str, str]]:
    """Name to version of what is installed, and where packages came from that were not taken from an index."""
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    for entry in distributions():
        given, version = _name_and_version(entry)
        name = given.lower()
        if not name or name in found:
            continue
        found[name] = version
        source = _source(entry)
        if source:
            sources[name] = masked_text(source)
    return dict(sorted(found.items())), dict(sorted(sources.items()))


def _name_and_version(entry: Distribution) -> tuple[str, str]:
    """As its metadata say: read here, because to parse all headers of two hundred packages takes a second."""
    head = (entry.read_text("METADATA") or "").partition("\n\n")[0]
    found = dict(re.findall(r"^(Name|Version): *(.*?) *$", head, re.MULTILINE))
    if len(found) == 2:
        return found["Name"], found["Version"]
    return str(entry.metadata["Name"] or ""), entry.version


def _source(entry: Distribution) -> str:
    """Where a package came from when pip noted an address for it: a folder, or a repository at a commit."""
    text = entry.read_text("direct_url.json")
    try:
        plain = json.loads(text) if text else {}
        address = str(plain.get("url", ""))
    except (ValueError, AttributeError):
        return ""
    at = plain.get("vcs_info", {})
    return f"{at['vcs']}+{address}@{at['commit_id']}" if {"vcs", "commit_id"} <= set(at) else address
