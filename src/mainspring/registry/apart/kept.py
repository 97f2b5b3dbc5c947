"""A model of a format that is data, in this process: read and scored as a server would in its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from mainspring.registry.apart.process import Job, Own
from mainspring.registry.flavours import Trait, explainer_of, flavour

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.apart.wire import Head
    from mainspring.registry.reasons import Cells, Explainer


_ANSWER_S = 600.0  # requests have deadlines of their own
_MEMORY_MB = 1024**2  # a format that is data is as trusted there as here


def job_of(name: str, trait: Trait, files: Mapping[str, bytes], own: Own) -> Job:
    """What a process shall be that has a model of a format, for the parent's side."""
    settings: Head = {
        "flavour": name,
        "task": trait.task,
        "classes": list(trait.classes),
        "trained_on": list(trait.trained_on),
        "wants_frame": trait.wants_frame,
        "levels": {column: list(levels) for column, levels in trait.levels.items()},
    }
    return Job("kept", settings, files, _ANSWER_S, _MEMORY_MB, f"the {name} model", own)


class Kept:
    """Reads the one file. The packages it takes are those of this process's environment."""

    def __init__(self, files: Mapping[str, bytes], settings: Head) -> None:
        (data,) = files.values()
        kind = flavour(str(settings["flavour"]))
        trait = Trait(
            str(settings["task"]),
            tuple(cast("list[str]", settings["classes"])),
            tuple(cast("list[str]", settings["trained_on"])),
            bool(settings["wants_frame"]),
            {name: tuple(levels) for name, levels in cast("dict[str, list[str]]", settings["levels"]).items()},
        )
        self._kind, self._model, self._trait = kind, kind.read(data), trait
        self._scorer = kind.scorer(self._model, trait)

    def said(self) -> Head:
        """Nothing: who packaged the model said it."""
        return {}

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> object:
        """Score with the model."""
        return self._scorer.score(inputs)

    def explainer(self, cells: Sequence[Cells] | None) -> Explainer:
        """Explain the model, as a server would in its own process."""
        return explainer_of(self._kind, self._model, self._trait, cells)
