"""A loaded version that is asked for reason codes, too: two more outputs, in the same batches as its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.asking import Outputs
from mainspring.serving.modelserver.columns import Cell, Column

if TYPE_CHECKING:
    from mainspring.registry.packages import Predictor, Reasoner

REASONS = "reasons"
"""The output with the codes of each row, one for each input in the order of the signature."""
BASE = "reasons_base"
"""The output with what each row's codes are added to."""
MAX_ROWS = 1000
"""Of one request that asks for reason codes: those of trees cost far more than an answer."""


class Explaining:
    """A version with its reason codes; the batcher asks it as it asks a model, and never mixes the two."""

    def __init__(self, predictor: Predictor, reasoner: Reasoner) -> None:
        self.scale = reasoner.scale
        self.columns = predictor.signature.names
        self.row_s = 0.0
        self.call_s = 0.0
        self.waits = predictor.waits
        self._predictor = predictor
        self._reasoner = reasoner

    def predict(self, columns: Sequence[Column]) -> Outputs:
        """The outputs of the model, then the codes and their base."""
        cells = cast("Sequence[Sequence[Cell]]", columns)
        answers = self._predictor.predict_checked(cells)
        found = self._reasoner.explain(cells, answers)
        outputs: Outputs = {name: values.tolist() for name, values in answers.items()}
        return {**outputs, REASONS: found.values.tolist(), BASE: found.base.tolist()}

    def check(self, rows: int) -> None:
        """Raises: Invalid: So many rows are not explained at once."""
        if rows > MAX_ROWS:
            raise Invalid(f"reason codes are given for at most {MAX_ROWS} rows of a request, found {rows}")

    def whole(self, outputs: Outputs, rows: int) -> Outputs:
        """Outputs in which rows that the model was not asked for have codes, too: none for any input."""
        nothing: list[Cell] = [None] * len(self.columns)
        codes = outputs.get(REASONS) or [None] * rows
        return {
            **outputs,
            REASONS: [nothing if found is None else found for found in codes],
            BASE: outputs.get(BASE) or [None] * rows,
        }


def without(outputs: Outputs) -> Outputs:
    """The outputs of the model alone."""
    return {name: values for name, values in outputs.items() if name not in (REASONS, BASE)}


def hidden(outputs: Outputs, columns: Sequence[str], redact: Sequence[str]) -> Outputs:
    """Outputs without the codes of inputs that are not logged: from the code of a linear model its value is found."""
    places = [place for place, name in enumerate(columns) if name in redact]
    if not places:
        return outputs
    kept = [[None if i in places else code for i, code in enumerate(_codes(row))] for row in outputs[REASONS]]
    return {**outputs, REASONS: list(kept)}


def named(outputs: Outputs, columns: Sequence[str], scale: str) -> list[dict[str, object] | None]:
    """The codes of each row by the names of the inputs, for protocols that answer row by row."""
    return [
        None if base is None else {"base": base, "contributions": dict(zip(columns, _codes(row), strict=True)),
                                   "scale": scale}
        for row, base in zip(outputs[REASONS], outputs[BASE], strict=True)
    ]  # fmt: skip


def _codes(row: object) -> list[object]:
    return row if isinstance(row, list) else []
