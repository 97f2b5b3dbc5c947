"""Autologging with the real libraries: what is recorded, and that the training never notices."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import mainspring as ms
from mainspring.core.clock import SystemClock
from mainspring.core.errors import Invalid, Unavailable
from mainspring.registry.packages import load_folder
from mainspring.sdk import Session, session
from mainspring.tracking import Files, Run, Search, Tracking

RANDOM = np.random.default_rng(7)
INPUTS = RANDOM.normal(size=(300, 4))
LABEL = (INPUTS[:, 0] + 0.3 * RANDOM.normal(size=300) > 0).astype(int)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The default session of this process, over a data folder of its own; autologging is on."""
    for name in [name for name in os.environ if name.startswith("MAINSPRING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "_default", None)
    made = ms.connect(tmp_path / "data")
    ms.autolog(experiment="fits")
    yield made
    ms.autolog(False)
    made.close()


@pytest.fixture
def tracking(house: Session) -> Tracking:
    return house.get(Tracking)


@pytest.fixture
def files(house: Session) -> Files:
    return house.get(Files)


def runs(tracking: Tracking) -> list[Run]:
    """All runs, the first one first."""
    found = Search(tables=tracking._tables, clock=SystemClock()).runs(None).items
    return [tracking.get(run.id) for run in reversed(found)]


def only(tracking: Tracking) -> Run:
    (run,) = runs(tracking)
    return run


def kept(files: Files, run: Run) -> set[str]:
    return {entry.path for entry in files.below(run.folder)}


def test_a_fit_is_a_run_with_params_scores_data_and_a_model_that_answers_as_it_does(
    tracking: Tracking, files: Files, tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.5).fit(INPUTS, LABEL)
    run = only(tracking)
    assert (run.name, run.experiment, run.status) == ("LogisticRegression", "fits", "finished")
    assert run.params["C"] == "0.5"
    assert run.metrics["training_score"].value == pytest.approx(model.score(INPUTS, LABEL))
    assert {"training_f1", "training_log_loss", "training_roc_auc"} <= set(run.metrics)
    assert run.tags["mainspring.estimator"] == "sklearn.linear_model._logistic.LogisticRegression"
    assert float(run.tags["mainspring.fit_seconds"]) > 0
    facts = json.loads(files.read(run.folder + "autolog/dataset.json"))
    assert (facts["rows"], facts["columns"]) == (300, 4)
    assert facts["label"] == {"classes": {"0": int((LABEL == 0).sum()), "1": int((LABEL == 1).sum())}}
    assert run.inputs[0].dataset == f"training@{facts['digest']}"
    assert kept(files, run) >= {"model/manifest.json", "model/model.skops", "model/example.json"}
    folder = tmp_path / "package"
    for entry in files.below(run.folder + "model/"):
        files.fetch(run.folder + "model/" + entry.path, folder / entry.path)
    from mainspring.core.canonical import digest

    digest_ = digest((folder / "manifest.json").read_bytes())
    seal = {"model": "m", "version": 1, "digest": digest_, "key": "", "signature": ""}
    (folder / "signature.json").write_text(json.dumps(seal))
    predictor = load_folder(folder, public_key=None)
    names = {f"x{i}": INPUTS[:, i] for i in range(4)}
    answers = predictor.predict(pl.DataFrame(names))["probability"]
    assert np.array_equal(answers, model.predict_proba(INPUTS)[:, 1])


def test_a_frame_with_names_is_known_by_them(tracking: Tracking, files: Files) -> None:
    pandas = pytest.importorskip("pandas")
    from sklearn.linear_model import Ridge

    frame = pandas.DataFrame(INPUTS, columns=["a", "b", "c", "d"])
    Ridge().fit(frame, INPUTS[:, 0])
    run = only(tracking)
    assert json.loads(files.read(run.folder + "autolog/dataset.json"))["types"] == dict.fromkeys("abcd", "float64")
    assert {"training_mae", "training_rmse", "training_score"} <= set(run.metrics)
    signature = json.loads(files.read(run.folder + "model/manifest.json"))["signature"]
    assert [entry["name"] for entry in signature["inputs"]] == ["a", "b", "c", "d"]


def test_fits_inside_of_a_fit_are_part_of_it_in_whatever_thread(tracking: Tracking) -> None:
    import joblib
    from sklearn.ensemble import BaggingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    make_pipeline(StandardScaler(), LogisticRegression()).fit(INPUTS, LABEL)
    with joblib.parallel_backend("threading", n_jobs=2):
        BaggingClassifier(LogisticRegression(), n_estimators=4).fit(INPUTS, LABEL)
        cross_val_score(LogisticRegression(), INPUTS, LABEL, cv=3)
    assert [run.name for run in runs(tracking)] == ["Pipeline", "BaggingClassifier"]


def test_a_transformer_alone_is_no_run(tracking: Tracking) -> None:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    StandardScaler().fit_transform(INPUTS)
    PCA().fit(INPUTS)
    assert runs(tracking) == []


def test_a_search_logs_its_best_candidates_as_children_up_to_the_limit(tracking: Tracking, files: Files) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    ms.autolog(experiment="fits", children=2)
    search = GridSearchCV(LogisticRegression(), {"C": [0.001, 0.01, 0.1, 1.0]}, cv=3).fit(INPUTS, LABEL)
    first, *children = runs(tracking)
    assert first.metrics["best_cv_score"].value == pytest.approx(search.best_score_)
    assert first.params["best.C"] == str(search.best_params_["C"])
    assert [child.parent for child in children] == [first.id] * 2
    assert {child.experiment for child in children} == {"fits"}
    scores = {child.params["C"]: child.metrics["mean_test_score"].value for child in children}
    assert max(scores.values()) == pytest.approx(search.best_score_)
    assert files.read(first.folder + "autolog/candidates.csv").count(b"\n") == 5


def test_the_first_fit_in_a_block_is_logged_into_its_run_and_others_below(tracking: Tracking) -> None:
    from sklearn.linear_model import LogisticRegression

    with ms.run("mine", experiment="own", capture=False) as run:
        LogisticRegression(C=1.0).fit(INPUTS, LABEL)
        LogisticRegression(C=2.0).fit(INPUTS, LABEL)
    mine, child = runs(tracking)
    assert (mine.id, mine.params["C"], mine.status) == (run.id, "1.0", "finished")
    assert (child.parent, child.params["C"], child.status) == (run.id, "2.0", "finished")


def test_a_fit_that_fails_is_a_failed_run_and_its_error_goes_on_up(tracking: Tracking) -> None:
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(ValueError, match="NaN"):
        LogisticRegression().fit(INPUTS * np.nan, LABEL)
    assert only(tracking).status == "failed"


def test_curves_that_an_estimator_remembers_are_logged_by_step(tracking: Tracking) -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(n_estimators=7, random_state=0).fit(INPUTS, LABEL)
    points = tracking.history(only(tracking).id, "train_score")
    assert [point.value for point in points] == pytest.approx(list(model.train_score_))


def test_a_function_of_lightgbm_logs_every_iteration_and_the_early_stop(tracking: Tracking, files: Files) -> None:
    import lightgbm as lgb

    train, valid = lgb.Dataset(INPUTS[:200], LABEL[:200]), lgb.Dataset(INPUTS[200:], LABEL[200:])
    evals: dict[str, Any] = {}
    callbacks: list[Any] = [lgb.early_stopping(3, verbose=False), lgb.record_evaluation(evals)]
    params = {"objective": "binary", "verbose": -1, "metric": ["auc", "binary_logloss"], "learning_rate": 0.5}
    booster = lgb.train(params, train, 50, valid_sets=[valid], callbacks=callbacks)
    run = only(tracking)
    points = [point.value for point in tracking.history(run.id, "valid_0/auc")]
    assert points == evals["valid_0"]["auc"]
    assert len(points) < 50
    assert run.params["learning_rate"] == "0.5"
    assert run.params["best_iteration"] == str(booster.best_iteration)
    assert kept(files, run) >= {"model/manifest.json", "model/model.txt"}


def test_an_estimator_of_lightgbm_logs_iterations_too(tracking: Tracking) -> None:
    import lightgbm as lgb

    model = lgb.LGBMClassifier(n_estimators=6, verbose=-1)
    model.fit(INPUTS, LABEL, eval_X=(INPUTS,), eval_y=(LABEL,))
    run = only(tracking)
    assert (run.name, run.params["n_estimators"]) == ("LGBMClassifier", "6")
    assert len(tracking.history(run.id, "valid_0/binary_logloss")) == 6
    assert "training_roc_auc" in run.metrics


def test_a_function_of_xgboost_logs_every_iteration(tracking: Tracking, files: Files) -> None:
    xgb = pytest.importorskip("xgboost")

    matrix = xgb.DMatrix(INPUTS, LABEL)
    evals: dict[str, Any] = {}
    xgb.train(
        {"objective": "binary:logistic", "max_depth": 3},
        matrix,
        8,
        evals=[(matrix, "train")],
        evals_result=evals,
        verbose_eval=False,
    )
    run = only(tracking)
    points = [point.value for point in tracking.history(run.id, "train/logloss")]
    assert points == pytest.approx(evals["train"]["logloss"])
    assert (len(points), run.params["max_depth"], run.params["num_boost_round"]) == (8, "3", "8")
    assert json.loads(files.read(run.folder + "autolog/dataset.json"))["rows"] == 300


def test_a_cross_validation_of_lightgbm_is_a_run_with_the_mean_and_spread_of_its_folds(
    tracking: Tracking, files: Files
) -> None:
    import lightgbm as lgb

    params = {"objective": "binary", "metric": "binary_logloss", "verbose": -1, "seed": 7}
    stop = lgb.early_stopping(3, verbose=False)
    found: Any = lgb.cv(params, lgb.Dataset(INPUTS, label=LABEL), num_boost_round=60, nfold=4, callbacks=[stop])
    (run,) = runs(tracking)
    means, spreads = found["valid binary_logloss-mean"], found["valid binary_logloss-stdv"]
    logged = [point.value for point in tracking.history(run.id, "valid/binary_logloss")]
    assert logged[: len(means)] == means
    assert [p.value for p in tracking.history(run.id, "valid/binary_logloss_std")][: len(means)] == spreads
    assert (run.params["nfold"], run.params["objective"], run.params["num_boost_round"]) == ("4", "binary", "60")
    assert run.params["best_iteration"] == str(len(means))
    assert len(means) < len(logged) < 60, "what early stopping waited for is there too"
    assert [entry.path for entry in files.below(run.folder)] == ["autolog/dataset.json"]


def test_a_cross_validation_of_xgboost_is_a_run_with_the_mean_and_spread_of_its_folds(tracking: Tracking) -> None:
    xgb = pytest.importorskip("xgboost")
    params = {"objective": "binary:logistic", "eval_metric": "logloss", "seed": 7, "nthread": 1}
    found = xgb.cv(params, xgb.DMatrix(INPUTS, label=LABEL), num_boost_round=8, nfold=4, as_pandas=False)
    (run,) = runs(tracking)
    for part in ("train", "test"):
        history = tracking.history(run.id, f"{part}/logloss")
        assert [point.value for point in history] == pytest.approx(found[f"{part}-logloss-mean"])
        assert [point.step for point in history] == list(range(8))
        spread = [point.value for point in tracking.history(run.id, f"{part}/logloss_std")]
        assert spread == pytest.approx(found[f"{part}-logloss-std"])
    assert (run.params["nfold"], run.params["best_iteration"], run.status) == ("4", "8", "finished")
    xgb.cv(params, xgb.DMatrix(INPUTS, label=LABEL), 3)
    assert runs(tracking)[1].params["nfold"] == "3"


def test_an_estimator_of_xgboost_logs_iterations_too(tracking: Tracking) -> None:
    xgb = pytest.importorskip("xgboost")

    xgb.XGBClassifier(n_estimators=6).fit(INPUTS, LABEL, eval_set=[(INPUTS, LABEL)], verbose=False)
    run = only(tracking)
    assert run.name == "XGBClassifier"
    assert len(tracking.history(run.id, "validation_0/logloss")) == 6
    assert "training_roc_auc" in run.metrics


@pytest.mark.filterwarnings("ignore")
def test_optimizers_schedulers_and_losses_of_pytorch_are_logged_inside_of_a_run(tracking: Tracking) -> None:
    torch = pytest.importorskip("torch")

    def train() -> list[float]:
        torch.manual_seed(7)
        net = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
        inputs, label = torch.tensor(INPUTS).float(), torch.tensor(LABEL).float()[:, None]
        losses = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(inputs), label)
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        return losses

    outside = train()
    assert runs(tracking) == []
    with ms.run("net", capture=False) as run:
        inside = train()
    assert inside == outside
    found = only(tracking)
    assert [point.value for point in tracking.history(run.id, "autolog/loss")] == pytest.approx(inside)
    rates = [(point.step, point.value) for point in tracking.history(run.id, "autolog/lr")]
    assert rates == [(0, 0.1), (2, pytest.approx(0.01)), (4, pytest.approx(0.001))]
    assert (found.params["optimizer"], found.params["optimizer.momentum"]) == ("SGD", "0.5")
    assert (found.params["scheduler"], found.params["scheduler.step_size"]) == ("StepLR", "2")


@pytest.mark.parametrize("estimator", ["forest", "lightgbm", "search"])
def test_a_model_is_the_same_to_the_bit_with_autologging_and_without(tracking: Tracking, estimator: str) -> None:
    import lightgbm as lgb
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import RandomizedSearchCV

    def trained() -> Any:
        np.random.seed(7)
        makers: dict[str, Callable[[], Any]] = {
            "forest": lambda: RandomForestClassifier(n_estimators=10),
            "lightgbm": lambda: lgb.LGBMClassifier(n_estimators=10, subsample=0.5, subsample_freq=1, verbose=-1),
            "search": lambda: RandomizedSearchCV(
                RandomForestClassifier(n_estimators=5), {"max_depth": [1, 2, 3]}, n_iter=2, cv=2
            ),
        }
        made = makers[estimator]().fit(INPUTS, LABEL)
        return made.predict_proba(INPUTS), np.random.random()

    with_it = trained()
    ms.autolog(False)
    without = trained()
    assert np.array_equal(with_it[0], without[0])
    assert with_it[1] == without[1]


def test_switched_off_nothing_is_logged_and_every_function_is_its_own_again(tracking: Tracking) -> None:
    import lightgbm as lgb
    from sklearn.base import BaseEstimator
    from sklearn.linear_model import LogisticRegression, Ridge

    patched = LogisticRegression.fit
    ms.autolog(False)
    assert LogisticRegression.fit is not patched
    assert LogisticRegression.fit is patched.__wrapped__
    assert lgb.train is lgb.engine.train
    assert "__init_subclass__" not in BaseEstimator.__dict__
    Ridge().fit(INPUTS, LABEL)
    assert runs(tracking) == []


def test_an_estimator_of_ones_own_is_watched_as_well(tracking: Tracking) -> None:
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Constant(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # has no types
        def __init__(self, answer: int = 1) -> None:
            self.answer = answer

        def fit(self, X: Any, y: Any) -> Constant:
            self.classes_ = np.unique(y)
            return self

        def predict(self, X: Any) -> Any:
            return np.full(len(X), self.answer)

    Constant(0).fit(INPUTS, LABEL)
    run = only(tracking)
    assert (run.name, run.params) == ("Constant", {"answer": "0"})
    assert run.metrics["training_score"].value == pytest.approx((LABEL == 0).mean())
    assert run.tags["mainspring.model"].startswith("not kept: ")


def test_whatever_fails_in_the_record_is_one_warning_and_the_training_goes_on(
    house: Session, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from sklearn.linear_model import LogisticRegression

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr("mainspring.sdk.autologging.sklearn.describe", broken)
    monkeypatch.setattr("mainspring.sdk.autologging.sklearn._scores", broken)
    with caplog.at_level(logging.WARNING, "mainspring.sdk"):
        for _ in range(3):
            assert LogisticRegression().fit(INPUTS, LABEL).score(INPUTS, LABEL) > 0.8
    failed = [entry.message for entry in caplog.records if "autolog.failed" in entry.message]
    assert [text.split("what=")[1].split(" kind")[0] for text in failed] == ["data", "training scores"]
    assert {run.status for run in runs(tracking)} == {"finished"}

    def away(*args: object, **kwargs: object) -> None:
        raise Unavailable("nobody answers")

    caplog.clear()
    monkeypatch.setattr(house, "run", away)
    with caplog.at_level(logging.WARNING, "mainspring.sdk"):
        for _ in range(2):
            LogisticRegression().fit(INPUTS, LABEL)
    assert len(caplog.records) == 1


def test_threads_fit_runs_of_their_own(tracking: Tracking) -> None:
    from sklearn.linear_model import LogisticRegression

    def fit(strength: float) -> None:
        LogisticRegression(C=strength).fit(INPUTS, LABEL)

    threads = [threading.Thread(target=fit, args=(strength,)) for strength in (0.1, 1.0, 10.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.params["C"] for run in runs(tracking)) == ["0.1", "1.0", "10.0"]
    assert {run.parent for run in runs(tracking)} == {""}


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.long)])  # each process of joblib imports anew
def test_libraries_that_are_imported_later_are_watched_and_none_is_imported_for_it(
    tracking: Tracking, tmp_path: Path, jobs: int
) -> None:
    code = """
    import sys
    import mainspring as ms
    ms.connect("data")
    ms.autolog()
    assert not {"sklearn", "lightgbm", "torch", "xgboost"} & set(sys.modules)
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    class Mine(LogisticRegression):
        def fit(self, X, y):
            return super().fit(X, y)

    rows = [[float(i), float(i % 3)] for i in range(30)]
    GridSearchCV(Mine(), {"C": [0.1, 1.0]}, cv=2, n_jobs=2).fit(rows, [i % 2 for i in range(30)])
    import lightgbm, numpy
    lightgbm.train({"verbose": -1}, lightgbm.Dataset(numpy.array(rows), numpy.arange(30.0)), 2)
    """
    code = code.replace("n_jobs=2", f"n_jobs={jobs}")
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=tmp_path)
    names = [run.name for run in runs(tracking)]
    assert names == ["GridSearchCV", "candidate 1", "candidate 0", "lightgbm.train"] or sorted(names) == sorted(
        ["GridSearchCV", "candidate 0", "candidate 1", "lightgbm.train"]
    )


def test_an_unknown_library_is_named_with_the_near_one() -> None:
    with pytest.raises(Invalid, match="lightgbm"):
        ms.autolog(libraries=["lightgmb"])
    with pytest.raises(Invalid, match="children"):
        ms.autolog(children=-1)
    for given in ({"on": "sklearn"}, {"libraries": "sklearn"}):
        with pytest.raises(Invalid, match=r"libraries=\['sklearn'\]"):
            ms.autolog(**given)  # type: ignore[arg-type]  # that is the mistake
