"""What every backend of the journal port must do."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar

import pytest
import sqlalchemy as sa

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.events import Fact
from mainspring.core.values import dataclass
from mainspring.storage.ports import Journal, Tables
from mainspring.storage.together import together
from mainspring.testing.processes import apart

Database = Callable[[], Tables]
PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class LampLit(Fact):
    kind: ClassVar[str] = "contract.lamp_lit"
    watts: float = 5.0


@dataclass(frozen=True, kw_only=True)
class LampBroke(Fact):
    kind: ClassVar[str] = "contract.lamp_broke"


def append(tables: Tables, journal: Journal, *subjects: str) -> int:
    with tables.write() as conn:
        return journal.append(conn, *(LampLit(subject=subject) for subject in subjects))


def append_elsewhere(database: Database, make: Callable[[Tables], Journal]) -> None:
    """Append one event from another process."""
    tables = database()
    append(tables, make(tables), "from/afar")
    tables.close()


class JournalContract:
    """Needs the fixtures `tables`, `database`, `clock` (a `ManualClock` at 1000), `journal` (on both), and
    `make_journal`: makes a journal on given tables, also in another process."""

    def test_an_empty_log_ends_at_zero(self, journal: Journal) -> None:
        assert (journal.last(), journal.read(), journal.offset("me")) == (0, [], 0)

    def test_facts_are_added_in_order_together_with_other_statements(self, tables: Tables, journal: Journal) -> None:
        with tables.write() as conn, together(conn):
            journal.add(conn, LampLit(subject="lamps/1"), LampBroke(subject="lamps/2"))
            journal.add(conn)
        with tables.write() as conn, together(conn):
            journal.add(conn, LampLit(subject="lamps/3"))
        assert [(event.seq, event.subject) for event in journal.read()] == [
            (1, "lamps/1"),
            (2, "lamps/2"),
            (3, "lamps/3"),
        ]
        assert journal.wait(2, timeout_s=0)

    def test_facts_become_events_with_everything_about_them(self, tables: Tables, journal: Journal) -> None:
        with calling(Caller("ada", "p1", "r-7")), tables.write() as conn:
            assert journal.append(conn, LampLit(subject="lamps/1", watts=2.5), LampBroke(subject="lamps/2")) == 2
        first, second = journal.read()
        assert (first.seq, first.at, first.actor, first.project) == (1, 1000, "ada", "p1")
        assert (first.kind, first.subject, first.payload) == ("contract.lamp_lit", "lamps/1", {"watts": 2.5})
        assert (first.request_id, second.seq, second.payload) == ("r-7", 2, {})

    def test_no_facts_give_the_last_number(self, tables: Tables, journal: Journal) -> None:
        append(tables, journal, "a", "b")
        assert append(tables, journal) == 2

    def test_a_rolled_back_change_leaves_neither_event_nor_gap(self, tables: Tables, journal: Journal) -> None:
        with pytest.raises(ZeroDivisionError), tables.write() as conn:
            journal.append(conn, LampLit(subject="a"))
            raise ZeroDivisionError
        assert append(tables, journal, "b") == 1
        assert [event.subject for event in journal.read()] == ["b"]

    def test_reading_goes_on_after_a_number_and_stops_at_the_limit(self, tables: Tables, journal: Journal) -> None:
        append(tables, journal, *"abcdef")
        assert [event.seq for event in journal.read(2, limit=3)] == [3, 4, 5]

    def test_reading_filters_by_kind_and_project(self, tables: Tables, journal: Journal) -> None:
        with calling(Caller(project="p1")), tables.write() as conn:
            journal.append(conn, LampLit(subject="a"), LampBroke(subject="a"))
        append(tables, journal, "a")
        assert [event.seq for event in journal.read(kinds=["contract.lamp_lit"])] == [1, 3]
        assert [event.seq for event in journal.read(project="p1")] == [1, 2]
        assert [event.seq for event in journal.read(project="p1", kinds=["contract.lamp_broke"])] == [2]

    def test_a_subject_includes_what_lies_under_it_and_nothing_else(self, tables: Tables, journal: Journal) -> None:
        inside = ["models/a", "models/a/1", "models/a/1/x", "models/a/ü"]
        outside = ["models/ab", "models/a0", "models/a-1", "models/A/1", "models/a.b", "models"]
        append(tables, journal, *inside, *outside)
        assert [event.subject for event in journal.read(subject="models/a")] == inside

    @pytest.mark.parametrize(
        "statement", ["UPDATE event SET actor = 'me'", "DELETE FROM event", "DELETE FROM event WHERE seq = 1"]
    )
    def test_the_database_refuses_to_change_the_log(self, tables: Tables, journal: Journal, statement: str) -> None:
        append(tables, journal, "a", "b")
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), tables.write() as conn:
            conn.execute(sa.text(statement))
        assert [event.actor for event in journal.read()] == ["owner", "owner"]

    def test_advancing_is_noted_with_the_effects_or_not_at_all(self, tables: Tables, journal: Journal) -> None:
        with pytest.raises(ZeroDivisionError), tables.write() as conn:
            assert journal.advance(conn, "me", 5)
            raise ZeroDivisionError
        assert journal.offset("me") == 0
        with tables.write() as conn:
            assert journal.advance(conn, "me", 5)
        assert (journal.offset("me"), journal.offset("you")) == (5, 0)

    def test_what_was_handled_is_not_handled_again(self, tables: Tables, journal: Journal) -> None:
        with tables.write() as conn:
            assert [journal.advance(conn, "me", seq) for seq in (1, 2, 2, 1, 3)] == [True, True, False, False, True]

    def test_waiting_returns_at_once_when_there_is_something(self, tables: Tables, journal: Journal) -> None:
        append(tables, journal, "a")
        assert journal.wait(0, PATIENCE_S)

    def test_waiting_gives_up(self, journal: Journal) -> None:
        assert not journal.wait(0, 0.01)

    def test_waiting_ends_when_a_thread_appends(self, tables: Tables, journal: Journal) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(journal.wait, 0, PATIENCE_S)
            append(tables, journal, "a")
            assert waiting.result(PATIENCE_S)

    def test_waiting_ends_when_another_process_appends(
        self, journal: Journal, database: Database, make_journal: Callable[[Tables], Journal]
    ) -> None:
        process = apart.Process(target=append_elsewhere, args=(database, make_journal))
        process.start()
        assert journal.wait(0, PATIENCE_S)
        process.join(PATIENCE_S)
        assert [event.subject for event in journal.read()] == ["from/afar"]

    def test_submitted_works_append_in_the_order_they_were_submitted(self, tables: Tables, journal: Journal) -> None:
        def append_one(n: int, conn: sa.Connection) -> int:
            return journal.append(conn, LampLit(subject=f"lamps/{n}"))

        works = [tables.submit(partial(append_one, n)) for n in range(50)]
        assert [work.result(PATIENCE_S) for work in works] == list(range(1, 51))
        assert [event.subject for event in journal.read()] == [f"lamps/{n}" for n in range(50)]

    def test_a_reader_that_saw_a_number_has_missed_no_smaller_one(self, tables: Tables, journal: Journal) -> None:
        seen: list[int] = []
        done = threading.Event()

        def follow() -> None:
            while not (done.is_set() and journal.last() == len(seen)):
                seen.extend(event.seq for event in journal.read(seen[-1] if seen else 0))

        def write(n: int) -> None:
            pause = random.Random(n).random() / 500
            with tables.write() as conn:
                journal.append(conn, LampLit(subject=f"lamps/{n}"))
                threading.Event().wait(pause)  # so that commits and appends of several transactions mix

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(6) as writers:
            following = reader.submit(follow)
            list(writers.map(write, range(60)))
            done.set()
            following.result(PATIENCE_S)
        assert seen == list(range(1, 61))

    def test_events_carry_the_clock(self, tables: Tables, journal: Journal, clock: ManualClock) -> None:
        append(tables, journal, "a")
        clock.advance(500)
        append(tables, journal, "b")
        assert [event.at for event in journal.read()] == [1000, 1500]
