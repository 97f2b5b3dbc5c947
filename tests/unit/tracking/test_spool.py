"""Spool files: in order, small, and whole after a death at any byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.caller import caller
from mainspring.core.errors import NotFound, Unavailable
from mainspring.tracking.model import Metric
from mainspring.tracking.spool import Spool, recover
from mainspring.tracking.wire import Batch, encode

RUN = "a" * 32


def line(step: int) -> bytes:
    return encode([Metric("loss", 1.0, step)])


def opened(folder: Path, run: str = RUN) -> Spool:
    return Spool(folder, run, target="here", project="p")


class Taken:
    """Remembers what recovery sent."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.ended: list[tuple[str, str, str]] = []

    def take(self, run_id: str, batch: Batch) -> None:
        self.steps += [point.step for point in batch.metrics]

    def end(self, run_id: str, status: str) -> None:
        self.ended.append((run_id, status, caller().project))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["append", "take"]), max_size=40))
def test_batches_are_taken_in_the_order_they_came(tmp_path_factory: pytest.TempPathFactory, moves: list[str]) -> None:
    spool = opened(tmp_path_factory.mktemp("spool"))
    empty = spool.path.stat().st_size
    waiting: list[bytes] = []
    for number, move in enumerate(moves):
        if move == "append":
            spool.append(line(number))
            waiting.append(line(number))
        elif waiting:
            assert spool.unsent() == waiting[0]
            spool.took(waiting.pop(0))
    assert spool.unsent() == (waiting[0] if waiting else b"")
    assert waiting or spool.path.stat().st_size == empty
    spool.close(remove=True)


def test_a_batch_of_any_size_comes_back(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    large = encode([Metric("loss", float(step), step) for step in range(1000)], params={"text": "x" * 200_000})
    spool.append(large)
    assert spool.unsent() == large
    spool.close(remove=True)


def test_what_a_dead_process_left_is_sent_and_its_run_is_killed(tmp_path: Path) -> None:
    spool, taken = opened(tmp_path), Taken()
    for step in range(3):
        spool.append(line(step))
    assert recover(tmp_path, "here", take=taken.take, end=taken.end) == []
    spool.close(remove=False)
    assert recover(tmp_path, "elsewhere", take=taken.take, end=taken.end) == []
    assert recover(tmp_path, "here", take=taken.take, end=taken.end) == [RUN]
    assert (taken.steps, taken.ended) == ([0, 1, 2], [(RUN, "killed", "p")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_line_that_was_cut_by_death_is_left_out(tmp_path: Path, cut: int) -> None:
    spool, taken = opened(tmp_path), Taken()
    spool.append(line(1))
    whole = spool.path.stat().st_size
    spool.append(line(2))
    spool.close(remove=False)
    with spool.path.open("r+b") as file:
        file.truncate(min(whole + cut, whole + len(line(2))))
    recover(tmp_path, "here", take=taken.take, end=taken.end)
    assert taken.steps == [1]


def test_a_header_that_was_cut_is_an_empty_spool(tmp_path: Path) -> None:
    (tmp_path / f"{RUN}.spool").write_bytes(b'{"run": "a')
    assert recover(tmp_path, "here", take=Taken().take, end=Taken().end) == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_gone_keeps_its_spool_aside_with_the_reason(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(line(1))
    spool.close(remove=False)

    def gone(run_id: str, batch: Batch) -> None:
        raise NotFound("there is no run")

    recover(tmp_path, "here", take=gone, end=Taken().end)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".reason", ".refused"]


def test_a_target_that_does_not_answer_leaves_the_spool_for_the_next_time(tmp_path: Path) -> None:
    spool, taken = opened(tmp_path), Taken()
    spool.append(line(1))
    spool.close(remove=False)

    def down(run_id: str, batch: Batch) -> None:
        raise Unavailable("no answer")

    with pytest.raises(Unavailable):
        recover(tmp_path, "here", take=down, end=taken.end)
    assert recover(tmp_path, "here", take=taken.take, end=taken.end) == [RUN]


def test_how_a_run_ended_is_kept_with_what_is_left(tmp_path: Path) -> None:
    spool, taken = opened(tmp_path), Taken()
    spool.append(line(1))
    spool.end("failed")
    spool.close(remove=False)
    recover(tmp_path, "here", take=taken.take, end=taken.end)
    assert (taken.steps, taken.ended) == ([1], [(RUN, "failed", "p")])


def test_a_process_that_died_before_its_run_was_created_leaves_nothing(tmp_path: Path) -> None:
    opened(tmp_path).close(remove=False)

    def gone(run_id: str, status: str) -> None:
        raise NotFound("there is no run")

    recover(tmp_path, "here", take=Taken().take, end=gone)
    assert list(tmp_path.iterdir()) == []
