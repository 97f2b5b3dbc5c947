"""The gates of the house, as the steps of pipelines see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from mainspring.gates import Gates
from mainspring.gates.step import judge_answers, judge_version

if TYPE_CHECKING:
    import polars as pl


class HouseJudge:
    """Judges for `mainspring.pipelines.flow.gate`.

    Args:
        gates: The gates room.
    """

    def __init__(self, gates: Gates) -> None:
        self._gates = gates

    def check(self, gate: str) -> None:
        """Return when the gate is declared as a gate is."""
        self._gates.spec(gate)

    def version(
        self, *, gate: str, model: str, version: int | str, data: str, label: str, key: str
    ) -> Mapping[str, object]:
        """Judge a registered version; the verdict as plain JSON."""
        return judge_version(self._gates, gate=gate, model=model, version=version, data=data, label=label, key=key)

    def answers(
        self, *, gate: str, frame: object, label: str, score: str, baseline: str, key: str
    ) -> Mapping[str, object]:
        """Judge a frame of answers; the verdict as plain JSON."""
        rows = cast("pl.DataFrame", frame)
        return judge_answers(self._gates, gate=gate, frame=rows, label=label, score=score, baseline=baseline, key=key)
