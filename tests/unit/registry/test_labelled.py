"""A classifier that wants 0, 1, 2, ... takes any labels, also in a package, and gives reasons as without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from mainspring.registry.flavours import flavour_for
from mainspring.registry.flavours.sklearn import explainer, trait
from mainspring.registry.labelled import Labelled
from mainspring.registry.packages import build, predictor_of

xgboost = pytest.importorskip("xgboost")
X = np.random.default_rng(3).normal(size=(90, 2))
FRAME = pl.DataFrame(X, schema=["a", "b"])
PLACES = np.digitize(X[:, 0], [-0.4, 0.4])


@pytest.mark.parametrize("labels", [["high", "low", "middle"], [3, 7, 900], [False, True]])
def test_any_labels_are_learnt_kept_and_explained_as_places_would_be(labels: list[Any]) -> None:
    places = np.minimum(PLACES, len(labels) - 1)
    settings: dict[str, Any] = {"n_estimators": 4, "max_depth": 2, "random_state": 0, "n_jobs": 1}
    plain = xgboost.XGBClassifier(**settings).fit(X, places)
    model = Pipeline([("scale", StandardScaler()), ("model", Labelled(xgboost.XGBClassifier(**settings)))])
    model.fit(FRAME.to_numpy(), np.array(labels)[places])
    assert list(model.classes_) == labels
    assert (model.predict(X) == np.array(labels)[plain.predict(X)]).mean() > 0.95
    package = build(model, FRAME.head(3))
    kind = flavour_for(model)
    kept = predictor_of(package.manifest, kind, kind.read(package.files[kind.FILE]))
    said = kept.predict(FRAME)["probability"]
    whole = model.predict_proba(X)
    assert np.allclose(said, whole[:, 1] if len(labels) == 2 else whole)
    assert type(explainer(model, trait(model), None)).__name__ == "Gathered"  # by the trees inside, not refused
