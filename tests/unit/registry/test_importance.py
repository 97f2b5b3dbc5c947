"""How much inputs matter to a model: its own word, a given one, or how far answers move."""

from __future__ import annotations

import lightgbm
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from mainspring.core.errors import Invalid
from mainspring.registry.importance import importance_of, with_importance
from mainspring.registry.manifests import Manifest
from mainspring.registry.model import Importance
from mainspring.registry.packages import build


def rows(count: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame({name: rng.normal(size=count) for name in ("a", "b", "c")})


def packaged(model: object, example: pl.DataFrame, given: dict[str, float] | None = None) -> Importance | None:
    package = with_importance(build(model, example), model, example, given)
    return importance_of(Manifest.from_bytes(package.manifest.to_bytes()))


@pytest.mark.parametrize("kind", ["lightgbm", "booster", "forest"])
def test_trees_say_it_themselves(kind: str) -> None:
    frame = rows()
    truth = (frame["a"] > 0).to_numpy().astype(int)
    if kind == "forest":
        model: object = RandomForestClassifier(5, random_state=0).fit(frame.to_numpy(), truth)
    else:
        fitted = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, num_threads=1).fit(frame.to_numpy(), truth)
        model = fitted.booster_ if kind == "booster" else fitted
    found = packaged(model, frame.head(3))
    assert found is not None
    assert (found.method, max(found.shares, key=found.shares.__getitem__)) == ("own", "a")
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-5)


def test_of_other_models_it_is_how_far_answers_move_when_a_column_is_shuffled() -> None:
    frame = rows()
    linear = LinearRegression().fit(frame.to_numpy(), (3 * frame["a"] + frame["b"]).to_numpy())
    found = packaged(linear, frame)
    assert found is not None
    assert found.method == "permutation"
    assert found.shares["a"] == pytest.approx(0.75, abs=0.05)
    assert found.shares["c"] == 0
    many = LogisticRegression().fit(frame.to_numpy(), np.digitize(frame["a"], [-0.5, 0.5]))
    assert packaged(many, frame) is not None
    assert packaged(linear, frame.head(5)) is None


def test_what_is_given_counts_and_is_checked() -> None:
    frame = rows(5)
    model = LinearRegression().fit(frame.to_numpy(), frame["a"].to_numpy())
    assert packaged(model, frame, {"a": 3, "b": 1}) == Importance("given", {"a": 0.75, "b": 0.25, "c": 0.0})
    wrongs: list[tuple[dict[str, float], str]] = [({"aa": 1.0}, "no input"), ({"a": float("nan")}, "no amount")]
    for wrong, said in wrongs:
        with pytest.raises(Invalid, match=said):
            packaged(model, frame, wrong)


@pytest.mark.parametrize("note", [1, {}, {"method": "own"}, {"method": "own", "shares": {"a": "x"}}, {"method": 1}])
def test_a_note_that_says_nothing_is_no_importance(note: object) -> None:
    frame = rows(5)
    package = build(LinearRegression().fit(frame.to_numpy(), frame["a"].to_numpy()), frame)
    plain = Manifest(package.manifest.flavour, package.manifest.trait, None, {}, notes={"importance": note})
    assert importance_of(plain) is None
    assert importance_of(None) is None
    assert Importance.of("own", {"a": 0.0, "b": -1.0}) is None
