"""The audit chain over a real event log: whatever is done to sealed events behind Mainspring's back is found."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.access import Audit, AuditReport, EventLog, Sealer, audit, records
from mainspring.access.commands import group
from mainspring.access.keys import signing_key
from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Corrupt, Invalid, NotFound, Refused
from mainspring.core.events import Fact
from mainspring.core.wiring import Wiring
from mainspring.storage import FILE, open_tables
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.storage.schema import event, seal

SEALED, TAIL, RANGE = 11, 3, 4


@dataclass(frozen=True, kw_only=True)
class StoneLaid(Fact):
    kind: ClassVar[str] = "testing.stone_laid"
    weight: float


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "RANGE", RANGE)


def _audit(tables: Tables, folder: Path) -> Audit:
    return Audit(tables=tables, journal=SqlJournal(tables), clock=ManualClock(5), folder=folder / "audit")


def _lay(tables: Tables, first: int, count: int) -> None:
    journal = SqlJournal(tables, ManualClock(7))
    with tables.write() as conn:
        journal.append(conn, *(StoneLaid(subject=f"stones/{n}", weight=n / 3) for n in range(first, first + count)))


@pytest.fixture
def chain(tables: Tables, tmp_path: Path) -> Audit:
    """11 events sealed under checkpoints over 4, 4 and 3 of them, and 3 events more."""
    made = _audit(tables, tmp_path)
    _lay(tables, 1, SEALED)
    made.seal()
    _lay(tables, SEALED + 1, TAIL)
    return made


def _tamper(tables: Tables, *statements: str) -> None:
    """Change the log as somebody with the database's password would."""
    with tables.write() as conn:
        if tables.dialect == "sqlite":
            names = conn.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            drops = [f"DROP TRIGGER {name}" for name in names]
        else:
            drops = ["ALTER TABLE event DISABLE TRIGGER ALL"]
        for statement in (*drops, *statements):
            conn.exec_driver_sql(statement)


def test_an_untouched_log_adds_up(chain: Audit) -> None:
    report = chain.verify()
    assert report.ok, report.faults
    assert (report.checkpoints, report.sealed, report.unsealed) == (3, SEALED, TAIL)


def test_every_checkpoint_names_the_one_before(chain: Audit) -> None:
    first, second, third = chain.checkpoints()
    assert (first.previous, second.previous, third.previous) == ("", first.digest(), second.digest())
    assert [(c.first_seq, c.last_seq, c.count) for c in (first, second, third)] == [(1, 4, 4), (5, 8, 4), (9, 11, 3)]


def test_sealing_twice_makes_nothing_the_second_time(chain: Audit) -> None:
    assert [c.number for c in chain.seal()] == [4]
    assert chain.seal() == []
    assert chain.verify().unsealed == 0


COPY = "SELECT 900, at, actor, project, kind, subject, payload, request_id FROM event WHERE seq"


@pytest.mark.parametrize(
    ("what", "statements", "words"),
    [
        ("edited payload", ["UPDATE event SET payload = '{\"weight\": 9.0}' WHERE seq = 6"], "changed"),
        ("edited actor", ["UPDATE event SET actor = 'mallory' WHERE seq = 1"], "changed"),
        ("edited time", ["UPDATE event SET at = at + 1 WHERE seq = 11"], "changed"),
        ("deleted", ["DELETE FROM event WHERE seq = 6"], "gone"),
        ("deleted first", ["DELETE FROM event WHERE seq = 1"], "gone"),
        ("put in before the first", [f"INSERT INTO event {COPY.replace('900', '0')} = 1"], "added"),
        (
            "swapped",
            [f"UPDATE event SET seq = {to} WHERE seq = {seq}" for seq, to in ((5, 900), (7, 5), (900, 7))],
            "changed or moved",
        ),
        ("log cut off inside the sealed part", ["DELETE FROM event WHERE seq > 9"], "gone"),
        ("unsealed event deleted", ["DELETE FROM event WHERE seq = 13"], "not sealed yet"),
        ("checkpoint deleted", ["DELETE FROM seal WHERE number = 2"], "missing"),
        ("last checkpoint deleted", ["DELETE FROM seal WHERE number = 3"], "cut off"),
        (
            "events and checkpoints cut off",
            ["DELETE FROM seal WHERE number = 3", "DELETE FROM event WHERE seq > 8"],
            "cut",
        ),
        ("everything deleted", ["DELETE FROM seal", "DELETE FROM event"], "cut off"),
        ("root replaced", [f"UPDATE seal SET root = '{'0' * 64}' WHERE number = 2"], "signature"),
        ("range moved", ["UPDATE seal SET last_seq = 10, count = 2 WHERE number = 3"], "signature"),
        ("chain cut open", ["UPDATE seal SET previous = '' WHERE number = 2"], "does not name"),
    ],
)
def test_tampering_is_found(chain: Audit, tables: Tables, what: str, statements: list[str], words: str) -> None:
    _tamper(tables, *statements)
    report = chain.verify()
    assert not report.ok, what
    assert any(words in fault.what for fault in report.faults), report.faults


