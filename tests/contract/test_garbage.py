"""No blob is lost to a row that is about to name it: any order of steps, and real processes on files and S3."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mainspring.core.clock import DAY_US, ManualClock, SystemClock
from mainspring.core.errors import NotFound
from mainspring.storage.files import FileBlobs
from mainspring.storage.open import open_blobs
from mainspring.storage.ports import Blobs, BlobTrash, StoredBlob, Tables, TrashedBlob
from mainspring.storage.references import references
from mainspring.storage.schema import metadata
from mainspring.tracking.records.tables import artifact
from mainspring.upkeep.collecting import Collector

Database = Callable[[], Tables]
GRACE = 7 * DAY_US
POOL = [b"a", b"b", b"c"]
spawn = multiprocessing.get_context("spawn")


class Interrupted(FileBlobs):
    """Blobs between whose steps others do something: what `meanwhile` says, once before every step of a collector."""

    meanwhile: Iterator[Callable[[], object]] = iter(())

    def _others(self) -> None:
        for act in self.meanwhile:
            act()
            return

    def stored(self) -> Iterator[StoredBlob]:
        for entry in super().stored():
            self._others()
            yield entry
        self._others()

    def trashed(self) -> Iterator[TrashedBlob]:
        for entry in super().trashed():
            self._others()
            yield entry
        self._others()

    def discard(self, digest: str, at: int) -> None:
        self._others()
        super().discard(digest, at)

    def purge(self, entry: TrashedBlob) -> None:
        self._others()
        super().purge(entry)


acts = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(POOL)),
    st.tuples(st.just("commit"), st.just(b"")),
    st.tuples(st.just("forget"), st.sampled_from(POOL)),
    st.tuples(st.just("read"), st.sampled_from(POOL)),
    st.tuples(st.just("collect"), st.just(b"")),
)


class Garbage(RuleBasedStateMachine):
    """Writers put blobs and commit rows up to a grace later; collectors run at any time, also inside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock(time.time_ns() // 1000)
        self.blobs = Interrupted(self.folder / "blobs")
        self.rows: set[str] = set()
        self.pending: list[tuple[str, int]] = []
        self.ever: set[str] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(data=st.sampled_from(POOL))
    def put(self, data: bytes) -> None:
        digest = self.blobs.put(data)
        path = next((self.folder / "blobs").glob(f"{digest[:2]}/{digest[2:]}"), None)
        if path is not None and digest not in self.ever:  # the file's age is that of the simulated time
            os.utime(path, ns=(self.clock.now() * 1000, self.clock.now() * 1000))
        self.ever.add(digest)
        self.pending.append((digest, self.clock.now()))

    @rule()
    def commit(self) -> None:
        """The oldest writer commits its row, or gives up when the grace is over."""
        if self.pending:
            digest, since = self.pending.pop(0)
            if self.clock.now() - since < GRACE:
                self.rows.add(digest)

    @rule(data=st.sampled_from(POOL))
    def forget(self, data: bytes) -> None:
        """Rows are deleted; whoever read one before, and found its blob in place, may copy it within the grace."""
        from mainspring.core.canonical import digest

        if digest(data) in self.rows and digest(data) in set(self.blobs.digests()):
            self.pending.append((digest(data), self.clock.now()))
        self.rows.discard(digest(data))

    @rule(data=st.sampled_from(POOL))
    def read(self, data: bytes) -> None:
        from mainspring.core.canonical import digest

        if digest(data) in self.rows:
            assert self.blobs.get(digest(data)) == data

    @rule(hours=st.integers(1, 24 * 10))
    def wait(self, hours: int) -> None:
        self.clock.advance(hours * 3_600_000_000)

    @rule(others=st.lists(acts, max_size=8))
    def collect(self, others: list[tuple[str, bytes]]) -> None:
        """A collector runs, and between its steps the others do what was drawn."""
        outer = self.blobs.meanwhile
        self.blobs.meanwhile = (partial(self._act, name, data) for name, data in others)
        Collector(self.blobs, lambda: sorted(self.rows), self.clock).collect(GRACE)
        self.blobs.meanwhile = outer

    def _act(self, name: str, data: bytes) -> None:
        if name == "collect":
            Collector(self.blobs, lambda: sorted(self.rows), self.clock).collect(GRACE)
        elif name == "commit":
            self.commit()
        else:
            getattr(self, name)(data)

    @invariant()
    def every_row_has_its_blob(self) -> None:
        kept = set(self.blobs.digests()) | {entry.digest for entry in self.blobs.trashed()}
        assert self.rows <= kept

    @invariant()
    def whoever_may_still_commit_finds_the_blob(self) -> None:
        kept = set(self.blobs.digests()) | {entry.digest for entry in self.blobs.trashed()}
        assert {digest for digest, since in self.pending if self.clock.now() - since < GRACE} <= kept


def test_in_any_order_of_steps_no_row_loses_its_blob() -> None:
    run_state_machine_as_test(Garbage, settings=settings(max_examples=80, stateful_step_count=40, deadline=None))


@pytest.fixture(params=["files", pytest.param("s3", marks=pytest.mark.s3)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Blobs]:
    url = cast(str, request.getfixturevalue("s3_url")) if request.param == "s3" else ""
    return partial(open_blobs, url, tmp_path / "data")


def collected(tables: Tables, blobs: Blobs, clock: ManualClock, *, dry_run: bool = False) -> tuple[int, int, int]:
    assert isinstance(blobs, BlobTrash)
    done = Collector(blobs, lambda: references(tables, metadata), clock).collect(GRACE, dry_run=dry_run)
    return done.discarded, done.restored, done.purged


def name(tables: Tables, path: str, digest: str) -> None:
    with tables.write() as conn:
        conn.execute(artifact.insert().values(project="p", path=path, digest=digest, size_bytes=1, at=0))


def test_what_no_row_names_waits_its_grace_twice_and_is_gone(tables: Tables, opener: Callable[[], Blobs]) -> None:
    blobs, clock = opener(), ManualClock(time.time_ns() // 1000)
    kept, lost = blobs.put(b"kept"), blobs.put(b"lost")
    name(tables, "run/model", kept)
    assert collected(tables, blobs, clock) == (0, 0, 0)
    clock.advance(GRACE + 60_000_000)
    assert collected(tables, blobs, clock, dry_run=True) == (1, 0, 0)
    assert collected(tables, blobs, clock) == (1, 0, 0)
    assert collected(tables, blobs, clock) == (0, 0, 0)
    clock.advance(GRACE)
    assert collected(tables, blobs, clock, dry_run=True) == (0, 0, 1)
    assert collected(tables, blobs, clock) == (0, 0, 1)
    assert list(blobs.digests()) == [kept]
    with pytest.raises(NotFound):
        blobs.get(lost)


def test_what_is_named_again_in_between_comes_back(tables: Tables, opener: Callable[[], Blobs]) -> None:
    blobs, clock = opener(), ManualClock(time.time_ns() // 1000)
    digest = blobs.put(b"late")
    clock.advance(GRACE + 60_000_000)
    assert collected(tables, blobs, clock) == (1, 0, 0)
    name(tables, "run/late", digest)
    clock.advance(2 * GRACE)
    assert collected(tables, blobs, clock) == (0, 1, 0)
    assert list(blobs.digests()) == [digest]


def write(database: Database, open_store: Callable[[], Blobs], seed: int, seconds: float, grace_s: float) -> None:
    """Put blobs of a small pool, commit rows a moment later, and delete rows: as long as `seconds`."""
    tables, blobs, draw = database(), open_store(), random.Random(seed)
    ends = time.monotonic() + seconds
    mine: list[str] = []
    while time.monotonic() < ends:
        started = time.monotonic()
        digest = blobs.put(f"blob {draw.randrange(12)}".encode())
        time.sleep(draw.random() * grace_s / 3)
        with tables.write() as conn:
            if time.monotonic() - started < grace_s / 2:  # a writer that was held up gives up
                path = f"{seed}/{started}"
                conn.execute(artifact.insert().values(project="p", path=path, digest=digest, size_bytes=1, at=0))
                mine.append(path)
            if len(mine) > 2 or (mine and draw.random() < 0.5):
                gone = mine.pop(draw.randrange(len(mine)))
                conn.execute(artifact.delete().where(artifact.c.path == gone))
        if draw.random() < 0.2:
            time.sleep(draw.random() * grace_s * 2)
    tables.close()


def keep_collecting(
    database: Database, open_store: Callable[[], Blobs], seconds: float, grace_s: float, purged: object
) -> None:
    tables, blobs = database(), open_store()
    assert isinstance(blobs, BlobTrash)
    collector = Collector(blobs, lambda: references(tables, metadata), SystemClock())
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done = collector.collect(round(grace_s * 1e6))
        with purged.get_lock():  # type: ignore[attr-defined]
            purged.value += done.purged  # type: ignore[attr-defined]
    tables.close()


@pytest.mark.slow
@pytest.mark.long
def test_real_processes_that_write_and_collect_at_once_lose_nothing(
    sqlite_database: Database, opener: Callable[[], Blobs]
) -> None:
    seconds, grace_s, purged = 6.0, 2.0, spawn.Value("q", 0)
    writers = [spawn.Process(target=write, args=(sqlite_database, opener, n, seconds, grace_s)) for n in range(3)]
    collectors = [
        spawn.Process(target=keep_collecting, args=(sqlite_database, opener, seconds, grace_s, purged))
        for _ in range(2)
    ]
    for process in (*writers, *collectors):
        process.start()
    for process in (*writers, *collectors):
        process.join(120)
        assert process.exitcode == 0
    tables, blobs = sqlite_database(), opener()
    named = set(references(tables, metadata))
    tables.close()
    assert named
    for digest in named:
        blobs.get(digest)
    assert purged.value > 0
