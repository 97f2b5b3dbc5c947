"""The fluent client: active and nested runs, asynchronous logging, system metrics, threads."""

from __future__ import annotations

import threading

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag


@pytest.fixture(autouse=True)
def _in_a_fresh_experiment(experiment: str) -> None:
    mlflow.set_experiment(experiment_id=experiment)


def test_a_run_is_finished_when_its_block_ends(experiment: str) -> None:
    with mlflow.start_run() as run:
        assert mlflow.active_run().info.run_id == run.info.run_id
    found = mlflow.get_run(run.info.run_id).info
    assert (found.status, found.experiment_id) == ("FINISHED", experiment)
    assert found.end_time >= found.start_time


def test_a_run_fails_when_its_block_does() -> None:
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        mlflow.log_metric("m", 1 / 0)
    assert mlflow.get_run(run.info.run_id).info.status == "FAILED"


def test_a_run_goes_on_with_its_id() -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("a", 1)
    with mlflow.start_run(run_id=run.info.run_id):
        assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"
        mlflow.log_param("b", 2)
    found = mlflow.get_run(run.info.run_id)
    assert (found.info.status, found.data.params) == ("FINISHED", {"a": "1", "b": "2"})


def test_a_run_has_name_tags_and_description() -> None:
    with mlflow.start_run(run_name="named", tags={"a": "1"}, description="why") as run:
        pass
    found = mlflow.get_run(run.info.run_id)
    assert found.info.run_name == "named"
    assert (found.data.tags["a"], found.data.tags["mlflow.note.content"]) == ("1", "why")


def test_a_run_knows_its_user_and_source() -> None:
    with mlflow.start_run() as run:
        pass
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert tags["mlflow.user"]
    assert tags["mlflow.source.name"]
    assert tags["mlflow.source.type"] == "LOCAL"


def test_nested_runs_know_their_parent(experiment: str) -> None:
    with mlflow.start_run() as parent:
        for number in range(3):
            with mlflow.start_run(nested=True, run_name=f"child {number}"):
                mlflow.log_metric("m", number)
                with mlflow.start_run(nested=True):
                    pass
    children = mlflow.search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{parent.info.run_id}'", output_format="list"
    )
    assert sorted(run.info.run_name for run in children) == ["child 0", "child 1", "child 2"]
    assert mlflow.get_parent_run(children[0].info.run_id).info.run_id == parent.info.run_id


def test_a_run_is_nested_by_the_id_of_its_parent() -> None:
    with mlflow.start_run() as parent:
        pass
    with mlflow.start_run(parent_run_id=parent.info.run_id) as child:
        pass
    assert mlflow.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id


def test_a_run_is_deleted() -> None:
    with mlflow.start_run() as run:
        pass
    mlflow.delete_run(run.info.run_id)
    assert mlflow.get_run(run.info.run_id).info.lifecycle_stage == "deleted"


def test_a_deleted_run_does_not_go_on() -> None:
    with mlflow.start_run() as run:
        pass
    mlflow.delete_run(run.info.run_id)
    with pytest.raises(mlflow.exceptions.MlflowException, match="deleted"):
        mlflow.start_run(run_id=run.info.run_id)


def test_the_last_active_run_is_remembered() -> None:
    with mlflow.start_run() as run:
        pass
    assert mlflow.last_active_run().info.run_id == run.info.run_id


def test_metrics_logged_asynchronously_all_arrive() -> None:
    with mlflow.start_run() as run:
        waiting = [mlflow.log_metric("m", i, step=i, synchronous=False) for i in range(200)]
        waiting += [mlflow.log_param(f"p{i}", i, synchronous=False) for i in range(20)]
        waiting.append(mlflow.set_tag("t", "x", synchronous=False))
        for one in waiting:
            one.wait()
    found = mlflow.get_run(run.info.run_id).data
    assert (found.metrics["m"], len(found.params), found.tags["t"]) == (199.0, 20, "x")
    assert len(MlflowClient().get_metric_history(run.info.run_id, "m")) == 200


def test_asynchronous_logging_can_be_flushed() -> None:
    with mlflow.start_run() as run:
        mlflow.log_metrics({f"m{i}": i for i in range(50)}, synchronous=False)
        mlflow.flush_async_logging()
        assert len(mlflow.get_run(run.info.run_id).data.metrics) == 50


def test_an_asynchronous_batch_tells_when_it_is_there(client: MlflowClient, run: str) -> None:
    done = client.log_batch(run, [Metric("m", 1, 1, 0)], [Param("p", "1")], [RunTag("t", "1")], synchronous=False)
    done.wait()
    found = client.get_run(run).data
    assert (found.metrics, found.params, found.tags["t"]) == ({"m": 1.0}, {"p": "1"}, "1")


def test_threads_log_into_one_run_at_once() -> None:
    client = MlflowClient()
    with mlflow.start_run() as run:
        threads = [
            threading.Thread(
                target=lambda n: [client.log_metric(run.info.run_id, f"m{n}", i, step=i) for i in range(20)], args=(n,)
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = mlflow.get_run(run.info.run_id).data.metrics
    assert found == {f"m{n}": 19.0 for n in range(8)}
    assert all(len(client.get_metric_history(run.info.run_id, f"m{n}")) == 20 for n in range(8))


def test_threads_that_set_one_tag_and_name_do_not_fail(client: MlflowClient, run: str) -> None:
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            for _ in range(10):
                client.set_tag(run, "t", str(number))
                client.update_run(run, name=f"name {number}")
        except Exception as reason:  # noqa: BLE001  collected for the assertion below
            failed.append(reason)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    found = client.get_run(run)
    assert found.data.tags["t"] in "0123"
    assert found.info.run_name == found.data.tags["mlflow.runName"]


def test_system_metrics_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    with mlflow.start_run(log_system_metrics=True) as run:
        done = threading.Event()
        for _ in range(100):
            if "system/cpu_utilization_percentage" in mlflow.get_run(run.info.run_id).data.metrics:
                break
            done.wait(0.05)
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(metrics)
