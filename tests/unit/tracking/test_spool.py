"""Spool files: in order, small, and whole after a death at any byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.disks import files_up_to

from mainspring.core.caller import caller
from mainspring.core.errors import Conflict, MainspringError, NoRoom, NotFound, Unavailable
from mainspring.tracking.model import Metric
from mainspring.tracking.spool import RESUMED, Progress, Spool, end_line, input_line, recover, start_in, start_line
from mainspring.tracking.wire import NewRun, decode, encode

RUN = "a" * 32


def line(step: int) -> bytes:
    return encode([Metric("loss", 1.0, step)])


def opened(folder: Path, run: str = RUN) -> Spool:
    return Spool(folder, run, target="here", project="p")


class Taken:
    """Remembers what recovery sent; `closed` is the error it answers with instead."""

    def __init__(self, closed: MainspringError | None = None) -> None:
        self.steps: list[int] = []
        self.made: list[tuple[str, ...]] = []
        self.ended: list[tuple[str, str, str]] = []
        self.closed = closed

    def create(self, run_id: str, new: NewRun) -> str:
        self._answer("create", new.name)
        return new.name

    def resume(self, run_id: str) -> None:
        self._answer("resume")

    def log(self, run_id: str, batch: bytes) -> None:
        self._answer()
        self.steps += [point.step for point in decode(batch).metrics]

    def artifact(self, run_id: str, path: str, content: bytes | Path) -> None:
        self._answer("file", path, content.read_text() if isinstance(content, Path) else content.decode())

    def input(self, run_id: str, dataset: str, context: str) -> None:
        self._answer("input", dataset, context)

    def finish(self, run_id: str, status: str, ended_at: int = 0) -> None:
        self._answer()
        self.ended.append((run_id, status, caller().project))

    def _answer(self, *what: str) -> None:
        if self.closed is not None:
            raise self.closed
        if what:
            self.made.append(what)


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
    assert recover(tmp_path, "here", taken) == []
    spool.close(remove=False)
    assert recover(tmp_path, "elsewhere", taken) == []
    assert recover(tmp_path, "here", taken) == [RUN]
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
    recover(tmp_path, "here", taken)
    assert taken.steps == [1]


def test_what_a_full_disk_cut_is_written_over_by_the_next_entry(tmp_path: Path) -> None:
    spool, taken = opened(tmp_path), Taken()
    spool.append(line(1))
    with files_up_to(spool.path.stat().st_size + 10), pytest.raises(NoRoom, match="disk is full"):
        spool.append(line(2))
    assert spool.unsent() == line(1)
    spool.append(line(3))
    spool.close(remove=False)
    recover(tmp_path, "here", taken)
    assert taken.steps == [1, 3]


def test_a_header_that_was_cut_is_an_empty_spool(tmp_path: Path) -> None:
    (tmp_path / f"{RUN}.spool").write_bytes(b'{"run": "a')
    assert recover(tmp_path, "here", Taken()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_gone_keeps_its_spool_aside_with_the_reason(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(line(1))
    spool.close(remove=False)

    recover(tmp_path, "here", Taken(NotFound("there is no run")))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".reason", ".refused"]


def test_a_target_that_does_not_answer_leaves_the_spool_for_the_next_time(tmp_path: Path) -> None:
    spool, taken = opened(tmp_path), Taken()
    spool.append(line(1))
    spool.close(remove=False)

    with pytest.raises(Unavailable):
        recover(tmp_path, "here", Taken(Unavailable("no answer")))
    assert recover(tmp_path, "here", taken) == [RUN]


def test_how_a_run_ended_is_kept_with_what_is_left(tmp_path: Path) -> None:
    spool, taken = opened(tmp_path), Taken()
    spool.append(line(1))
    spool.append(end_line("failed", 5))
    spool.close(remove=False)
    recover(tmp_path, "here", taken)
    assert (taken.steps, taken.ended) == ([1], [(RUN, "failed", "p")])


def test_a_process_that_died_before_its_run_was_created_leaves_nothing(tmp_path: Path) -> None:
    opened(tmp_path).close(remove=False)

    recover(tmp_path, "here", Taken(NotFound("there is no run")))
    assert list(tmp_path.iterdir()) == []


def whole(folder: Path) -> Spool:
    """A run that was logged offline from its start to its end."""
    spool = opened(folder)
    spool.append(start_line(NewRun(name="first", experiment="flights", seed=7)))
    spool.append(line(1))
    spool.append_file("plots/a.svg", b"<svg/>")
    spool.append(input_line("datasets/flights/1", "training"))
    spool.append(end_line("finished", 9))
    return spool


WHOLE = [("create", "first"), ("file", "plots/a.svg", "<svg/>"), ("input", "datasets/flights/1", "training")]


def test_a_whole_run_is_sent_with_its_files_and_leaves_nothing(tmp_path: Path) -> None:
    spool, taken = whole(tmp_path), Taken()
    assert start_in(spool).name == "first"
    spool.close(remove=False)
    assert recover(tmp_path, "here", taken) == [RUN]
    assert (taken.made, taken.steps, taken.ended) == (WHOLE, [1], [(RUN, "finished", "p")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", range(6))
def test_a_recovery_that_is_cut_off_anywhere_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    whole(tmp_path).close(remove=False)
    taken, answers = Taken(), iter(range(after))

    def cut(progress: Progress) -> None:
        if progress.state == "sent" and next(answers, None) is None:
            raise KeyboardInterrupt

    if after < 5:
        with pytest.raises(KeyboardInterrupt):
            recover(tmp_path, "here", taken, told=cut)
    recover(tmp_path, "here", taken)
    assert (taken.made, taken.steps) == (WHOLE, [1])
    assert taken.ended[0] == (RUN, "finished", "p")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_goes_on_adds_to_what_waits(tmp_path: Path) -> None:
    whole(tmp_path).close(remove=False)
    again, taken = opened(tmp_path), Taken()
    assert again.had_entries
    again.append(RESUMED)
    again.append(line(2))
    again.close(remove=False)
    recover(tmp_path, "here", taken)
    assert taken.steps == [1, 2]
    assert taken.made[-1] == ("resume",)
    assert [status for _, status, _ in taken.ended] == ["finished", "killed"]


def test_a_child_waits_for_the_run_it_is_part_of(tmp_path: Path) -> None:
    whole(tmp_path).close(remove=False)
    assert recover(tmp_path, "here", Taken(NotFound("there is no parent"))) == []
    assert recover(tmp_path, "here", Taken()) == [RUN]


def test_a_run_that_another_process_logs_is_not_opened_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.tracking.spool._LOCK_S", 0.05)
    spool = opened(tmp_path)
    with pytest.raises(Conflict, match="another process"):
        opened(tmp_path)
    spool.close(remove=True)


def test_what_waits_for_one_target_is_not_given_to_another(tmp_path: Path) -> None:
    whole(tmp_path).close(remove=False)
    with pytest.raises(Conflict, match="waits to be sent to here"):
        Spool(tmp_path, RUN, target="there", project="p")
    assert recover(tmp_path, "", Taken(), project="other") == []
    assert recover(tmp_path, "", Taken()) == [RUN]


def test_what_is_large_waits_when_it_is_asked_to(tmp_path: Path) -> None:
    whole(tmp_path).close(remove=False)
    assert recover(tmp_path, "here", Taken(), most_bytes=10) == []
    assert recover(tmp_path, "here", Taken(), most_bytes=10_000) == [RUN]
