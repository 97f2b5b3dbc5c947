"""A text model of LightGBM is read and asked without its Python package, with the very same bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
import pytest

from mainspring.core.errors import Corrupt, Invalid
from mainspring.registry.boosters import Booster
from mainspring.registry.flavours import flavour_for
from mainspring.registry.flavours import lightgbm as flavour

CLASSES = {"regression": 0, "binary": 2, "multiclass": 3}
WITHOUT_THE_PACKAGE = """
import sys
from pathlib import Path
import numpy as np
from mainspring.registry.flavours import Trait, explainer_of, lightgbm as flavour
model = flavour.read(Path(sys.argv[1]).read_bytes())
assert flavour.trait(model).task == "binary"
scores = flavour.scorer(model, Trait("binary", (0, 1))).score(np.zeros((9, 4)))
codes = flavour.explainer(model, Trait("binary", (0, 1)), None).explain(np.zeros((9, 4)))
assert scores.shape == (9,) and codes.shape[0] == 9
print(sorted({"lightgbm", "sklearn", "scipy", "pandas"} & set(sys.modules)))
"""


def trained(objective: str) -> tuple[lightgbm.Booster, np.ndarray]:
    rng = np.random.default_rng(3)
    rows = np.where(rng.random((300, 4)) < 0.1, np.nan, rng.normal(size=(300, 4)))
    rows[:, 3] = rng.integers(0, 6, 300)
    classes = CLASSES[objective]
    truth = rng.integers(0, classes, 300) if classes else np.nan_to_num(rows[:, 0]) + rows[:, 3]
    about = {"objective": objective, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "num_leaves": 8}
    about |= {"num_class": classes} if classes > 2 else {}
    return lightgbm.train(about, lightgbm.Dataset(rows, truth, categorical_feature=[3]), 12), rows


@pytest.mark.parametrize("objective", CLASSES)
def test_answers_and_shares_have_the_bits_of_the_package(objective: str) -> None:
    theirs, rows = trained(objective)
    ours = Booster(theirs.model_to_string())
    for threads in (0, 1):
        assert np.array_equal(ours.predict(rows, num_threads=threads), theirs.predict(rows, num_threads=threads))
    codes = theirs.predict(rows, pred_contrib=True, num_threads=1)
    assert np.array_equal(ours.predict(rows, pred_contrib=True, num_threads=1), codes)
    assert np.array_equal(ours.predict(pl.DataFrame(rows, orient="row")), theirs.predict(rows))


def test_single_precision_is_answered_as_the_package_does() -> None:
    theirs, rows = trained("binary")
    single = rows.astype(np.float32)
    assert np.array_equal(Booster(theirs.model_to_string()).predict(single), theirs.predict(single))


@pytest.mark.parametrize("objective", CLASSES)
def test_it_says_of_itself_what_the_package_says(objective: str) -> None:
    theirs, _ = trained(objective)
    text = theirs.model_to_string()
    read, ours = lightgbm.Booster(model_str=text), Booster(text)
    for name in ("num_feature", "feature_name", "num_model_per_iteration", "current_iteration"):
        assert getattr(ours, name)() == getattr(read, name)()
    for kind in ("split", "gain"):
        assert np.array_equal(ours.feature_importance(kind), read.feature_importance(kind))
    assert ours.best_iteration == read.best_iteration
    assert ours.pandas_categorical == read.pandas_categorical
    assert flavour_for(ours) is flavour_for(read)
    assert flavour.trait(ours) == flavour.trait(read)
    for rounds in (None, 1, 5):
        assert ours.model_to_string(num_iteration=rounds) == read.model_to_string(num_iteration=rounds)


def test_levels_of_pandas_columns_are_found() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": np.arange(60.0), "b": pandas.Categorical(["x", "y", "z"] * 20)})
    about = {"objective": "regression", "verbose": -1, "min_data_in_leaf": 1, "min_data_per_group": 1, "cat_smooth": 0}
    theirs = lightgbm.train(about, lightgbm.Dataset(table, np.arange(60.0) % 3), 3)
    ours = Booster(theirs.model_to_string())
    assert ours.pandas_categorical == [["x", "y", "z"]]
    assert flavour.trait(ours) == flavour.trait(theirs)
    assert flavour.dump(ours) == flavour.dump(theirs)


def test_rows_of_another_width_are_refused() -> None:
    theirs, _ = trained("binary")
    with pytest.raises(Invalid, match="rows of 3 features, the model has 4"):
        Booster(theirs.model_to_string()).predict(np.zeros((2, 3)))


def test_what_lightgbm_cannot_read_is_corrupt() -> None:
    with pytest.raises(Corrupt, match=r"LightGBM can't read it: .+"):
        Booster("this is no model")


def test_a_process_that_only_answers_loads_neither_the_package_nor_what_it_brings(tmp_path: Path) -> None:
    file = tmp_path / "model.txt"
    trained("binary")[0].save_model(file)
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[]"
