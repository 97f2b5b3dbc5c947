"""Reads what cache keys are made of: project sources, files and folders."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Callable
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from mainspring.core.canonical import digest
from mainspring.core.errors import NotFound
from mainspring.pipelines.closure import Module, Place

_OURS = "mainspring"


class ProjectSources:
    """Finds the text of project modules: those that are neither Python's, nor installed, nor Mainspring's own.

    Args:
        own: The module of the function; modules of its package count as the project's wherever they are.
    """

    def __init__(self, own: str) -> None:
        self._own = ".".join(own.split(".")[:2]) if own.startswith(f"{_OURS}.") else own.split(".")[0]
        self.newest = 0.0
        self.foreign: set[str] = set()

    def __call__(self, module: str) -> Module | None:
        """The module, or None when it is not the project's.

        Notes the newest change among those it gave out, and in `foreign` the top-level modules of installed packages.
        """
        is_own = module == self._own or module.startswith(f"{self._own}.")
        top = module.partition(".")[0]
        if not is_own and _is_foreign(top):
            if top != _OURS and top not in sys.stdlib_module_names:
                self.foreign.add(top)
            return None
        path = _file_of(module)
        if path is None:
            return None
        self.newest = max(self.newest, path.stat().st_mtime)
        return Module(read_text(path), path.name == "__init__.py")


def place_of(function: Callable[..., object]) -> tuple[Place, Path] | None:
    """Where a function is written, None when that is in no file (a notebook, a prompt)."""
    code = function.__code__
    path = Path(code.co_filename)
    if not path.is_file():
        return None
    is_package = path.name == "__init__.py"
    label = function.__module__ if "." in function.__module__ else path.stem  # a lone file may go by another name
    return Place(function.__module__, label, is_package, code.co_firstlineno), path.absolute()


def read_text(path: Path) -> str:
    """The text of a file, kept for as long as the file stays the same."""
    about = path.stat()
    return _read_text(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1024)
def _read_text(path: Path, _changed_at: int, _size: int) -> str:
    return path.read_text(encoding="utf-8")


def digest_path(path: Path) -> str:
    """The digest of a file's bytes, or of all files in a folder and their names.

    Raises:
        NotFound: There is no such file or folder.
    """
    if path.is_file():
        about = path.stat()
        return _digest_file(path, about.st_mtime_ns, about.st_size)
    if not path.is_dir():
        raise NotFound(f"no file or folder {path}", where=str(path), hint="check the path")
    files = sorted(each for each in path.rglob("*") if each.is_file())
    lines = [f"{each.relative_to(path)} {digest_path(each)}" for each in files]
    return digest("\n".join(lines).encode())


@lru_cache(maxsize=4096)
def _digest_file(path: Path, _changed_at: int, _size: int) -> str:
    from blake3 import blake3

    return blake3().update_mmap(path).hexdigest() if _size else digest(b"")


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    folders += [entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")]
    return tuple(f"{os.path.realpath(folder)}{os.sep}" for folder in folders)


@lru_cache(maxsize=4096)
def _is_foreign(top: str) -> bool:
    """Whether a top-level package is Python's, installed, or Mainspring itself. That does not change in a process."""
    if top == _OURS or top in sys.stdlib_module_names:
        return True
    path = _file_of(top)
    return path is not None and str(path).startswith(_installed())


def _file_of(module: str) -> Path | None:
    loaded = getattr(sys.modules.get(module), "__file__", None) if module != "__main__" else None
    if loaded:
        return _python_file(loaded)
    folders: list[str] | None = None
    origin: str | None = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        try:
            spec = PathFinder.find_spec(".".join(parts[:end]), folders)
        except (ImportError, ValueError):
            return None
        if spec is None or (end < len(parts) and spec.submodule_search_locations is None):
            return None
        origin, locations = spec.origin, spec.submodule_search_locations
        folders = list(locations) if locations is not None else None
    return _python_file(origin)


def _python_file(origin: str | None) -> Path | None:
    path = Path(os.path.realpath(origin)) if origin else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None
