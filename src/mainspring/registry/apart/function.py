"""A Python function in this process: its source as a module, its artifacts as files."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid
from mainspring.registry.reasons import refused

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.apart.wire import Head
    from mainspring.registry.reasons import Cells, Explainer


class Function:
    """Writes the files, imports the source, and calls its `load(folder)` once if it has one."""

    def __init__(self, folder: Path, files: Mapping[str, bytes], settings: Head) -> None:
        for path, data in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        source, artifacts = folder / "source", folder / "artifacts"
        artifacts.mkdir(exist_ok=True)
        sys.path.insert(0, str(source))
        file, _, name = str(settings["entry"]).partition(":")
        module = _imported(source / file)
        self._function: Callable[..., object] = getattr(module, name, None) or _missing(file, name)
        load = getattr(module, "load", None)
        self._loaded = (load(artifacts),) if load is not None else ()
        takes = len(inspect.signature(self._function).parameters)
        if takes != 1 + len(self._loaded):
            hint = "predict(rows), or predict(rows, loaded) beside load(folder)"
            raise Invalid(f"{name} takes {takes} values, expected {1 + len(self._loaded)}", where=file, hint=hint)

    def said(self) -> Head:
        """Nothing: who packaged the function said it."""
        return {}

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> object:
        """Call the function."""
        return self._function(inputs, *self._loaded)

    def explainer(self, cells: Sequence[Cells] | None) -> Explainer:
        """There is none.

        Raises: Refused: Always.
        """
        raise refused("a Python function")


def _imported(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise Invalid(f"{path.name} is no Python source", where="entry", hint='entry="score.py:predict"')
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _missing(file: str, name: str) -> Callable[..., object]:
    raise Invalid(f"{file} has no function {name!r}", where="entry", hint='entry="score.py:predict"')
