"""What hands on a cluster are given and refused, without a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mainspring.core.errors import Invalid, NoRoom, Refused, Unavailable
from mainspring.core.settings import PipelineSettings
from mainspring.engines import Message, Outcome, ProcessEngine, Task, Wants, Watch
from mainspring.engines.ray import check_address
from mainspring.pipelines import crew as crews
from mainspring.pipelines.crew import Crew, Order
from mainspring.pipelines.model import Resources
from mainspring.pipelines.nodes import for_nodes, leave_mark, working_folder
from mainspring.pipelines.rules import check_nodes
from mainspring.registry.signing import Signer

HAND = """
import os
def serve(payload, ask):
    order = ask({"pid": os.getpid()})
    while order.get("step"):
        order = ask({"pid": os.getpid(), "done": {"by": os.getpid(), "told": order["secrets"]}})
    return {}
"""


def payload(tmp_path: Path, **env: str) -> Message:
    root = tmp_path / "project"
    about: Message = {"root": str(root), "target": f"{root}/deep/flow.py:shop", "secrets": f"{root}/secrets"}
    return {**about, "folder": str(tmp_path / "run"), "house_env": env}


def test_a_hand_on_a_node_finds_the_pipeline_in_its_copy_of_the_project_and_no_file_of_secrets(tmp_path: Path) -> None:
    there = for_nodes(payload(tmp_path), tmp_path / "mark")
    assert (there["target"], there["root"], there["secrets"]) == ("deep/flow.py:shop", ".", "")
    assert for_nodes({**payload(tmp_path), "target": "shop.flow:all"}, tmp_path / "mark")["target"] == "shop.flow:all"
    with pytest.raises(Refused, match="outside of the project's folder"):
        for_nodes({**payload(tmp_path), "target": f"{tmp_path}/flow.py:shop"}, tmp_path / "mark")


def test_a_node_that_sees_no_storage_is_refused_by_name(tmp_path: Path) -> None:
    there = for_nodes(payload(tmp_path, MAINSPRING_STORAGE_DATA="/data"), leave_mark(tmp_path / "run"))
    with working_folder(there) as folder:
        assert not folder.is_relative_to(tmp_path)
    with (
        pytest.raises(Unavailable, match="does not see /data of the project"),
        working_folder({**there, "mark": str(tmp_path / "nowhere")}),
    ):
        pass


def test_a_node_with_tables_and_blobs_elsewhere_works_but_signs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAINSPRING_STORAGE_DATA", "/data")
    env = {"MAINSPRING_STORAGE_DB": "postgresql://u@h/d", "MAINSPRING_STORAGE_BLOBS": "s3://bucket/shop"}
    there = for_nodes(payload(tmp_path, **env), tmp_path / "nowhere")
    with working_folder(there) as folder, pytest.raises(Refused, match="no key of the project"):
        Signer(folder.parent / "data")


def test_a_step_that_no_node_has_room_for_is_refused_with_what_is_missing() -> None:
    nodes = [Resources(8.0, 2**34, 0), Resources(2.0, 2**30, 1)]
    check_nodes({"a": Resources(8.0), "b": Resources(2.0, 0, 1), "c": Resources()}, nodes)
    with pytest.raises(NoRoom, match="step b asks for"):
        check_nodes({"a": Resources(), "b": Resources(4.0, 0, 1)}, nodes)
    with pytest.raises(NoRoom, match="there are none"):
        check_nodes({"a": Resources(1.0)}, [])


def test_an_engine_names_a_cluster_or_is_refused() -> None:
    assert check_address("ray", "here") == ""
    assert check_address("ray://head:10001", "here") == "ray://head:10001"
    for wrong in ("rays", "ray://head", "ray://:10001", "ray://head:port"):
        with pytest.raises(Invalid, match="names no cluster"):
            check_address(wrong, "here")
    assert PipelineSettings(engine="ray://head:10001").engine
    for wrong in ("inline", "ray:head", "ray://head/x:1"):
        with pytest.raises(Invalid, match="there is no engine"):
            PipelineSettings(engine=wrong)


def test_a_hand_far_away_gives_its_place_back_when_idle_and_gets_another_for_other_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hand_far_away.py").write_text(HAND)
    monkeypatch.setattr(crews, "IDLE_S", 0.05)
    wanted: list[Wants] = []

    class Engine(ProcessEngine):
        def run(self, task: Task, watch: Watch) -> Outcome:
            wanted.append(task.wants)
            return super().run(task, watch)

    def task(number: int) -> Task:
        folder = tmp_path / str(number)
        return Task(entry="hand_far_away:serve", payload={}, folder=folder, env={"PYTHONPATH": str(tmp_path)})

    crew = Crew(Engine(beat_s=0.02), task, 1, is_far=True)
    try:
        first = taken(crew, Order(call={"step": "a"}, secrets={"TOKEN": "hunter2222"}))
        assert first["told"] == {"TOKEN": "hunter2222"}
        until(lambda: not Path(f"/proc/{first['by']}").exists())
        assert taken(crew, Order(call={"step": "b"}, wants=Wants(2.0)))["by"] != first["by"]
        assert wanted == [Wants(), Wants(2.0)]
    finally:
        crew.close()


def taken(crew: Crew, order: Order) -> Message:
    crew.give(order)
    found = crew.take(60)
    assert found is not None
    assert "by" in found[1], found
    return found[1]


def until(ask: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not ask():
        assert time.monotonic() < end
        time.sleep(0.01)
