"""The numbers of NannyML 0.13.1, which files hold for the rows that are drawn here and in `peers/classes.py`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.monitoring.peers.classes import CLASSES, draw

from mainspring.monitoring.rules.estimating.like_nannyml import MEASURES, LikeNannyML, LikeNannyMLOfClasses

Floats = NDArray[np.float64]
ORACLE = json.loads((Path(__file__).parent / "nannyml_cbpe.json").read_text())
OF_CLASSES = json.loads((Path(__file__).parent / "peers" / "nannyml_classes.json").read_text())
ROWS = 1_000


def rows(sharp: float) -> tuple[Floats, Floats, Floats]:
    """Scores, answers and labels of a reference (the first half) and ten windows of 100 rows; inputs move half way."""
    rng = np.random.default_rng(5)
    logit = rng.normal(-0.5, 1.3, 2 * ROWS) + np.where(np.arange(2 * ROWS) >= 1.5 * ROWS, 0.8, 0.0)
    truth = (rng.random(2 * ROWS) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    scores = np.round(1 / (1 + np.exp(-logit * sharp)), 6)
    return scores, (scores >= 0.4).astype(np.float64), truth


@pytest.mark.parametrize("sharp", [1.0, 2.5])
def test_estimated_and_realized_values_are_those_of_nannyml(sharp: float) -> None:
    scores, said, truth = rows(sharp)
    like = LikeNannyML(scores[:ROWS], truth[:ROWS])
    for place, oracle in enumerate(ORACLE[str(sharp)]):
        window = slice(ROWS + place * 100, ROWS + (place + 1) * 100)
        estimated = like.estimated(scores[window], said[window])
        realized = like.realized(scores[window], said[window], truth[window])
        for name in MEASURES:
            assert estimated[name] == pytest.approx(oracle[name][0], abs=1e-6)
            assert realized[name] == pytest.approx(oracle[name][1], abs=1e-6)


def test_windows_that_define_no_measure_give_no_number() -> None:
    like = LikeNannyML(np.array([0.1, 0.9]), np.array([0.0, 0.0]))
    assert np.isnan(like.realized(np.array([0.5]), np.array([0.0]), np.array([0.0]))["roc_auc"])
    assert np.isnan(like.estimated(np.array([0.0]), np.array([0.0]))["precision"])


def test_values_of_three_classes_are_those_of_nannyml() -> None:
    scores, said, truth = draw()
    like = LikeNannyMLOfClasses(scores[:ROWS], truth[:ROWS])
    assert len(OF_CLASSES) == 10
    for place, oracle in enumerate(OF_CLASSES):
        window = slice(ROWS + place * 100, ROWS + (place + 1) * 100)
        estimated = like.estimated(scores[window], said[window])
        realized = like.realized(scores[window], said[window], truth[window])
        for name in MEASURES:
            assert estimated[name] == pytest.approx(oracle[name][0], abs=1e-6)
            assert realized[name] == pytest.approx(oracle[name][1], abs=1e-6)
        confusion = like.confusion(scores[window], said[window])
        for true, answered in np.ndindex(3, 3):
            name = f"true_{CLASSES[true]}_pred_{CLASSES[answered]}"
            assert confusion[true, answered] == pytest.approx(oracle[name][0], abs=1e-6)


def test_a_window_without_one_of_the_classes_has_no_area_and_one_of_a_single_class_no_number() -> None:
    scores, said, truth = draw()
    like = LikeNannyMLOfClasses(scores[:ROWS], truth[:ROWS])
    two = truth < 2
    lacking = like.realized(scores[two], said[two], truth[two])
    assert np.isnan(lacking["roc_auc"])
    assert 0 < lacking["f1"] < lacking["accuracy"]
    one = truth == 1
    assert all(np.isnan(value) for value in like.realized(scores[one], said[one], truth[one]).values())
