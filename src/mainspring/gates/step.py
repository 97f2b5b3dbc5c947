"""The gate as a step of something larger: plain values in, plain values out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.gates.given import Given

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates.model import Verdict
    from mainspring.gates.service import Gates


def judge_version(
    gates: Gates,
    *,
    gate: str,
    model: str,
    version: int | str = "latest",
    data: str = "",
    label: str = "",
    key: str = "",
) -> dict[str, object]:
    """Put a registered version before a gate of the settings, and say in plain values what came of it.

    Args:
        gates: The room.
        gate: Name of the gate.
        model: Name of the model.
        version: Number or alias.
        data: Dataset to judge on; default: the gate's.
        label: Column with the truth; default: the gate's, or the one that can be it.
        key: Idempotency key.
    Returns: verdict, gate, model, version, outcome, standing, approval, reason, rows_needed.
    Raises:
        NotFound: No such gate, model, version or dataset.
        Invalid: It is not said which data or which label.
    """
    return _plain(gates, gates.run(gate, model, version, data=data, label=label, key=key))


def judge_answers(
    gates: Gates,
    *,
    gate: str,
    frame: pl.DataFrame,
    label: str,
    score: str = "score",
    baseline: str = "",
    data_ref: str = "",
    key: str = "",
) -> dict[str, object]:
    """The same for a table of answers, before anything is registered.

    Args:
        gates: The room.
        gate: Name of the gate.
        frame: One row per answer.
        label: Column with the truth.
        score: Column with what the candidate said: probability of class 1, or the number.
        baseline: Column with what the champion said; "" for none.
        data_ref: Reference of the data version the rows are from: its uses are counted.
        key: Idempotency key.
    Returns: As `judge_version`, with the version 0.
    Raises:
        NotFound: There is no such gate.
    """
    given = Given(label=label, score=score, baseline=baseline)
    return _plain(gates, gates.evaluate_answers(gates.spec(gate), frame=frame, given=given, data_ref=data_ref, key=key))


def _plain(gates: Gates, found: Verdict) -> dict[str, object]:
    said, standing = gates.approvals(found.id), gates.standing(found.id)
    needed = [result.rows_needed for result in found.checks if result.rows_needed is not None]
    return {
        "verdict": found.id,
        "gate": found.gate,
        "model": found.model,
        "version": found.version,
        "outcome": found.outcome,
        "standing": standing,
        "approval": "" if not found.approve else "waiting" if standing == "wait" or not said else said[-1].decision,
        "reason": found.reason,
        "rows_needed": max(needed, default=None),
    }
