"""Measures of many classes from counts of answers and truths."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules.measuring import Floats, reading
from mainspring.monitoring.rules.performance import BETWEEN, Outcomes, coverage_of

MEASURES = ("accuracy", "macro_f1", "macro_precision", "macro_recall")
MOST_CLASSES = 100
_DRAWS = 100


def table_of(confusion: Mapping[str, int]) -> tuple[list[str], Floats]:
    """The classes, most frequent truth first, and rows by (answer, truth), shape (classes, classes)."""
    pairs = {tuple(key.split(BETWEEN, 1)): rows for key, rows in confusion.items()}
    totals: dict[str, int] = {}
    for (answer, truth), rows in pairs.items():
        totals[truth] = totals.get(truth, 0) + rows
        totals.setdefault(answer, 0)
    names = sorted(totals, key=lambda name: (-totals[name], name))[:MOST_CLASSES]
    places = {name: place for place, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for (answer, truth), rows in pairs.items():
        if answer in places and truth in places:
            table[places[answer], places[truth]] += rows
    return names, table


def realized_many(outcomes: Outcomes, *, seed: int = 0, worth: Mapping[str, float] | None = None) -> dict[str, Reading]:
    """Measures of the labelled rows with 95 % intervals; means over classes count each class that came up once.

    Areas under curves, which need the probability of every class, are in `areas`.
    """
    names = [*MEASURES, "value"] if worth else list(MEASURES)
    if not outcomes.rows:
        return {name: unknown("no row has a label") for name in names}
    _, table = table_of(outcomes.confusion)
    rng = np.random.default_rng(seed)
    at, drawn = _means(table), _means(rng.poisson(table, (_DRAWS, *table.shape)).astype(np.float64))
    held = coverage_of(0, outcomes.rows, outcomes.correct)
    found = {"accuracy": Reading(held.share, held.low, held.high)}
    found |= {name: reading(name, float(at[name]), float(np.nanstd(drawn[name]))) for name in MEASURES[1:]}
    if worth:
        wrong = outcomes.rows - outcomes.correct
        money = worth.get("right", 0.0) * outcomes.correct + worth.get("wrong", 0.0) * wrong
        spread = abs(worth.get("right", 0.0) - worth.get("wrong", 0.0)) * np.sqrt(held.share * wrong)
        found["value"] = Reading.of(money, money - 1.96 * float(spread), money + 1.96 * float(spread))
    return found


def _means(table: Floats) -> dict[str, Floats]:
    right = np.diagonal(table, axis1=-2, axis2=-1)
    said, true = table.sum(axis=-1), table.sum(axis=-2)
    precision = np.divide(right, said, out=np.zeros_like(right), where=said > 0)
    recall = np.divide(right, true, out=np.zeros_like(right), where=true > 0)
    both = said + true
    f1 = np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0)
    came, shown = np.maximum((both > 0).sum(axis=-1), 1), both > 0
    return {
        "macro_f1": (f1 * shown).sum(axis=-1) / came,
        "macro_precision": (precision * shown).sum(axis=-1) / came,
        "macro_recall": (recall * shown).sum(axis=-1) / came,
    }


def per_class(outcomes: Outcomes) -> dict[str, dict[str, Reading]]:
    """Precision, recall and F1 of each class with 95 % intervals, the most frequent first."""
    names, table = table_of(outcomes.confusion)
    return {name: _one(table, place) for place, name in enumerate(names)}


def _one(table: Floats, place: int) -> dict[str, Reading]:
    right, said, true = (int(part) for part in (table[place, place], table[place].sum(), table[:, place].sum()))
    found = {"precision": _wilson(right, said), "recall": _wilson(right, true)}
    found["f1"] = Reading.of(2 * right / (said + true)) if said + true else unknown("the class did not come up")
    return found


def _wilson(part: int, whole: int) -> Reading:
    if not whole:
        return unknown("the class did not come up")
    held = coverage_of(0, whole, part)
    return Reading(held.share, held.low, held.high)
