"""So what: how much of what a model goes by has moved. Impact is importance times effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.registry.model import Importance

if TYPE_CHECKING:
    from mainspring.monitoring.rules.judging import Draft

UNKNOWN = "the version was registered without importances: columns are in the order of their effect"


def weigh(draft: Draft, importance: Importance | None) -> Draft:
    """The alarm with the impact of each of its columns, the greatest first; one without columns stays as it is."""
    columns = draft.evidence.get("columns")
    if not isinstance(columns, list):
        return draft
    weighed = weighed_columns(columns, importance)
    facts = {**draft.evidence, "columns": weighed, "importance": UNKNOWN if importance is None else importance.words}
    return replace(draft, evidence=facts, text=impact_text(weighed))


def weighed_columns(columns: Sequence[Mapping[str, object]], importance: Importance | None) -> list[dict[str, object]]:
    """Columns with their importance and impact, the greatest first; without importances in the order of the effect."""
    found = [dict(entry) for entry in columns]
    for entry in found if importance is not None else ():
        share = importance.shares.get(_input_of(entry), 0.0) if importance is not None else 0.0
        entry |= {"importance": share, "impact": share * effect_of(entry)}
    return in_order(found)


def in_order(columns: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Columns by impact, then effect, then name."""
    return sorted(columns, key=lambda entry: (-_number(entry, "impact"), -effect_of(entry), str(entry.get("column"))))


def effect_of(entry: Mapping[str, object]) -> float:
    """The share of the rows that moved beyond the tolerance, or whose value is missing beyond the bar."""
    return max(_number(entry, "effect"), _number(entry, "missing_share") - _number(entry, "missing_bar"), 0.0)


def impact_text(columns: Sequence[Mapping[str, object]]) -> str:
    """One sentence about columns that moved, and how much of what the model goes by they are."""
    from mainspring.monitoring.rules.judging import drift_text

    known = {_input_of(entry): _number(entry, "importance") for entry in columns if "importance" in entry}
    share = f"; {min(sum(known.values()), 1.0):.0%} of what the model goes by" if known else ""
    return drift_text(columns) + share


def _input_of(entry: Mapping[str, object]) -> str:
    """The input that a column is, or stands for a part of."""
    return str(entry.get("source") or entry.get("column"))


def _number(entry: Mapping[str, object], name: str) -> float:
    value = entry.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0
