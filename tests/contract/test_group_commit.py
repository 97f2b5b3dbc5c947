"""Group commit: what waits is bounded, and a work that fails takes nothing of its neighbours along."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import pytest
import sqlalchemy as sa

from mainspring.core.errors import Invalid, Overloaded
from mainspring.storage.commits import GroupCommit, Joint
from mainspring.storage.ports import Tables


@contextmanager
def together(
    tables: Tables, separate: Callable[[], AbstractContextManager[sa.Connection]] | None = None
) -> Iterator[GroupCommit]:
    """A group whose writer is held, so that what is submitted waits together; all of it is done at the end."""
    held, entered = threading.Event(), threading.Event()

    def hold(_: sa.Connection) -> None:
        entered.set()
        assert held.wait(30)

    group = GroupCommit(tables.write, separate=separate)
    group.submit(hold)
    assert entered.wait(30)
    try:
        yield group
    finally:
        held.set()
        group.close()


def test_more_than_can_wait_is_refused_and_the_rest_is_done(tables: Tables) -> None:
    held, entered = threading.Event(), threading.Event()

    @contextmanager
    def begin() -> Iterator[sa.Connection]:
        entered.set()
        assert held.wait(30)
        with tables.write() as conn:
            yield conn

    group = GroupCommit(begin, most=1, longest=3)
    first = group.submit(lambda conn: 0)
    assert entered.wait(30)  # the writer has taken the first one
    rest = [group.submit(lambda conn, n=n: n) for n in (1, 2, 3)]  # type: ignore[misc]  # n is bound
    with pytest.raises(Overloaded, match="3 writes wait"):
        group.submit(lambda conn: 4)
    held.set()
    assert [done.result(30) for done in (first, *rest)] == [0, 1, 2, 3]
    group.close()


def test_a_work_that_fails_leaves_nothing_and_its_neighbours_stay(tables: Tables) -> None:
    with tables.write() as conn:
        conn.exec_driver_sql("CREATE TABLE kept (n integer)")
    group = GroupCommit(tables.write)

    def work(n: int) -> None:
        def store(conn: sa.Connection) -> None:
            conn.exec_driver_sql(f"INSERT INTO kept VALUES ({n})")
            if n % 2:
                raise Invalid("odd")

        done.append(group.submit(store))

    done: list[object] = []
    for n in range(20):
        work(n)
    group.close()
    with tables.read() as conn:
        assert [row.n for row in conn.exec_driver_sql("SELECT n FROM kept ORDER BY n")] == list(range(0, 20, 2))


def test_works_are_run_twice_at_most_when_one_of_them_fails_and_each_has_its_own_answer(tables: Tables) -> None:
    runs: list[int] = []

    def work(n: int) -> Callable[[sa.Connection], int]:
        def run(_: sa.Connection) -> int:
            runs.append(n)
            if n == 2:
                raise Invalid("two")
            return n

        return run

    with together(tables) as group:
        done = [group.submit(work(n)) for n in range(4)]
    assert [str(future.exception(30) or future.result()) for future in done] == ["0", "1", "two", "3"]
    assert runs == [0, 1, 2, 0, 1, 2, 3]


def test_works_are_not_run_again_when_the_transaction_itself_cannot_begin_or_commit(tables: Tables) -> None:
    begun: list[str] = []

    @contextmanager
    def begin() -> Iterator[sa.Connection]:
        begun.append("begin")
        if len(begun) == 1:
            raise Overloaded("busy")
        with tables.write() as conn:
            yield conn
        raise Overloaded("no commit")

    group = GroupCommit(begin)
    runs: list[int] = []
    for _ in range(2):
        with pytest.raises(Overloaded):
            group.submit(lambda conn: runs.append(1)).result(30)
    group.close()
    assert (len(begun), runs) == (2, [1])


def test_joint_works_that_wait_next_to_each_other_are_run_by_one_call_and_in_order(tables: Tables) -> None:
    calls: list[list[str]] = []

    def run(_: sa.Connection, given: Sequence[str]) -> None:
        calls.append(list(given))

    def other(_: sa.Connection, given: Sequence[str]) -> None:
        calls.append(["other", *given])

    with together(tables) as group:
        joint = [group.submit(Joint(run, name)) for name in "abc"]
        alone = group.submit(lambda conn: calls.append(["alone"]))
        after = [group.submit(Joint(one, name)) for one, name in ((run, "d"), (other, "e"), (other, "f"), (run, "g"))]
    assert [done.result(30) for done in (*joint, alone, *after)] == [None] * 8
    assert calls == [["a", "b", "c"], ["alone"], ["d"], ["other", "e", "f"], ["g"]]


def test_of_joint_works_only_the_one_that_fails_leaves_nothing(tables: Tables) -> None:
    with tables.write() as conn:
        conn.exec_driver_sql("CREATE TABLE kept (n integer)")

    def run(conn: sa.Connection, given: Sequence[int]) -> None:
        for n in given:
            conn.exec_driver_sql(f"INSERT INTO kept VALUES ({n})")
            if n == 2:
                raise Invalid("two")

    with together(tables) as group:
        done = [group.submit(Joint(run, n)) for n in range(5)]
    assert [str(future.exception(30)) for future in done] == ["None", "None", "two", "None", "None"]
    with tables.read() as conn:
        assert [row.n for row in conn.exec_driver_sql("SELECT n FROM kept ORDER BY n")] == [0, 1, 3, 4]


@pytest.mark.parametrize("answer", ["all", "none", "error"])
def test_joint_works_are_done_without_a_transaction_where_they_can_and_else_within_one(
    tables: Tables, answer: str
) -> None:
    calls: list[tuple[str, list[str]]] = []

    def run(_: sa.Connection, given: Sequence[str]) -> None:
        calls.append(("run", list(given)))

    def at_once(_: sa.Connection, given: Sequence[str]) -> bool:
        calls.append(("at once", list(given)))
        if answer == "error":
            raise Invalid("no")
        return answer == "all"

    with together(tables, separate=tables.read) as group:
        done = [group.submit(Joint(run, name, at_once=at_once)) for name in "ab"]
    assert [future.result(30) for future in done] == [None, None]
    assert calls == [("at once", ["a", "b"]), ("run", ["a", "b"])][: 1 if answer == "all" else 2]


def test_works_of_several_kinds_share_a_transaction_even_if_some_could_do_without(tables: Tables) -> None:
    calls: list[list[str]] = []

    def run(_: sa.Connection, given: Sequence[str]) -> None:
        calls.append(list(given))

    def at_once(_: sa.Connection, given: Sequence[str]) -> bool:
        raise AssertionError(given)

    with together(tables, separate=tables.read) as group:
        done = [group.submit(Joint(run, name, at_once=at_once)) for name in "ab"]
        alone = group.submit(lambda conn: calls.append(["alone"]))
    assert [future.result(30) for future in (*done, alone)] == [None] * 3
    assert calls == [["a", "b"], ["alone"]]
