"""How much each input matters to a model, kept in its package: what the model says itself, or how far answers move.

Shares that add up to 1. Where there are none, nobody makes them up: what needs them says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.registry.model import IMPORTANCES, Importance

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.manifests import Manifest
    from mainspring.registry.packages import Package, Predictor

NOTE = "importance"
LEAST_ROWS = 30
_MOST_ROWS = 500
_MOST_COLUMNS = 200
_APART = ("python", "pickle", "composed")


def importance_of(manifest: Manifest | None) -> Importance | None:
    """What a package says; None when it says nothing, or nothing that can be read."""
    note = manifest.notes.get(NOTE) if manifest is not None else None
    if not isinstance(note, dict) or note.get("method") not in IMPORTANCES or not isinstance(note.get("shares"), dict):
        return None
    shares = note["shares"]
    if not all(isinstance(share, (int, float)) and not isinstance(share, bool) for share in shares.values()):
        return None
    return Importance.of(str(note["method"]), shares)


def with_importance(
    package: Package, model: object, rows: pl.DataFrame, given: Mapping[str, float] | None = None
) -> Package:
    """The package with how much its inputs matter.

    What was given counts, then what the model says itself, then, of 30 rows or more, how far its answers move.

    Raises:
        Invalid: What was given names no input, or is no amount.
    """
    if package.manifest.signature is None:
        return package
    names = package.manifest.signature.names
    found = _given(given, names) if given else _own(model, names) or _by_rows(package, model, rows, names)
    if found is None:
        return package
    note = {"method": found.method, "shares": dict(found.shares)}
    return replace(package, manifest=replace(package.manifest, notes={**package.manifest.notes, NOTE: note}))


def _given(values: Mapping[str, float], names: Sequence[str]) -> Importance | None:
    for name, value in values.items():
        if name not in names:
            hint = did_you_mean(name, names) or f"inputs: {', '.join(names[:10])}"
            raise Invalid(f"{name!r} is no input", where="importance", hint=hint)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Invalid(f"{value!r} is no amount", where=f"importance.{name}", hint="use a number")
    return Importance.of("given", {name: values.get(name, 0.0) for name in names})


def _own(model: object, names: Sequence[str]) -> Importance | None:
    """What trees of LightGBM, XGBoost, CatBoost and scikit-learn say."""
    booster = getattr(model, "booster_", model)
    if hasattr(booster, "feature_importance"):
        amounts = booster.feature_importance(importance_type="gain")
    elif hasattr(model, "get_score") and hasattr(model, "feature_names"):
        scores = model.get_score(importance_type="total_gain")
        known = model.feature_names or [f"f{i}" for i in range(len(names))]
        amounts = [scores.get(name, 0.0) for name in known]
    elif hasattr(model, "get_feature_importance"):
        amounts = model.get_feature_importance()
    else:
        amounts = _attribute(model)
    if amounts is None or getattr(amounts, "ndim", 1) != 1 or len(amounts) != len(names):
        return None
    return Importance.of("own", dict(zip(names, map(float, amounts), strict=True)))


def _attribute(model: object) -> Sequence[float] | None:
    """What estimators call `feature_importances_`; some say only when asked that they have none."""
    try:
        return getattr(model, "feature_importances_", None)
    except Exception:  # noqa: BLE001 - of a foreign estimator, which says in its own way that it has none
        return None


def _by_rows(package: Package, model: object, rows: pl.DataFrame, names: Sequence[str]) -> Importance | None:
    from mainspring.registry.flavours import flavour
    from mainspring.registry.packages import Predictor

    if rows.height < LEAST_ROWS or len(names) > _MOST_COLUMNS or package.manifest.flavour in _APART:
        return None
    kind = flavour(package.manifest.flavour)
    predictor = Predictor(package.manifest, kind.scorer(model, package.manifest.trait))
    return permuted(predictor, rows.select(names).head(_MOST_ROWS))


def permuted(predictor: Predictor, rows: pl.DataFrame) -> Importance | None:
    """How far answers move, on average, when the values of a column are dealt out anew; no label is needed.

    Source: Breiman (2001), Random Forests, section 10, with the change of the answer in place of that of the error.
    """
    import numpy as np

    order = np.random.default_rng(0).permutation(rows.height)
    before = _answers(predictor, rows)
    moved = {
        name: float(np.abs(_answers(predictor, rows.with_columns(rows[name].gather(order))) - before).mean())
        for name in rows.columns
    }
    return Importance.of("permutation", moved)


def _answers(predictor: Predictor, rows: pl.DataFrame) -> NDArray[np.float64]:
    import numpy as np

    found = predictor.predict(rows)
    return np.asarray(found["probability"] if "probability" in found else found["prediction"], np.float64)
