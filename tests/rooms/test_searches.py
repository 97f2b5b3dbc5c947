"""Searches: trials that are runs, in our own tables, cut off and gone on with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient

from mainspring import context, pipeline, search, step
from mainspring.core.clock import SystemClock
from mainspring.core.errors import Conflict, Invalid, MainspringError, NotFound
from mainspring.core.settings import Settings, load
from mainspring.core.wiring import Wiring
from mainspring.pipelines import Pipelines
from mainspring.pipelines.search import SearchState, Study, Trial, TrialState
from mainspring.pipelines.search.commands import group
from mainspring.pipelines.search.service import Searches
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.storage.ports import Blobs, Journal, Queue, Tables
from mainspring.tracking import Tracking

pytest.importorskip("optuna")
calls: list[str] = []
BOWL: dict[str, object] = {
    "space": {"x": {"low": -4.0, "high": 4.0}, "n": {"low": 1, "high": 3}, "kind": ["a", "b"]},
    "objective": {"loss": "minimize"},
}


@step
def rows(size: int) -> list[int]:
    calls.append("rows")
    return list(range(size))


@step(cache=False)
def fit(data: list[int], x: float, n: int, kind: str, fail_above: float) -> dict[str, float]:
    calls.append("fit")
    if x > fail_above:
        raise ValueError("too far out")
    loss = (x - 1) ** 2 + n + (kind == "b")
    context().log(at_step=0, logged=loss)
    return {"loss": loss, "size": float(len(data) * n)}


@step(side_effect=True)
def publish(metrics: dict[str, float], wanted: bool) -> str:
    calls.append(f"publish {wanted}")
    return context().key if wanted else ""


@search(**BOWL)
@pipeline
def bowl(
    x: float = 0.0, n: int = 1, kind: str = "a", size: int = 3, fail_above: float = 9.0, wanted: bool = False
) -> dict[str, object]:
    metrics = fit(rows(size), x, n, kind, fail_above)
    return {"metrics": metrics, "key": publish(metrics, wanted)}


@pipeline
def plain(x: float) -> float:
    return fit(rows(3), x, 1, "a", 9.0)["loss"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    folder = tmp_path_factory.mktemp("house")
    section = '[search.curves]\npipeline = "curves.py:curve"\nparallel = 2\ntrials = 4\n'
    (folder / "mainspring.toml").write_text(
        f'{section}objective = {{ score = "maximize" }}\n[search.curves.space]\nrate = {{ low = 1, high = 3 }}\n'
    )
    (folder / "curves.py").write_text(CURVES)
    made = open_house(load(folder, environ={}))
    yield made
    made.close()


CURVES = """
import time

from mainspring import context, pipeline, step
from mainspring.pipelines import Pipelines


@step
def climb(rate: int) -> float:
    here = context()
    for at in range(6):
        here.log(at_step=at, score=float(rate * at))
        while rate == 1 and at == 4 and here.room(Pipelines).get(here.run_id).state == "running":
            time.sleep(0.05)  # until it is stopped, being behind
    return float(rate)


@pipeline
def curve(rate: int = 1) -> dict[str, float]:
    return {"score": climb(rate)}
