"""A pickle, loaded in this process. Beyond the scan, each name is held against the allow-list when it is imported."""

from __future__ import annotations

import io
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Refused
from mainspring.registry.flavours import explainer_of, flavour_for
from mainspring.registry.pickles.allowed import use_of

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.apart.wire import Head
    from mainspring.registry.reasons import Cells, Explainer


class Unpickled:
    """Loads the one file; the model is scored by the format that would keep it as data."""

    def __init__(self, files: Mapping[str, bytes], settings: Head) -> None:
        (data,) = files.values()
        if not settings["despite_scan"]:
            sys.addaudithook(_only_listed)
        import joblib

        model = cast(object, joblib.load(io.BytesIO(data)))
        kind = flavour_for(model)
        self._kind, self._model, self._trait = kind, model, kind.trait(model)
        self._scorer = kind.scorer(model, self._trait)

    def said(self) -> Head:
        """Task, classes and columns."""
        trait = self._trait
        return {
            "task": trait.task,
            "classes": list(trait.classes),
            "trained_on": list(trait.trained_on),
            "wants_frame": trait.wants_frame,
            "levels": {name: list(levels) for name, levels in trait.levels.items()},
        }

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> object:
        """Score with the model."""
        return self._scorer.score(inputs)

    def explainer(self, cells: Sequence[Cells] | None) -> Explainer:
        """Explain the model by the format that would keep it as data."""
        return explainer_of(self._kind, self._model, self._trait, cells)


def _only_listed(event: str, args: tuple[object, ...]) -> None:
    if event != "pickle.find_class":
        return
    module, name = str(args[0]), str(args[1])
    mapped = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    if use_of(*mapped) is None and use_of(module, name) is None:
        raise Refused(f"the pickle imports {module}.{name}, which is not on the allow-list", where="pickle")
