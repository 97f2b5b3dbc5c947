"""Mainspring keeps machine-learning models good for their whole life. Importing it loads almost nothing."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself is not loaded for it; type checkers know the name
if TYPE_CHECKING:
    from mainspring.loop.planning.python import Deployment, Gate, Monitor, Policy, Trigger
    from mainspring.pipelines import context, pipeline, step
    from mainspring.pipelines.search import search
    from mainspring.sdk import autolog, connect, current, drift, files, seed, train
    from mainspring.sdk.session import run  # the package has a module of that name as well

__version__ = "0.1.0"
__all__ = [
    "Deployment",
    "Gate",
    "Monitor",
    "Policy",
    "Trigger",
    "autolog",
    "connect",
    "context",
    "current",
    "drift",
    "files",
    "pipeline",
    "run",
    "search",
    "seed",
    "step",
    "train",
]
_HOMES = {
    "Deployment": "mainspring.loop.planning.python",
    "Gate": "mainspring.loop.planning.python",
    "Monitor": "mainspring.loop.planning.python",
    "Policy": "mainspring.loop.planning.python",
    "Trigger": "mainspring.loop.planning.python",
    "autolog": "mainspring.sdk",
    "connect": "mainspring.sdk",
    "context": "mainspring.pipelines",
    "current": "mainspring.sdk",
    "drift": "mainspring.sdk",
    "files": "mainspring.sdk",
    "pipeline": "mainspring.pipelines",
    "run": "mainspring.sdk",
    "search": "mainspring.pipelines.search",
    "seed": "mainspring.sdk",
    "step": "mainspring.pipelines",
    "train": "mainspring.sdk",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'mainspring' has no attribute {name!r}; it has {', '.join(__all__)}")
    import importlib

    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