"""


@pytest.fixture(scope="module")
def searches(house: Wiring) -> Searches:
    return house.get(Searches)


def made(searches: Searches, **changes: object) -> Study:
    study = searches.start(bowl, {"trials": 4, **changes})
    return searches.run(study.id, pipeline=bowl)


def test_trials_are_runs_and_what_no_parameter_touches_is_done_once(searches: Searches, house: Wiring) -> None:
    calls.clear()
    study = made(searches, trials=6, params={"size": 4})
    assert study.state is SearchState.FINISHED
    assert calls.count("rows") == 1 and calls.count("fit") == 6
    (best,) = searches.best(study)
    assert best.values["loss"] == min(trial.values["loss"] for trial in study.trials)
    run = house.get(Pipelines).get(best.run)
    assert run.params["x"] == best.params["x"] and run.params["size"] == 4


def test_the_best_runs_once_more_with_what_is_for_it_alone(searches: Searches, house: Wiring) -> None:
    study = made(searches, winner={"wanted": True})
    (best,) = searches.best(study)
    result = house.get(Pipelines).get(study.winner).result
    assert isinstance(result, dict) and result["metrics"]["loss"] == pytest.approx(best.values["loss"])
    assert result["key"]


@pytest.mark.parametrize("sampler", ["random", "cmaes"])
def test_every_sampler_stays_in_the_space(searches: Searches, sampler: str) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    space = {"x": {"low": 0.5, "high": 2.0, "log": True}, "n": {"low": 1, "high": 9, "step": 4}}
    study = made(searches, sampler=sampler, space=space)
    for trial in study.trials:
        x, n = trial.params["x"], trial.params["n"]
        assert isinstance(x, float) and 0.5 <= x <= 2 and n in (1, 5, 9)


def test_several_objectives_give_the_trials_that_none_is_better_than(searches: Searches) -> None:
    study = made(searches, objective={"loss": "minimize", "size": "maximize"})
    assert study.search.method == "nsga2"
    front = [trial.values for trial in searches.best(study)]
    assert front
    for one in front:
        assert not any(o["loss"] < one["loss"] and o["size"] > one["size"] for o in front)


def test_a_metric_that_is_only_logged_counts_too(searches: Searches) -> None:
    study = made(searches, objective={"logged": "minimize"}, trials=2)
    assert all(math.isfinite(trial.values["logged"]) for trial in study.trials)


def test_a_trial_that_fails_is_tried_again_and_hopeless_searches_end(searches: Searches) -> None:
    calls.clear()
    study = made(searches, space={"x": {"low": 5.0, "high": 6.0}}, params={"fail_above": 4.0}, trials=50)
    assert study.state is SearchState.FAILED and "too far out" in study.error
    assert [trial.state for trial in study.trials] == [TrialState.FAILED] * 5
    assert {trial.tries for trial in study.trials} == {2}
    assert calls.count("fit") == 10


def test_a_search_that_is_cut_off_goes_on_where_it_was(searches: Searches) -> None:
    ended: list[int] = []

    def told(trial: Trial) -> None:
        ended.append(trial.number)
        if len(ended) == 3:
            raise KeyboardInterrupt

    study = searches.start(bowl, {"trials": 5, "objective": {"loss": "minimize"}})
    with pytest.raises(KeyboardInterrupt):
        searches.run(study.id, pipeline=bowl, told=told)
    assert searches.get(study.id).state is SearchState.CANCELLED
    resumed = searches.resume(study.id)
    done = searches.run(resumed.id, pipeline=bowl, told=told)
    assert done.state is SearchState.FINISHED
    assert ended == [0, 1, 2, 3, 4]
    assert len({json.dumps(trial.params) for trial in done.trials}) == 5  # nothing is drawn twice
    with pytest.raises(Invalid, match="all 5 trials are done"):
        searches.resume(study.id)
    assert len(searches.run(searches.resume(study.id, trials=1).id, pipeline=bowl).trials) == 6


def test_one_process_drives_a_search(searches: Searches, house: Wiring) -> None:
    study = searches.start(bowl, {"trials": 2})

    def told(trial: Trial) -> None:
        with pytest.raises(Conflict, match="another process drives"):
            searches.run(study.id, pipeline=bowl)

    assert searches.run(study.id, pipeline=bowl, told=told).state is SearchState.FINISHED


REFUSED: Sequence[tuple[dict[str, object], str]] = [
    ({"space": {"y": [1]}}, "no parameter 'y'"),
    ({"space": {"x": {"low": 2, "high": 1}}}, "not below high"),
    ({"space": {"x": {"low": 0, "high": 1, "log": True}}}, "a logarithm of 0"),
    ({"space": {"x": {"low": 0, "high": 1, "step": 2}}}, "a step of 2"),
    ({"space": {"x": {"low": 0, "hi": 1}}}, "unknown setting 'hi'"),
    ({"space": {"x": {"low": 0}}}, "a range has numbers"),
    ({"space": {"x": []}}, "a list has one or more"),
    ({"space": {"x": 3}}, "no range and no list"),
    ({"space": {}}, "nothing to search"),
    ({"space": {"n": [1.5]}}, "n"),
    ({"space": {"kind": [1, 2]}}, "kind"),
    ({"objective": {}}, "no objective"),
    ({"objective": "loss"}, "no direction"),
    ({"objective": {"loss": "min"}}, "is to be 'min'"),
    ({"sampler": "tpee"}, "no sampler 'tpee'"),
    ({"sampler": "cmaes"}, "ranges, not lists"),
    ({"trials": 0}, "0 trials"),
    ({"trials": "many"}, "is no int"),
    ({"params": {"x": 1.0}}, "searched and fixed"),
    ({"params": {"z": 1.0}}, "no parameter 'z'"),
    ({"winner": {"z": 1.0}}, "no parameter 'z'"),
    ({"prune": "median", "objective": {"a": "minimize", "b": "minimize"}}, "not pruned"),
    ({"trails": 3}, "unknown setting 'trails'"),
]


@pytest.mark.parametrize(("changes", "says"), REFUSED)
def test_what_cannot_be_searched_is_refused_before_the_first_trial(
    searches: Searches, changes: dict[str, object], says: str
) -> None:
    before = len(searches.studies(limit=1000))
    with pytest.raises(MainspringError, match=says):
        searches.start(bowl, changes)
    assert len(searches.studies(limit=1000)) == before


def test_a_pipeline_without_a_declaration_says_what_to_write(searches: Searches) -> None:
    with pytest.raises(Invalid, match="nothing is declared"):
        searches.start(plain)
    with pytest.raises(NotFound, match="no search 'curvs'"):
        searches.start("curvs")


def test_trials_of_workers_run_beside_each_other_and_stop_when_they_are_behind(
    searches: Searches, house: Wiring
) -> None:
    changes = {"prune": "median", "sampler": "random", "space": {"rate": [1, 2, 3]}, "seed": 13}
    with pytest.raises(Invalid, match="cannot be stopped"):
        searches.run(searches.start("curves", changes).id)
    tables, queue = house.get(Tables), house.get(Queue)  # type: ignore[type-abstract]
    journal, clock = house.get(Journal), SystemClock()  # type: ignore[type-abstract]
    folder = house.get(Settings).root
    pipelines = Pipelines(
        tables=tables,
        journal=journal,
        queue=queue,
        blobs=house.get(Blobs),  # type: ignore[type-abstract]
        scratch=folder / "scratch",
        tracking=house.get(Tracking),
        wiring=house,
        root=folder,
        engine="inline",
    )
    beside = Searches(
        tables=tables,
        journal=journal,
        queue=queue,
        pipelines=pipelines,
        clock=clock,
        scratch=folder / "scratch",
        tracking=house.get(Tracking),
        sections=lambda: house.get(Settings).section("search"),
        root=folder,
    )
    study = beside.run(beside.start("curves", changes).id, workers=2)
    assert study.state is SearchState.FINISHED, study.error
    states = {trial.params["rate"]: trial.state for trial in study.trials}
    assert states == {3: TrialState.FINISHED, 2: TrialState.FINISHED, 1: TrialState.PRUNED}
    assert "behind the others" in study.trials[3].note


def test_the_pages_and_the_api_show_searches(searches: Searches, house: Wiring) -> None:
    study = made(searches, objective={"loss": "minimize", "size": "maximize"})
    app: Litestar = create_app(house, port=80, rooms=["pipelines"])
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert f"/searches/{study.id}" in client.get("/searches").text
        page = client.get(f"/searches/{study.id}").text
        assert "loss by trial" in page and "trials by their objectives" in page and "one line a trial" in page
        shown = client.get(f"/api/v1/searches/{study.id}").json()
        assert len(shown["trials"]) == 4
        stopped = client.post(f"/api/v1/searches/{study.id}/cancel", json={"reason": "late"}).json()
        assert stopped["state"] == "finished"
        assert client.get("/api/v1/searches/none").status_code == 404
        going = searches.start(bowl, {"trials": 2}).id
        assert "Stop it" in client.get(f"/searches/{going}").text
        assert client.post(f"/searches/{going}", data={"do": "dance"}).status_code == 400
        sent = client.post(f"/searches/{going}", data={"do": "cancel", "reason": "late"}, follow_redirects=False)
        assert (sent.status_code, searches.get(going).state, searches.get(going).error) == (303, "cancelled", "late")


def test_the_commands_run_show_list_and_resume(house: Wiring, tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(
        "from mainspring import pipeline, step\n\n@step\ndef up(n: int) -> int:\n    return n\n\n"
        "@pipeline\ndef small(n: int, m: int = 1) -> int:\n    return up(n)\n"
    )
    target = f"{tmp_path}/small.py:small"

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(group, list(arguments), obj=lambda: house, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    with pytest.raises(Invalid, match="nothing to search"):
        call("run", target, "--maximize", "n", "--inline")
    (tmp_path / "small.py").write_text(
        (tmp_path / "small.py")
        .read_text()
        .replace("@pipeline\n", "@search(space={'n': [1, 2, 5]}, objective={})\n@pipeline\n")
    )
    made_in = load(tmp_path, environ={})
    assert made_in.root == tmp_path
