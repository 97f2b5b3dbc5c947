"""A deployment of many classes: areas under curves from its log and its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tests import spools
from tests.rooms.test_monitoring import START, build

from mainspring.core.clock import DAY_US
from mainspring.monitoring.intake import class_cells
from mainspring.monitoring.performing import Performing
from mainspring.serving import Feedback
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.ports import Tables

CLASSES = np.array(["bird", "cat", "dog"])


def test_areas_are_realized_by_late_labels_and_estimated_without(sqlite_tables: Tables, tmp_path: Path) -> None:
    house = build(sqlite_tables, tmp_path)
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"x": rng.normal(size=3600), "y": rng.normal(size=3600)})
    chance = np.exp(np.column_stack([frame["x"], frame["y"], np.zeros(3600)]))
    chance /= chance.sum(axis=1, keepdims=True)
    truth = CLASSES[(rng.random(3600)[:, None] > chance.cumsum(axis=1)[:, :-1]).sum(axis=1)]
    model = LogisticRegression().fit(frame.to_numpy(), truth)
    house.registry.register("pets", model, example=frame.head(3), metrics={"accuracy": 0.5})
    house.serving.deploy("live", "pets", 1)
    house.monitoring.watch("live")
    rows = [
        {
            "id": f"{i}",
            "request_id": f"{i}",
            "key": "",
            "inputs": row,
            "at": START + i * 3 * DAY_US // 3600,
            "event_at": START + i * 3 * DAY_US // 3600,
            "outputs": {"probability": chance[i].tolist(), "label": str(CLASSES[chance[i].argmax()])},
        }
        for i, row in enumerate(frame.iter_rows())
    ]
    columns = [("x", "float"), ("y", "float")]
    spools.write(house.folder / "serving" / SPOOLS / "a.sqlite", rows, columns=columns)
    house.serving.compact()
    labels = [Feedback(str(i), str(one)) for i, one in enumerate(truth)]
    house.serving.feedback("live", labels[:1200])
    house.monitoring.observe("live")
    performing = Performing(
        tables=house.tables, monitoring=house.monitoring, serving=house.serving, data=house.data
    ).performance
    first, second, third = performing("live").windows
    assert first.realized["macro_roc_auc"].value is not None
    assert first.estimated["macro_roc_auc"].why == "not estimable: these rows calibrate it"
    assert second.realized["macro_roc_auc"].why.endswith("did not come up")
    estimated = third.estimated["macro_roc_auc"]
    house.serving.feedback("live", labels[2400:])
    house.monitoring.observe("live")
    realized = performing("live").windows[2].realized["macro_roc_auc"]
    exact = roc_auc_score(truth[2400:], chance[2400:], multi_class="ovr", average="macro")
    assert realized.value is not None
    assert abs(realized.value - exact) < 1e-3
    assert estimated.low is not None
    assert estimated.high is not None
    assert estimated.low < exact < estimated.high
    assert not [note for note in performing("live").notes if "areas" in note]


def test_probabilities_are_kept_as_cells_where_there_are_some() -> None:
    rows = pl.DataFrame({"probabilities": [[0.5, 0.5], None, [1.0], [0.0, 1.0]]})
    assert class_cells(rows).to_list() == ["8080", "", "", "00ff"]
