"""Model formats, one file each, found by name. A format is data: reading it runs no code of the one who wrote it.

Adding a format is adding a file here that has what `Flavour` asks for, and nothing else.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from mainspring.core.errors import Failed, Invalid, NotFound, Unavailable, did_you_mean
from mainspring.core.values import dataclass
from mainspring.registry.model import Label

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.reasons import Cells, Explainer


@dataclass(frozen=True, slots=True)
class Trait:
    """What a model says about itself.

    Args:
        task: "binary", "multiclass" or "regression".
        classes: Labels in the order of the probabilities; empty for regression.
        trained_on: Names of the training columns in order; empty when the model remembers none.
        wants_frame: It selects columns by name, so it is given a frame and not a matrix.
        levels: Levels of text columns that the model itself remembers, in the order of their codes.
    """

    task: str
    classes: tuple[Label, ...] = ()
    trained_on: tuple[str, ...] = ()
    wants_frame: bool = False
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Scorer(Protocol):
    """A loaded model. Safe to share between threads.

    One that only computes, and waits for no other process, says `waits = False`. One that wants a matrix although its
    model wants a frame says `takes_matrix = True`.
    """

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """Scores of `inputs` (rows, columns).

        Returns: Binary: probability of the second class (rows,). Multiclass: (rows, classes). Regression: (rows,).
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """A scorer that makes something for its first call with many rows, and can make it before."""

    def prepare(self) -> None:
        """Make it, once."""
        ...


class Unloaded:
    """In the place of a model that was unloaded."""

    waits = False

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """Nothing can be scored.

        Raises: Unavailable: Always.
        """
        raise Unavailable("the model is not loaded", hint="load its package again")


class Flavour(Protocol):
    """One model format."""

    NAME: str
    FILE: str
    PACKAGES: tuple[str, ...]

    def handles(self, model: object) -> bool:
        """Whether the model can be kept in this format. Must not import the format's package for other models."""
        ...

    def recognises(self, data: bytes) -> bool:
        """Whether the content of a file is of this format."""
        ...

    def trait(self, model: object) -> Trait:
        """What the model says about itself.

        Raises:
            Invalid: It is not fitted, or does what this format can't serve.
        """
        ...

    def dump(self, model: object) -> bytes:
        """The content of `FILE`.

        Raises:
            Refused: The model holds objects that this format can't keep as data.
        """
        ...

    def read(self, data: bytes) -> object:
        """The model from the content of `FILE`.

        Raises:
            Refused: It holds objects that are not on the list of trusted types.
            Corrupt: It is not of this format.
        """
        ...

    def scorer(self, model: object, trait: Trait) -> Scorer:
        """How to score with the model."""
        ...


class Explained(Flavour, Protocol):
    """A format whose models have exact reason codes."""

    def explainer(self, model: object, trait: Trait, cells: Sequence[Cells] | None) -> Explainer:
        """How to explain the model.

        Args:
            model: It.
            trait: What it says about itself.
            cells: What training had of each input; None where that is not known.
        Raises:
            Refused: This one has none, or none without `cells`.
        """
        ...


def explainer_of(kind: Flavour, model: object, trait: Trait, cells: Sequence[Cells] | None) -> Explainer:
    """How to explain a model of a format, see `Explained`.

    Raises:
        Refused: There are no exact reason codes for it.
    """
    if not hasattr(kind, "explainer"):
        from mainspring.registry.reasons import refused

        raise refused(f"a model of format {kind.NAME}")
    return cast(Explained, kind).explainer(model, trait, cells)


def names() -> list[str]:
    """Names of the formats that are there."""
    return list(_found())


@cache  # a registration asks nine times, and each look at the folder is a quarter of a millisecond
def _found() -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in pkgutil.iter_modules(__path__)))


def flavour(name: str) -> Flavour:
    """A format by its name.

    Raises:
        NotFound: No file of that name is here.
    """
    if name not in names():
        raise NotFound(f"no model format {name!r}", where="flavour", hint=did_you_mean(name, names()))
    return cast(Flavour, import_module(f"{__name__}.{name}"))


def flavour_for(model: object) -> Flavour:
    """The format that keeps this model.

    Raises:
        Invalid: None does.
    """
    for entry in map(flavour, names()):
        if entry.handles(model):
            return entry
    raise Invalid(
        f"no format keeps a {type(model).__module__}.{type(model).__qualname__}",
        where="model",
        hint="register a fitted model of " + " or ".join(names()) + ", or the path of its file",
    )


def made_by(model: object, package: str) -> bool:
    """Whether the class of a model, or one it inherits from, is of a package; the package is not imported."""
    return any(kind.__module__.split(".")[0] == package for kind in type(model).__mro__)


def imported(module: str, extra: str) -> ModuleType:
    """A module that an extra of Mainspring brings.

    Raises:
        Failed: It is not installed; the hint names the extra.
    """
    try:
        return import_module(module)
    except ImportError as reason:
        if reason.name is not None and module.split(".")[0] != reason.name.split(".")[0]:
            raise
        hint = f"pip install 'mainspring[{extra}]'"
        raise Failed(f"the package {module} is not installed here", where=f"extra {extra}", hint=hint) from None


def scalars(values: object) -> tuple[Label, ...]:
    """The entries of a NumPy array of labels as plain Python values."""
    from numpy import asarray

    return tuple(asarray(values).tolist())
