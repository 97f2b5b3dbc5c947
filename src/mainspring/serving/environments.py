"""Environments of models that were made with other packages than those here: made once, found by their lock."""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import mainspring
from mainspring.core.canonical import digest
from mainspring.core.errors import Invalid, Refused, Timeout, Unavailable
from mainspring.registry.apart import Own
from mainspring.registry.flavours import flavour, pickle, python
from mainspring.serving.rules.environments import conflict, lock_of

if TYPE_CHECKING:
    from mainspring.registry import ModelVersion
    from mainspring.serving.modelserver.plan import Options

_BESIDE = ("numpy", "polars")  # what rows travel in
_INSTALL_S = 900.0
_TRY = "import mainspring.registry.apart.child, mainspring.registry.apart.kept, numpy, polars"


class Environments:
    """Virtual environments below a folder, one for each lock. Safe to share between processes.

    Args:
        folder: Where they are kept. One that is taken away is made again with the next deploy.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def own(self, options: Options, found: ModelVersion) -> Own | None:
        """The process that a version has with these options; None where it is in the server. Makes nothing."""
        if options.process != "own":
            return None
        python = str(self._place(found) / "bin" / "python") if self.why(found) else ""
        return Own(python, options.threads, options.cores)

    def why(self, found: ModelVersion) -> str:
        """Why a version needs another environment than this; "" when it does not."""
        recorded = _recorded(found)
        return conflict(recorded, _present(recorded), main=flavour(found.flavour).PACKAGES[0])

    def differs(self, options: Options, found: ModelVersion) -> str:
        """How the packages a version is served with differ from those it was made with; "" where they do for it."""
        if options.process == "own" and found.flavour not in (pickle.NAME, python.NAME):
            return ""
        try:
            return self.why(found)
        except Invalid as reason:  # what is on record is no version; served it is all the same
            return reason.what

    def make(self, found: ModelVersion) -> Path:
        """The environment of a version, made unless it is there. That may take a minute.

        Raises:
            Refused: Its packages can't be installed.
            Unavailable: There is nothing to install them with. Timeout: It took too long.
        """
        place = self._place(found)
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{place.name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                part = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=self._folder))
                try:
                    self._install(found, part)
                    part.chmod(0o755)
                    part.rename(place)
                except BaseException:
                    shutil.rmtree(part, ignore_errors=True)
                    raise
            _link(place)
        return place

    def _place(self, found: ModelVersion) -> Path:
        about = f"{platform.python_version()} {platform.machine()}\n{self._lock(found)}"
        return self._folder / digest(about.encode())[:32]

    def _lock(self, found: ModelVersion) -> str:
        return lock_of(_recorded(found), _present(_BESIDE))

    def _install(self, found: ModelVersion, part: Path) -> None:
        lock, python = part / "lock.txt", part / "bin" / "python"
        lock.write_text(self._lock(found), encoding="ascii")
        _run([sys.executable, "-m", "venv", "--without-pip", str(part)], found)
        if uv := shutil.which("uv"):
            install = [uv, "pip", "install", "--quiet", "--python", str(python)]
        elif find_spec("pip") is not None:
            install = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--python", str(python), "install"]
        else:
            raise Unavailable("neither uv nor pip is here", where=found.ref, hint="pip install uv")
        _run([*install, "--only-binary", ":all:", "-r", str(lock)], found)  # no setup code of packages is run
        _link(part)
        _run([str(python), "-P", "-c", _TRY], found)


def _recorded(found: ModelVersion) -> dict[str, str]:
    """What is on record of the packages of its format. Others are never installed: whoever registers a version could
    name any."""
    return {name: found.environment[name] for name in flavour(found.flavour).PACKAGES if name in found.environment}


def _present(names: Iterable[str]) -> dict[str, str]:
    """Versions of packages that are here."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _link(place: Path) -> None:
    """Have an environment find our code, and nothing else of what is here."""
    code = Path(mainspring.__file__).parent
    for site in (place / "lib").glob("python*/site-packages"):
        link = site / "mainspring"
        if not link.is_symlink() or link.readlink() != code:
            link.unlink(missing_ok=True)
            link.symlink_to(code)


def _run(command: list[str], found: ModelVersion) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INSTALL_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Timeout(f"its environment was not ready in {_INSTALL_S:g} s", where=found.ref) from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "no word")
        hint = "make these packages available to pip or uv, or --process server to serve it with those here"
        raise Refused(f"the environment it was made with can't be made: {said[:300]}", where=found.ref, hint=hint)
