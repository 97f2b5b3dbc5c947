"""From spools to tables: whoever dies in between, and however many move at once, a row arrives once."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests import spools

from mainspring.serving.log import Compactor, table_of
from mainspring.storage.open import open_delta
from mainspring.storage.ports import Delta

FOLDER = "spools"


class Killed(BaseException):
    """Nothing that the product may catch."""


class Mortal:
    """A real store that dies before or after its nth call; other steps may be counted in with `step`."""

    def __init__(self, delta: Delta, last: int) -> None:
        self._delta, self._left = delta, last

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._delta, name)

        def call(*args: object, **kwargs: object) -> object:
            self.step()
            found = real(*args, **kwargs)
            self.step()
            return found

        return call

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed


def write(root: Path, name: str, ids: range) -> None:
    rows = [
        {"id": f"{name}{i}", "request_id": "r", "at": i, "event_at": i, "key": "k", "inputs": [0.5], "outputs": None}
        for i in ids
    ]
    spools.write(root / FOLDER / f"{name}.sqlite", rows, columns=[("x", "float")])


def moved(root: Path) -> Counter[str]:
    return Counter(open_delta("", root).scan(table_of("live")).select("id").collect()["id"].to_list())


def test_a_move_that_dies_at_any_step_is_made_up_for_by_the_next_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta, wanted = open_delta("", tmp_path), Counter[str]()
    for last in range(1, 50):
        write(tmp_path, f"s{last}-", range(2))
        wanted += Counter([f"s{last}-0", f"s{last}-1"])
        with monkeypatch.context() as patch:
            is_whole = die_at(last, delta, tmp_path, patch)
        if is_whole:
            break
        Compactor(tmp_path / FOLDER, delta).run()
        assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["compact.lock"]
    assert last > 8  # two calls of the store, each before and after, and four files that go
    assert moved(tmp_path) == wanted


def die_at(last: int, delta: Delta, root: Path, patch: pytest.MonkeyPatch) -> bool:
    """Move, and die at a step; whether it came through."""
    mortal: Any = Mortal(delta, last)
    unlink = Path.unlink

    def step(path: Path, missing_ok: bool = False) -> None:
        mortal.step()
        unlink(path, missing_ok)

    patch.setattr(Path, "unlink", step)
    try:
        Compactor(root / FOLDER, mortal).run()
    except Killed:
        return False
    return True


def test_of_two_that_move_at_once_each_row_is_moved_by_one(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"s{number}-", range(50))
    moves: list[int] = []
    start = threading.Barrier(2)

    def run() -> None:
        start.wait()
        moves.append(Compactor(tmp_path / FOLDER, open_delta("", tmp_path)).run())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(moves) == 150
    assert moved(tmp_path) == Counter([f"s{n}-{i}" for n in range(3) for i in range(50)])
