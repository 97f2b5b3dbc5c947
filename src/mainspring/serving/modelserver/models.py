"""Models in memory: loaded from a verified folder, warmed by one prediction, asked with columns."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Failed
from mainspring.serving.modelserver.asking import Outputs
from mainspring.serving.modelserver.columns import Cell, Column, Features
from mainspring.serving.modelserver.explaining import Explaining
from mainspring.serving.modelserver.plan import ArmPlan

if TYPE_CHECKING:
    from mainspring.registry.packages import Predictor
    from mainspring.registry.reasons import Means

_WARM: dict[str, Cell] = {"float": 0.0, "int": 0, "bool": False, "text": ""}
_HUGE = 1e300  # in single precision it is infinite
_SINGLE = 3.4028234663852886e38
_MAX_TRIED = 256


class LoadedModel:
    """A version that can answer: its predictor and the columns it takes; `explained` once reason codes were asked for.

    Args:
        version: Its number.
        predictor: Predicts.
        max_rows: Of one request.
        means: What training had of its inputs; reason codes of linear models start there.
    """

    def __init__(self, version: int, predictor: Predictor, *, max_rows: int, means: Means | None = None) -> None:
        self._means: Means = means or {}
        self._reasons = threading.Lock()
        self.explained: Explaining | None = None
        self.version = version
        self.predictor = predictor
        self.features = Features(predictor.signature.inputs, max_rows=max_rows)
        self.outputs: list[str] = []
        self.row_s = 0.0
        self.call_s = 0.0
        self.waits = predictor.waits
        self._max_rows = max_rows

    def emptied(self) -> LoadedModel:
        """The same without what predicts: enough to describe it."""
        made = LoadedModel(self.version, self.predictor.emptied(), max_rows=self._max_rows)
        made.features, made.outputs = self.features, self.outputs
        return made

    def predict(self, columns: Sequence[Column]) -> Outputs:
        """Answer rows given as columns in the signature's order, checked by `features`.

        Raises: Failed: The model gave another number of answers than it got rows.
        """
        outputs: Outputs = {
            name: values.tolist()
            for name, values in self.predictor.predict_checked(cast("Sequence[Sequence[Cell]]", columns)).items()
        }
        rows = len(columns[0])
        for name, values in outputs.items():
            if len(values) != rows:
                raise Failed(f"output {name!r} has {len(values)} rows, expected {rows}")
        return outputs

    def explain(self) -> Explaining:
        """The same version with reason codes. What it needs is made at the first call, which may take a moment.

        Raises: Refused: There are no exact ones for it.
        """
        with self._reasons:
            if self.explained is None:
                self.explained = Explaining(self.predictor, self.predictor.reasoner(self._means))
            return self.explained

    def warm(self) -> None:
        """Prepare it and predict once, so that no request pays for lazy set-up; that also names the outputs.

        Then what the model can't answer is found out by trying, so that such a request is refused at the door, as its
        sender's mistake, and never fails in the model: missing values, and numbers beyond single precision.
        """
        self.predictor.prepare()
        self.outputs = list(self.predict([[value] for value in self._row()]))
        fields = self.features.fields
        if not self._answers([None] * len(fields)):
            for index, field in enumerate(fields):
                field.takes_missing = len(fields) <= _MAX_TRIED and self._answers(self._row({index: None}))
        floats = [index for index, field in enumerate(fields) if field.kind == "float" and field.largest > _HUGE]
        if floats and not self._answers(self._row(dict.fromkeys(floats, _HUGE))):
            self.features.narrow(floats, _SINGLE)

    def shown(self) -> dict[str, list[Cell]]:
        """The example as columns; one row of nothing in particular where it has none."""
        given = self.predictor.example.inputs
        named = zip(self.features.names, self.features.kinds, strict=True)
        return {name: list(given[name]) if given.get(name) else [_WARM[kind]] for name, kind in named}

    def _row(self, changes: dict[int, Cell] | None = None) -> list[Cell]:
        """The first row of the example, with other values at some places."""
        row = [values[0] for values in self.shown().values()]
        for index, value in (changes or {}).items():
            row[index] = value
        return row

    def _answers(self, row: Sequence[Cell]) -> bool:
        from numpy import errstate

        try:
            with errstate(all="ignore"):
                self.predict([[value] for value in row])
        except Exception:  # noqa: BLE001 - a model may raise anything; that it does is what is asked here
            return False
        return True


def load_model(arm: ArmPlan, *, public_key: bytes | None, max_rows: int) -> LoadedModel:
    """Load the folder of an arm (digest, signature and grant checked there) and warm it up.

    Raises: Corrupt: The folder is not what was registered. Refused: It is a pickle without a grant. Failed: It can't
        predict.
    """
    from mainspring.registry.packages import load_folder

    loaded = load_folder(Path(arm.folder), public_key=public_key, expected=arm.digest, grant=arm.grant, own=arm.own)
    model = LoadedModel(arm.version, loaded, max_rows=max_rows, means=arm.means)
    model.warm()
    return model
