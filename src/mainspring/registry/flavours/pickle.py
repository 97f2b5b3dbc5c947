"""Pickles, which are programs: kept and loaded only with a grant, and then in a process of their own.

Nothing in this file unpickles. Task, classes and columns are what the process says about the model it loaded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Refused
from mainspring.core.values import dataclass
from mainspring.registry.flavours import Scorer, Trait
from mainspring.registry.model import Label

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.apart import Apart
    from mainspring.registry.reasons import Cells, Explainer

NAME = "pickle"
FILE = "model.pkl"
PACKAGES = ("joblib", "numpy", "scikit-learn")


@dataclass(frozen=True, slots=True)
class PickleFile:
    """A pickle that somebody took responsibility for.

    Args:
        data: Its bytes.
        despite_scan: It may import what is not on the allow-list.
        expires_at: When the grant ends, microseconds UTC; 0 = it is being registered.
    Attributes:
        process: Where it is loaded: started when it is first asked, ended when nobody holds this any more.
    """

    data: bytes = field(repr=False)
    despite_scan: bool = False
    expires_at: int = 0
    process: Apart = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from mainspring.registry.apart import Apart, Job

        job = Job("pickle", {"despite_scan": self.despite_scan}, {FILE: self.data}, what="the pickle")
        object.__setattr__(self, "process", Apart(job))


def handles(model: object) -> bool:
    """Whether it is a `PickleFile`; a fitted model is never pickled here."""
    return isinstance(model, PickleFile)


def recognises(data: bytes) -> bool:
    """Never: a file is not taken for a pickle by looking at it."""
    return False


def trait(model: object) -> Trait:
    """What the process says about the model it loaded.

    Raises:
        Failed: It can't be loaded.
        Invalid: It is no fitted model of a known kind.
    """
    said = cast(PickleFile, model).process.describe()
    levels = cast("dict[str, list[str]]", said["levels"])
    return Trait(
        task=str(said["task"]),
        classes=tuple(cast("list[Label]", said["classes"])),
        trained_on=tuple(map(str, cast("list[object]", said["trained_on"]))),
        wants_frame=bool(said["wants_frame"]),
        levels={name: tuple(entries) for name, entries in levels.items()},
    )


def dump(model: object) -> bytes:
    """The bytes as they are."""
    return cast(PickleFile, model).data


def read(data: bytes) -> object:
    """The pickle as it is: without a grant nothing loads it.

    Raises:
        Refused: Always; `load_folder` reads pickles with their grant.
    """
    hint = "mainspring models grant NAME VERSION --reason ..."
    raise Refused("a pickle is loaded only with a grant", where=FILE, hint=hint)


def scorer(model: object, trait: Trait) -> Scorer:
    """Score in a process of its own, until the grant ends."""
    return _GrantedScorer(cast(PickleFile, model))


def explainer(model: object, trait: Trait, cells: Sequence[Cells] | None) -> Explainer:
    """Explain there, until the grant ends.

    Raises:
        Refused: What was pickled has no exact reason codes, or the grant has ended.
    """
    file = cast(PickleFile, model)
    _check_granted(file)
    return _GrantedExplainer(file, cells)


def _check_granted(file: PickleFile) -> None:
    if file.expires_at and time.time() * 1e6 >= file.expires_at:
        file.process.close()
        hint = "mainspring models grant NAME VERSION --reason ..."
        raise Refused("the grant of this pickle has ended", where=FILE, hint=hint)


class _GrantedScorer:
    def __init__(self, file: PickleFile) -> None:
        self._file = file

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One question to the process."""
        _check_granted(self._file)
        return self._file.process.score(inputs)


class _GrantedExplainer:
    def __init__(self, file: PickleFile, cells: Sequence[Cells] | None) -> None:
        self._file = file
        self._there = file.process.explainer(cells)
        self.scale = self._there.scale

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One question to the process."""
        _check_granted(self._file)
        return self._there.explain(inputs)
