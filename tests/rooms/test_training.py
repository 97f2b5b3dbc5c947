"""Leaderboards: from raw columns to a model that serves, and what becomes of those that are stopped on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient
from tests.rooms.test_skew import answering, ask

from mainspring.core.clock import SystemClock
from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.data.splits import Splits, SplitSpec
from mainspring.gates import Gates, parse_gate
from mainspring.pipelines.worker import Worker
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving.service import Serving
from mainspring.storage.ports import Journal, Queue, Tables
from mainspring.tracking import Search, Tracking
from mainspring.training import Candidate, CandidateState, Leaderboard, LeaderboardState, Training, TrainRequest
from mainspring.training.commands import group, train
from mainspring.training.families import family, names
from mainspring.training.sources import ingested

QUICK = TrainRequest(data="trips", target="late", families=("baseline", "linear", "tree"), configurations=1, folds=2)


SMALL = {
    "forest": {"trees": 9, "min_samples_leaf": 2, "extra": False},
    "histogram": {"max_iter": 30, "max_leaf_nodes": 7},
    "lightgbm": {"n_estimators": 30, "num_leaves": 4},
    "xgboost": {"n_estimators": 20, "max_depth": 2},
}


def trips(rows: int = 240, seed: int = 0) -> pl.DataFrame:
    """Numbers with gaps, categories, times and free text; what is late follows from the first two."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=rows)
    city = generator.choice(["ulm", "bonn", "kiel"], rows)
    late = generator.uniform(size=rows) < 1 / (1 + np.exp(-3 * x - 3 * (city == "ulm")))
    start = datetime(2024, 1, 1)
    return pl.DataFrame(
        {
            "x": [None if value > 1.8 else value for value in x],
            "city": [None if number % 40 == 0 else name for number, name in enumerate(city)],
            "at": [start + timedelta(hours=int(hour)) for hour in generator.integers(0, 5000, rows)],
            "says": [f"{'word ' * int(n)}{i}" for i, n in enumerate(generator.integers(1, 9, rows))],
            "far": generator.integers(0, 2, rows).astype(bool),
            "customer": [number // 2 for number in range(rows)],
            "late": late.astype(np.int64),
        }
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    made.get(Data).ingest("trips", trips())
    yield made
    made.close()


@pytest.fixture(scope="module")
def training(house: Wiring) -> Training:
    """The room with its work done in this process."""
    return Training(
        tables=house.get(Tables),  # type: ignore[type-abstract]  # the wiring knows ports by name
        journal=house.get(Journal),  # type: ignore[type-abstract]
        queue=house.get(Queue),  # type: ignore[type-abstract]
        data=house.get(Data),
        splits=house.get(Splits),
        clock=SystemClock(),
        scratch=house.get(Serving).folder.parent / "scratch",
        tracking=house.get(Tracking),
        wiring=house,
        engine="inline",
    )


def made(training: Training, request: TrainRequest) -> Leaderboard:
    return training.work(training.start(request, here=True).id)


@pytest.fixture(scope="module")
def board(training: Training) -> Leaderboard:
    return made(training, replace(QUICK, register="late", fair="city", open_test=True))


def test_the_leaderboard_is_in_order_with_intervals_costs_and_gaps(board: Leaderboard) -> None:
    assert board.state is LeaderboardState.FINISHED, board.error
    assert [each.name for each in board.candidates] == ["linear", "tree", "baseline"]
    for place, each in enumerate(board.candidates):
        assert each.score is not None and each.behind is not None
        assert each.score.low is not None and each.score.low <= each.score.value
        assert (each.behind.value == 0) == (place == 0)
        assert each.latency_ms and each.size_bytes and each.cpu_s is not None and each.gap is not None
    assert board.best is not None and board.best.metrics["accuracy"] > 0.7


def test_columns_are_read_by_what_they_hold(board: Leaderboard) -> None:
    expected = {"x": "number", "city": "category", "at": "date", "says": "text", "far": "number", "customer": "number"}
    assert dict(board.columns) == expected


def test_the_winner_is_gated_and_served_as_it_is(house: Wiring, board: Leaderboard) -> None:
    version = house.get(Registry).get("late", board.version)
    assert version.metrics["test_roc_auc"] == board.test["roc_auc"]
    gate = parse_gate("promote", {"checks": [{"metric": "roc_auc", "floor": 0.5}, {"leakage": True}]})
    frame = house.get(Data).frame("late-evaluation").collect()
    ref = "datasets/late-evaluation/1"
    verdict = house.get(Gates).evaluate(gate, candidate=version, champion=None, frame=frame, label="late", data_ref=ref)
    assert verdict.outcome == "pass", verdict.reason
    house.get(Serving).deploy("late", "late", version.number)
    rows = frame.select(version.columns).head(6).to_dicts()
    with answering(house) as app:
        status, answer = ask(app, "late", *rows, dict.fromkeys(version.columns))
    assert status == 200, answer
    said = house.get(Registry).load("late").predict(frame.head(6))
    served = [each["probability"] for each in answer["predictions"]]  # type: ignore[attr-defined]
    assert served[:6] == pytest.approx(said["probability"].tolist())


def test_every_opening_of_the_sealed_rows_is_counted(house: Wiring, board: Leaderboard) -> None:
    split = house.get(Splits).resolve(board.split)
    purposes = [use.purpose for use in house.get(Splits).uses(split).uses]
    assert len(purposes) == split.uses == 2
    assert board.test_use == 1
    assert f"the best of {board.ref} is measured" in purposes


def test_every_candidate_is_a_tracked_run_of_one_parent(house: Wiring, board: Leaderboard) -> None:
    children = house.get(Search).runs(None, f"parent = '{board.id}'", limit=10).items
    assert {run.name for run in children} == {"linear", "tree", "baseline"}
    assert {run.status for run in children} == {"finished"}
    assert house.get(Tracking).get(board.id).status == "finished"


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_all_families_learn_every_task_and_could_be_packaged(
    training: Training, house: Wiring, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, params in SMALL.items():
        monkeypatch.setattr(family(name), "configurations", lambda task, params=params: [params])
    generator = np.random.default_rng(1)
    x = generator.normal(size=(90, 2))
    said = {"multiclass": np.digitize(x[:, 0], [-0.5, 0.5]), "regression": x[:, 0] * 3}
    frame = pl.DataFrame({"a": x[:, 0] + generator.normal(size=90) / 9, "b": x[:, 1], "y": said[task]})
    ref = ingested(house.get(Data), frame, f"all-{task}")
    request = replace(QUICK, data=ref, target="y", families=(), metric="r2" if task == "regression" else "accuracy")
    found = made(training, request)
    assert found.task == task
    measured = [each for each in found.candidates if each.state is CandidateState.MEASURED]
    assert {each.family for each in measured} == set(names()), [each.note for each in found.candidates]
    assert found.best is not None and found.best.score is not None and found.best.score.value > 0.7


def test_what_was_measured_stays_when_the_work_is_cut_off_and_is_not_done_again(training: Training) -> None:
    seen: list[str] = []

    def told(candidate: Candidate) -> None:
        seen.append(candidate.name)
        if len(seen) == 2:
            raise KeyboardInterrupt

    started = training.start(QUICK, here=True)
    with pytest.raises(KeyboardInterrupt):
        training.work(started.id, told)
    stopped = training.get(started.id)
    assert stopped.state is LeaderboardState.CANCELLED
    assert [each.state for each in sorted(stopped.candidates, key=lambda each: each.position)][:2] == ["measured"] * 2
    done = training.work(training.resume(started.id, here=True).id, told)
    assert done.state is LeaderboardState.FINISHED
    assert seen == ["baseline", "linear", "tree"]
    with pytest.raises(Invalid, match="nothing is left of the budget"):
        training.resume(made(training, replace(QUICK, budget_s=0.6)).id, budget_s=-0.6)


def test_a_budget_that_is_used_up_leaves_the_best_so_far(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    from mainspring.training import racing

    kept = racing.Race._measure

    def slow(self: racing.Race, candidate: Candidate) -> None:
        kept(self, candidate)
        self._until = 0.0  # as if it had taken all the time there was

    monkeypatch.setattr(racing.Race, "_measure", slow)
    found = made(training, QUICK)
    assert found.state is LeaderboardState.FINISHED
    assert [each.state for each in found.candidates] == ["measured", "skipped", "skipped"]
    assert "used up" in found.candidates[1].note


def test_many_rows_get_a_round_on_few_and_the_worse_half_goes(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.training.racing.FEW_ROWS", 100)
    found = made(training, replace(QUICK, families=("linear", "tree"), configurations=3))
    stopped = [each for each in found.candidates if each.state is CandidateState.STOPPED]
    assert 1 <= len(stopped) <= 2 and all("behind on" in each.note for each in stopped)
    assert {each.family for each in found.candidates if each.state is CandidateState.MEASURED} == {"linear", "tree"}
    assert all(each.early is not None for each in found.candidates)


def test_a_split_by_a_column_that_is_not_there_names_those_that_are(training: Training, house: Wiring) -> None:
    ref = house.get(Data).ingest("two", pl.DataFrame({"x": [1.0] * 40, "customer": [*range(40)]})).ref
    with pytest.raises(Invalid, match="no column 'nope'") as told:
        house.get(Splits).make(ref, SplitSpec("group", 2, 0.2, "nope"))
    assert told.value.hint == "columns are x, customer"


def test_splits_by_group_and_time_are_kept_and_made_once(training: Training, house: Wiring) -> None:
    request = replace(QUICK, families=("baseline", "linear"))
    by_group = made(training, replace(request, group="customer"))
    by_time = made(training, replace(request, how="time"))
    assert "customer" in by_group.left_out
    splits = house.get(Splits)
    assert splits.resolve(by_group.split).spec == SplitSpec("group", 2, 0.2, "customer")
    assert splits.resolve(by_time.split).spec.column == "at"
    again = training.start(replace(request, group="customer"), here=True)
    assert again.split == by_group.split
    assert training.cancel(again.id) and not training.cancel(again.id)
    named = made(training, replace(request, split=by_time.split))
    assert [each.score for each in named.candidates] == [each.score for each in by_time.candidates]


def test_a_column_that_says_the_target_is_left_out_and_told(training: Training, house: Wiring) -> None:
    frame = trips(120).with_columns(pl.when(pl.col("late") == 1).then(pl.lit("l")).otherwise(pl.lit("o")).alias("code"))
    ref = ingested(house.get(Data), pl.concat([frame, frame.head(60)]), "leaky")
    found = training.start(replace(QUICK, data=ref), here=True)
    assert "outright" in found.left_out["code"]
    assert len(found.warnings) == 2 and "sealed rows are also rows to train on" in found.warnings[1]
    training.cancel(found.id)


REFUSED: Sequence[tuple[dict[str, object], type[Exception], str]] = [
    ({"target": "lat"}, Invalid, "no column 'lat'"),
    ({"target": "empty"}, Invalid, "none of 240 rows has a empty"),
    ({"target": "one"}, Invalid, "nothing to learn"),
    ({"data": "tiny"}, Invalid, "3 rows with a late are too few"),
    ({"how": "time", "time": "when"}, Invalid, "no column 'when'"),
    ({"how": "group", "group": "one"}, Invalid, "has 1 group"),
    ({"families": ("lineer",)}, Invalid, "no family 'lineer'"),
    ({"metric": "rmse"}, Invalid, "no metric of a binary task"),
    ({"task": "regression", "target": "city"}, Invalid, "not a number"),
    ({"data": "nowhere"}, NotFound, "no dataset 'nowhere'"),
    ({"leave_out": ("q",)}, Invalid, "no column 'q'"),
    ({"register": "m", "test": 0.0}, Invalid, "rows to judge it by"),
    ({"folds": 60}, Invalid, "only|60 folds"),
]


@pytest.mark.parametrize(("wish", "kind", "says"), REFUSED)
def test_what_cannot_work_is_refused_before_anything_runs(
    training: Training, house: Wiring, wish: dict[str, object], kind: type[Exception], says: str
) -> None:
    frame = trips().with_columns(pl.lit("a").alias("one"), pl.lit(None, pl.Int64).alias("empty"))
    odd = ingested(house.get(Data), frame, "odd")
    ingested(house.get(Data), frame.head(3).drop("empty"), "tiny")
    before = len(training.leaderboards(limit=1000))
    with pytest.raises(kind, match=says):
        training.start(replace(QUICK, data=odd, **wish) if "data" not in wish else replace(QUICK, **wish))  # type: ignore[arg-type]
    assert len(training.leaderboards(limit=1000)) == before


def test_the_worker_takes_what_was_queued_and_settling_ends_what_nobody_will_do(
    training: Training, house: Wiring
) -> None:
    queued = training.start(replace(QUICK, families=("baseline",)))
    tables, queue = house.get(Tables), house.get(Queue)  # type: ignore[type-abstract]
    worker = Worker(tables, queue, {"training.leaderboard": training.work_once}, queues=("training",))
    assert worker.run_one()
    assert training.get(queued.id).state is LeaderboardState.FINISHED
    lost = training.start(QUICK, here=True)
    lease = queue.lease("gone", [f"inline-{lost.id}"], lease_s=0.0)
    assert lease is not None
    assert training.settle() == 1
    assert training.get(lost.id).state is LeaderboardState.FAILED
    with pytest.raises(Conflict):
        training.resume(training.resume(lost.id, here=True).id)
    training.cancel(lost.id)


def test_the_pages_show_leaderboards_and_sort_one(house: Wiring, board: Leaderboard) -> None:
    app: Litestar = create_app(house, port=80, rooms=["training"])
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert f"/leaderboards/{board.id}" in client.get("/leaderboards").text
        page = client.get(f"/leaderboards/{board.id}").text
        assert "against ms a row" in page and "Registered as" in page
        turned = client.get(f"/leaderboards/{board.id}?sort=score&down=1").text
        assert turned.index(">baseline</td>") < turned.index(">linear</td>")
        assert client.get(f"/leaderboards/{board.id}?sort=nonsense").status_code == 200
        shown = client.get(f"/api/v1/leaderboards/{board.id}").json()
        assert [each["name"] for each in shown["candidates"]] == ["linear", "tree", "baseline"]
        body = {"data": "trips", "target": "late", "budget_s": 0}
        refused = client.post("/api/v1/leaderboards", json=body)
        assert refused.status_code == 400, refused.text
        queued = client.post("/api/v1/leaderboards", json={**body, "budget_s": 5, "families": ["baseline"]}).json()
        stopped = client.post(f"/api/v1/leaderboards/{queued['id']}/cancel", json={"reason": "enough"}).json()
        assert (stopped["state"], stopped["error"]) == ("cancelled", "enough")


def test_the_commands_train_show_and_list(
    house: Wiring, training: Training, board: Leaderboard, tmp_path: object
) -> None:
    wiring = Wiring()
    wiring.add(Training, lambda _: training)
    wiring.add(Data, lambda _: house.get(Data))

    def call(command: object, *arguments: str) -> str:
        done = CliRunner().invoke(command, list(arguments), obj=lambda: wiring, catch_exceptions=False)  # type: ignore[arg-type]
        assert done.exit_code == 0, done.output
        return done.stdout

    path = f"{tmp_path}/my trips.csv"
    trips(100).write_csv(path)
    arguments = ("--data", path, "--target", "late", "--family", "baseline", "--folds", "2", "--json")
    said = json.loads(call(train, *arguments))
    assert (said["dataset"], said["state"]) == ("datasets/my-trips/1", "finished")
    assert json.loads(call(train, *arguments))["dataset"] == "datasets/my-trips/1"
    shown = call(group, "show", board.id)
    assert "linear" in shown and "behind the best" in shown and "opened for the 1st time" in shown
    assert board.id in call(group, "ls", "--data", "trips")
