"""Models in memory: loaded from a verified folder, warmed by one prediction, asked with columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Failed
from mainspring.serving.modelserver.plan import ArmPlan
from mainspring.serving.modelserver.wire import Cell, Features

if TYPE_CHECKING:
    from mainspring.registry.packages import Predictor

_WARM: dict[str, Cell] = {"float": 0.0, "int": 0, "bool": False, "text": ""}


class LoadedModel:
    """A version that can answer: its predictor and the columns it takes."""

    def __init__(self, version: int, predictor: Predictor, *, max_rows: int) -> None:
        self.version = version
        self.predictor = predictor
        self.features = Features(predictor.signature.inputs, max_rows=max_rows)
        self.outputs: list[str] = []
        self.row_s = 0.0

    def predict(self, columns: Sequence[list[Cell]]) -> dict[str, list[object]]:
        """Answer rows given as columns in the signature's order, checked by `features`.

        Raises: Failed: The model gave another number of answers than it got rows.
        """
        outputs: dict[str, list[object]] = {
            name: values.tolist() for name, values in self.predictor.predict_checked(columns).items()
        }
        rows = len(columns[0])
        for name, values in outputs.items():
            if len(values) != rows:
                raise Failed(f"output {name!r} has {len(values)} rows, expected {rows}")
        return outputs

    def warm(self) -> None:
        """One prediction, so that the first request does not pay for lazy set-up; it also names the outputs."""
        shown = self.predictor.example.inputs
        first: list[list[Cell]] = [
            [shown[name][0] if shown.get(name) else _WARM[kind]]
            for name, kind in zip(self.features.names, self.features.kinds, strict=True)
        ]
        self.outputs = list(self.predict(first))


def load_model(arm: ArmPlan, *, public_key: bytes | None, max_rows: int) -> LoadedModel:
    """Load the folder of an arm (digest, signature and grant checked there) and warm it up.

    Raises: Corrupt: The folder is not what was registered. Refused: It is a pickle without a grant. Failed: It can't
        predict.
    """
    from mainspring.registry.packages import load_folder

    loaded = load_folder(Path(arm.folder), public_key=public_key, expected=arm.digest, grant=arm.grant)
    model = LoadedModel(arm.version, loaded, max_rows=max_rows)
    model.warm()
    return model