def test_an_event_resealed_with_another_key_is_found(chain: Audit, tables: Tables, tmp_path: Path) -> None:
    """Whoever can write the database but has not the key cannot make a chain that verifies."""
    _tamper(tables, "UPDATE event SET actor = 'mallory' WHERE seq = 10")
    forger = signing_key(tmp_path / "forger")
    with tables.read() as conn:
        last = records.last_checkpoint(conn)
    assert last is not None
    from mainspring.access.rules import events_root

    root = events_root(SqlJournal(tables).read(8, limit=3))
    forged = replace(last, root=root, key=forger.public.id, signature="")
    forged = replace(forged, signature=forger.sign(forged.body()))
    with tables.write() as conn:
        conn.execute(seal.delete().where(seal.c.number == 3))
        assert records.add_checkpoint(conn, forged)
    assert any("signature" in fault.what for fault in chain.verify().faults)


def test_a_chain_rewritten_with_the_real_key_is_found_by_a_head_kept_elsewhere(
    chain: Audit, tables: Tables, tmp_path: Path
) -> None:
    kept = chain.verify().head
    _tamper(tables, "UPDATE event SET actor = 'mallory' WHERE seq = 10", "DELETE FROM seal")
    (tmp_path / "audit" / "head").unlink()
    chain.seal()
    assert chain.verify().ok
    assert [fault.checkpoint for fault in chain.verify(head=kept).faults] == [0]


def test_a_fault_is_located_by_its_checkpoint(chain: Audit, tables: Tables) -> None:
    _tamper(tables, "UPDATE event SET actor = 'mallory' WHERE seq = 6")
    assert [fault.checkpoint for fault in chain.verify().faults] == [2]


def test_a_head_that_is_no_digest_is_refused(chain: Audit) -> None:
    with pytest.raises(Invalid):
        chain.verify(head="abc")


