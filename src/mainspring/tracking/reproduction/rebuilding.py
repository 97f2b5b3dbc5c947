"""The environment of a run: the same Python with exactly the packages that were recorded, in a folder of its own."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Failed, NotFound
from mainspring.tracking.model import Environment

Tell = Callable[[str], None]
_FINISHED = "finished"
"""The file that a whole environment has; its time is that of the last use."""
_KEPT = 3
"""So many environments are kept."""
_TOOLS = {"pip", "setuptools", "wheel"}
_INSTALL_S = 3600


def differing(recorded: Environment, now: Environment) -> dict[str, tuple[str, str]]:
    """Where two environments differ: Python, packages and variables, with the versions then and now ("" = absent).

    >>> differing(Environment("3.11.7", packages={"a": "1"}), Environment("3.11.7", packages={"a": "2"}))
    {'a': ('1', '2')}
    """
    then = {"python": recorded.python, **recorded.packages, **{f"${k}": v for k, v in recorded.variables.items()}}
    today = {"python": now.python, **now.packages, **{f"${k}": v for k, v in now.variables.items()}}
    names = sorted({*then, *today} - _TOOLS)
    return {
        name: (then.get(name, ""), today.get(name, "")) for name in names if then.get(name, "") != today.get(name, "")
    }


def unlike(recorded: Environment, now: Environment) -> dict[str, tuple[str, str]]:
    """What can't be rebuilt and may change results: patch of Python, system, processor, cores and GPUs, where unlike.

    What was not recorded is left out.

    >>> unlike(Environment("3.11.7", cpus=8), Environment("3.11.9", cpus=2))
    {'python': ('3.11.7', '3.11.9'), 'cores': ('8', '2')}
    """
    sides = [
        {
            "python": one.python,
            "system": one.platform,
            "processor": one.cpu,
            "cores": str(one.cpus or ""),
            "GPUs": ", ".join(one.gpus),
        }
        for one in (recorded, now)
    ]
    then, today = sides
    known = bool(recorded.platform or recorded.cpus)
    shown = (name for name in then if then[name] or (name == "GPUs" and known))
    return {name: (then[name], today[name]) for name in shown if then[name] != today[name]}


def lock_of(recorded: Environment) -> list[str]:
    """What pip is asked for: every package with its exact version, or the repository and commit it came from."""
    lines = []
    for name, version in recorded.packages.items():
        source = recorded.sources.get(name, "")
        if name in _TOOLS or _folder(source):
            continue
        lines.append(f"{name} @ {source}" if source and not source.startswith("file:") else f"{name}=={version}")
    return lines


def rebuilt(recorded: Environment, home: Path, tell: Tell) -> Path:
    """The Python of the environment below `home`, where it is made unless it is there already.

    What is made only in part is taken away again, also when that is broken off. The last few are kept.

    Args:
        tell: See `rebuild`.
    Raises:
        NotFound, Failed: See `rebuild`.
    """
    asked = [_python_of(recorded.python), lock_of(recorded), sorted(map(str, _folders(recorded).values()))]
    place = home / digest(canonical_json(asked))[:16]
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two that want the same, the second finds it made
        if not (place / _FINISHED).exists():
            shutil.rmtree(place, ignore_errors=True)
            try:
                rebuild(recorded, place, tell)
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                raise
        (place / _FINISHED).touch()
        used = sorted(home.glob(f"*/{_FINISHED}"), key=lambda path: path.stat().st_mtime)
        for old in used[:-_KEPT]:
            shutil.rmtree(old.parent, ignore_errors=True)
    return place / "bin" / "python"


def rebuild(recorded: Environment, place: Path, tell: Tell = lambda _: None) -> Path:
    """Make the environment at `place` and return its Python. Uses uv when it is there, else pip.

    Packages that were installed from a folder of this machine are taken from there, as they are now.

    Args:
        tell: Gets the lines that the installer says, as they come.
    Raises:
        NotFound: The Python, a package of that version, or a folder is not there any more.
        Failed: The environment can't be made.
    """
    python = _python_of(recorded.python)
    gone = [f"{name} (from {path})" for name, path in _folders(recorded).items() if not path.is_dir()]
    if gone:
        raise NotFound(f"packages came from folders that are gone: {', '.join(gone)}", where="environment")
    made = place / "bin" / "python"
    installer = _installer(made)
    own = installer[:1] == [str(made)]
    _run([python, "-m", "venv", *([] if own else ["--without-pip"]), str(place)], "venv", tell)
    lock = place / "lock.txt"
    lock.write_text("".join(f"{line}\n" for line in lock_of(recorded)))
    if lock.read_text():
        _run([*installer, "--no-deps", "-r", str(lock)], "install", tell)
    _add_folders(made, _folders(recorded))
    return made


def _installer(python: Path) -> list[str]:
    """What installs into an environment: uv, else the pip of this process, else one of the environment's own.

    To put a pip into each environment takes three times as long as to make it.
    """
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--python", str(python)]
    quiet = ["install", "--disable-pip-version-check", "--progress-bar=off"]
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--python", str(python), *quiet]
    return [str(python), "-m", "pip", *quiet]


def environ_of(recorded: Environment, base: Mapping[str, str]) -> dict[str, str]:
    """The variables of `base` with those that change results set as they were."""
    return {**base, **recorded.variables}


def _folders(recorded: Environment) -> dict[str, Path]:
    """Packages that were installed from a folder of the machine, with the folder."""
    found = {name: _folder(source) for name, source in recorded.sources.items()}
    return {name: Path(path) for name, path in found.items() if path}


def _folder(source: str) -> str:
    """The folder that a `file:` address names; "" for archives and for other addresses."""
    if not source.startswith("file:"):
        return ""
    path = unquote(urlsplit(source).path)
    return "" if re.search(r"\.(whl|zip|tar\.\w+|tgz)$", path) else path


def _add_folders(python: Path, folders: Mapping[str, Path]) -> None:
    """Put folders on the path of an environment, their `src` where they have one."""
    if not folders:
        return
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    place = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    lines = [str(path / "src" if (path / "src").is_dir() else path) for path in folders.values()]
    (Path(place) / "reproduced.pth").write_text("\n".join(lines) + "\n")


def _python_of(version: str) -> str:
    """A Python of this version; another patch of the same release will do.

    Raises:
        NotFound: There is none.
    """
    release = ".".join(version.split(".")[:2])
    if platform.python_version().startswith(f"{release}."):
        return sys.executable
    found = shutil.which(f"python{release}")
    if found is None or not _is_python(found, release):
        hint = f"install Python {release}, or use --no-env"
        raise NotFound(f"the run used Python {version}, which is not on this machine", where="environment", hint=hint)
    return found


def _is_python(path: str, release: str) -> bool:
    """Whether a program is a Python of a release: managers of versions leave names behind that start nothing."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", asked], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == release


def _run(command: list[str], what: str, tell: Tell) -> None:
    """Run an installer to its end, or end it when this is broken off."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ["PYTHONUNBUFFERED"] = "1"
    last: deque[str] = deque(maxlen=100)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environ
    ) as process:
        late = threading.Timer(_INSTALL_S, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.rstrip())
                tell(last[-1])
        except BaseException:
            process.kill()
            raise
        finally:
            late.cancel()
    if process.returncode == 0:
        return
    said = "\n".join(last).strip()
    lost = re.findall(r"No matching distribution found for (\S+)|no version of (\S+)", said)
    if lost:
        names = ", ".join(a or b for a, b in lost)
        hint = "name an index that has it, or use --no-env"
        raise NotFound(f"a package of the run is not to be had any more: {names}", where="environment", hint=hint)
    raise Failed(f"{what} ended with {process.returncode}: {said[-600:]}", where="environment", hint="use --no-env")
