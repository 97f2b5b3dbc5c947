"""Areas under the curves of many classes, from counts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from mainspring.core.scores import score_cells
from mainspring.monitoring.rules.areas import AREAS, calibrate_classes, estimated_areas, realized_areas
from mainspring.monitoring.rules.performance import Outcomes, classed_outcome

CLASSES = ("bird", "cat", "dog")


def scored(rows: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities that mean what they say, and what was true."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet((0.8, 0.5, 0.3), rows)
    return chances, (rng.random(rows)[:, None] > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)


def counted(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> Outcomes:
    cells = [score_cells(row).astype(np.uint8).tobytes().hex() for row in chances]
    found = Outcomes.total(classed_outcome(one, CLASSES, CLASSES[at]) for one, at in zip(cells, truth, strict=True))
    for place in range(3):  # what was labelled was predicted
        for rows in found.classed[place].values():
            rows[0] = rows[1] + rows[2]
    return found


def test_areas_from_counts_are_those_of_rows_within_a_thousandth() -> None:
    chances, truth = scored(3000, 1)
    found = realized_areas(counted(chances, truth).classed)
    for name, average in zip(AREAS, ("macro", "weighted"), strict=True):
        exact = roc_auc_score(truth, chances, multi_class="ovr", average=average)
        value, low, high = found[name].value, found[name].low, found[name].high
        assert value == pytest.approx(exact, abs=1e-3)
        assert low is not None
        assert high is not None
        assert low < exact < high


def test_areas_are_estimated_without_labels_where_scores_mean_what_they_meant() -> None:
    calibrations = calibrate_classes(counted(*scored(2000, 1)).classed)
    chances, truth = scored(2000, 2)
    found = estimated_areas(counted(chances, truth).classed, calibrations)["macro_roc_auc"]
    assert found.low is not None
    assert found.high is not None
    assert found.low < roc_auc_score(truth, chances, multi_class="ovr", average="macro") < found.high


def test_what_cannot_be_said_has_a_reason() -> None:
    assert "no answer has the probabilities" in realized_areas({})["macro_roc_auc"].why
    assert estimated_areas({}, "no labels")["macro_roc_auc"].why == "not estimable: no labels"
    chances, _ = scored(200, 1)
    one = counted(chances, np.zeros(200, np.int64)).classed
    assert realized_areas(one)["macro_roc_auc"].why == "not estimable: 3 of 3 classes did not come up"
    assert "class 1 against the others" in str(calibrate_classes(one))
    assert calibrate_classes({}) == "no answer has the probabilities of its classes, or there are over 20 of them"


@pytest.mark.parametrize(("cells", "label"), [("", "cat"), ("8040", "cat"), ("804020", "fish")])
def test_labels_that_fit_no_class_count_nothing(cells: str, label: str) -> None:
    assert not classed_outcome(cells, CLASSES, label).classed