def test_without_a_key_there_is_nothing_to_verify_with(sqlite_tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no audit key"):
        _audit(sqlite_tables, tmp_path).verify()


def test_a_broken_key_is_said_to_be_broken(sqlite_tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "signing.key").write_text("not a key")
    _lay(sqlite_tables, 1, 1)
    with pytest.raises(Corrupt):
        _audit(sqlite_tables, tmp_path).seal()


def test_the_signing_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = signing_key(tmp_path)
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600
    assert signing_key(tmp_path).public == first.public


def test_two_sealers_at_once_make_one_chain(tables: Tables, tmp_path: Path) -> None:
    _lay(tables, 1, 40)
    threads = [threading.Thread(target=_audit(tables, tmp_path).seal) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = _audit(tables, tmp_path).verify()
    assert report.ok, report.faults
    assert report.sealed == 40


def test_the_sealer_seals_what_is_left_when_it_stops(sqlite_tables: Tables, tmp_path: Path) -> None:
    made = _audit(sqlite_tables, tmp_path)
    sealer = Sealer(made, every_s=3600)
    sealer.start()
    _lay(sqlite_tables, 1, 5)
    sealer.stop()
    assert made.verify().sealed == 5


def test_the_event_log_shows_the_newest_first_and_the_project_only(tables: Tables) -> None:
    _lay(tables, 1, 3)
    with calling(Caller(project="other")):
        _lay(tables, 4, 1)
    log = EventLog(tables=tables)
    assert [e.seq for e in log.newest()] == [3, 2, 1]
    assert [e.seq for e in log.newest(before=3, limit=1)] == [2]
    assert [e.seq for e in log.newest(kind="testing.")] == [3, 2, 1]
    assert log.newest(kind="test.") == []
    assert [e.subject for e in log.newest(kind="testing.stone_laid", subject="stones/2")] == ["stones/2"]
    assert [e.seq for e in log.newest(subject="stones")] == [3, 2, 1]


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_limit_out_of_range_is_refused(sqlite_tables: Tables, limit: int) -> None:
    with pytest.raises(Invalid):
        EventLog(tables=sqlite_tables).newest(limit=limit)


# Any one change at all: a property over a database that is copied for each example.

Change = Callable[[sqlite3.Connection], None]
SEQ = st.integers(1, SEALED)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, list[tuple[str, tuple[object, ...]]]]:
    """One edit, deletion, insertion, swap or truncation of sealed events, as SQL."""
    kind = draw(st.sampled_from(["edit", "delete", "insert", "swap", "truncate"]))
    seq = draw(SEQ)
    if kind == "edit":
        column = draw(st.sampled_from(["actor", "kind", "subject", "request_id", "project"]))
        return kind, [
            (f"UPDATE event SET {column} = {column} || ? WHERE seq = ?", (draw(st.text("ab", min_size=1)), seq))
        ]
    if kind == "delete":
        return kind, [("DELETE FROM event WHERE seq = ?", (seq,))]
    if kind == "insert":
        return kind, [(f"INSERT INTO event {COPY.replace('900', '?')} = ?", (draw(st.integers(-9, 0)), seq))]
    if kind == "swap":
        other = draw(SEQ.filter(lambda n: n != seq))
        moves = [(900, seq), (seq, other), (other, 900)]
        return kind, [("UPDATE event SET seq = ? WHERE seq = ?", move) for move in moves]
    return kind, [("DELETE FROM event WHERE seq >= ?", (seq,))]


@pytest.fixture
def sealed_folder(sqlite_tables: Tables, tmp_path: Path) -> Path:
    """A closed database with sealed events only, without the triggers that refuse changes."""
    _lay(sqlite_tables, 1, SEALED)
    _audit(sqlite_tables, tmp_path).seal()
    _tamper(sqlite_tables)
    sqlite_tables.close()
    (tmp_path / FILE).write_bytes((tmp_path / "tables" / FILE).read_bytes())
    return tmp_path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=changes())
def test_any_single_change_of_sealed_events_is_found(
    sealed_folder: Path, change: tuple[str, list[tuple[str, tuple[object, ...]]]]
) -> None:
    copy = sealed_folder / "copy" / FILE
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.parent.mkdir()
    shutil.copy(sealed_folder / FILE, copy)
    assert _verified(copy, sealed_folder).ok
    with sqlite3.connect(copy) as conn:
        for statement, values in change[1]:
            conn.execute(statement, values)
    conn.close()
    assert not _verified(copy, sealed_folder).ok


def _verified(database: Path, folder: Path) -> AuditReport:
    tables = open_tables("", database.parent)
    try:
        return _audit(tables, folder).verify()
    finally:
        tables.close()


def test_the_words_for_events_are_those_of_the_table() -> None:
    """`event_bytes` covers every column: a column added later must be sealed, too."""
    from mainspring.access.rules import event_bytes
    from mainspring.core.events import Event

    sealed = event_bytes(Event(1, 2, "a", "p", "k", "s", {"x": 1}, "r")).decode()
    assert set(re.findall(r'"(\w+)":', sealed)) - {"x"} == {column.name for column in event.c}


# The commands.


@pytest.fixture
def command(sqlite_tables: Tables, tmp_path: Path) -> Callable[..., Result]:
    """Runs `mainspring audit ...` over a log of 11 events."""
    wiring = Wiring()
    wiring.add(Audit, lambda _: _audit(sqlite_tables, tmp_path))
    _lay(sqlite_tables, 1, SEALED)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(group, list(arguments), obj=lambda: wiring)

    return run


def test_seal_then_verify_by_command(command: Callable[..., Result]) -> None:
    assert command("seal").output.startswith("3 checkpoints made over 11 events.")
    verified = command("verify")
    assert verified.exit_code == 0
    assert "All is well." in verified.output
    assert len(json.loads(command("ls", "--json").output)) == 3
    head = json.loads(command("verify", "--json").output)["head"]
    assert command("verify", "--head", head).exit_code == 0


def test_verify_by_command_refuses_what_does_not_add_up(command: Callable[..., Result], sqlite_tables: Tables) -> None:
    command("seal")
    _tamper(sqlite_tables, "DELETE FROM event WHERE seq = 2")
    verified = command("verify")
    assert isinstance(verified.exception, Refused)
    assert "checkpoint 1: events 1-4: 1 of 4 sealed events are gone" in verified.output
