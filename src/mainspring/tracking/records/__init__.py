"""What tracking keeps in tables, and the statements over it. Its modules are loaded when they are first used."""

from types import ModuleType

from mainspring.core.later import later

_MODULES = (
    "arrivals",
    "columns",
    "evaluation_sets",
    "experiments",
    "files",
    "histories",
    "inputs",
    "logged_models",
    "points",
    "removal",
    "runs",
    "scorers",
    "statements",
    "tables",
    "traces",
    "views",
)


def __getattr__(name: str) -> ModuleType:
    """A module of it, not yet loaded: a run of a pipeline needs two of them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return later(f"{__name__}.{name}")
