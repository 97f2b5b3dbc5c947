"""The packages that code uses: what it imports, and what that requires, with the versions that are installed."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from mainspring.core.values import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package: its name as pip writes it, its version, and its folder of metadata."""

    name: str
    version: str
    about: Path

    @property
    def requires(self) -> tuple[str, ...]:
        """Names of the packages that it needs, without those of its extras."""
        return _requires(self.about)

    @property
    def modules(self) -> frozenset[str]:
        """The top-level modules that it brings."""
        return _modules(self.about)


def lock_of(modules: Iterable[str], known: Mapping[str, Package]) -> tuple[str, ...]:
    """Python, the platform, and each installed package that these top-level modules come from or need.

    Args:
        modules: Names of top-level modules.
        known: What is `installed`.
    Returns: Each as "name==version", sorted.
    """
    found = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    waiting = [package for module in modules if (package := _owner(module, known))]
    while waiting:
        package = waiting.pop()
        if package.name not in found:
            found[package.name] = package.version
            waiting += [known[name] for name in package.requires if name in known]
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


def installed() -> Mapping[str, Package]:
    """Every installed package by its name."""
    return _installed(places())


def places() -> tuple[tuple[str, int], ...]:
    """The folders that modules come from, and when something was last put into each or taken out, in nanoseconds."""
    folders = tuple(entry for entry in sys.path if entry and os.path.isdir(entry))
    return tuple((folder, os.stat(folder).st_mtime_ns) for folder in folders)


@lru_cache(maxsize=8)
def _installed(folders: tuple[tuple[str, int], ...]) -> dict[str, Package]:
    found: dict[str, Package] = {}
    for folder, _ in folders:
        for entry in sorted(os.listdir(folder)):
            if entry.endswith(".dist-info"):
                name, _, version = entry.removesuffix(".dist-info").rpartition("-")
                found.setdefault(plain(name), Package(plain(name), version, Path(folder, entry)))
    return found


def plain(name: str) -> str:
    """A package's name in the one form that names are compared in.

    >>> plain("Scikit_Learn")
    'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _owner(module: str, known: Mapping[str, Package]) -> Package | None:
    same = known.get(plain(module))
    if same is not None:
        return same
    return next((package for package in known.values() if module in package.modules), None)


@lru_cache(maxsize=2048)
def _requires(about: Path) -> tuple[str, ...]:
    found = []
    for line in _lines(about / "METADATA"):
        if not line:
            break  # the headers end here
        if line.startswith("Requires-Dist:") and "extra ==" not in line:
            name = re.match(r"Requires-Dist:\s*([\w.-]+)", line)
            found += [plain(name[1])] if name else []
    return tuple(found)


@lru_cache(maxsize=2048)
def _modules(about: Path) -> frozenset[str]:
    named = [line for line in _lines(about / "top_level.txt") if line]
    if named:
        return frozenset(named)
    firsts = {line.partition(",")[0].partition("/")[0] for line in _lines(about / "RECORD")}
    return frozenset(each.removesuffix(".py") for each in firsts if "." not in each or each.endswith(".py"))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
