"""What every `Blobs` and every `BlobTrash` does. Subclass the contracts and give them a fixture `blobs`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core.canonical import digest as digest_of
from mainspring.core.errors import Corrupt, Invalid, MainspringError, NotFound
from mainspring.storage.ports import BlobFiles, Blobs, BlobStreams, BlobTrash, TrashedBlob

_ABSENT = "0" * 64
_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
Spoil = Callable[[str], None]


class BlobsContract:
    """The behaviour of blobs. Fixtures: `blobs`, an empty store; `spoil(digest)`, which changes what is stored."""

    def test_it_is_the_port(self, blobs: Blobs) -> None:
        assert isinstance(blobs, Blobs)

    def test_what_was_put_comes_back_under_its_blake3_digest(self, blobs: Blobs) -> None:
        digest = blobs.put(b"weights")
        assert digest == digest_of(b"weights")
        assert blobs.get(digest) == b"weights"

    @settings(max_examples=15, deadline=None, suppress_health_check=_SHARED)
    @given(data=st.binary(max_size=3000))
    def test_any_bytes_survive_and_putting_them_twice_changes_nothing(self, blobs: Blobs, data: bytes) -> None:
        assert blobs.put(data) == blobs.put(data)
        assert blobs.get(digest_of(data)) == data
        assert list(blobs.digests()).count(digest_of(data)) == 1

    def test_a_file_goes_in_and_out_whole(self, blobs: Blobs, tmp_path: Path) -> None:
        source, target = tmp_path / "in.bin", tmp_path / "folder" / "out.bin"
        source.write_bytes(bytes(range(256)) * 10_000)
        digest = blobs.put_file(source)
        blobs.fetch(digest, target)
        assert digest == digest_of(source.read_bytes())
        assert target.read_bytes() == source.read_bytes()
        assert [path.name for path in target.parent.iterdir()] == ["out.bin"]

    def test_a_missing_file_says_so(self, blobs: Blobs, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"no file nowhere\.bin"):
            blobs.put_file(tmp_path / "nowhere.bin")

    def test_a_missing_digest_is_not_found(self, blobs: Blobs, tmp_path: Path) -> None:
        assert not blobs.has(_ABSENT)
        with pytest.raises(NotFound):
            blobs.get(_ABSENT)
        with pytest.raises(NotFound):
            blobs.fetch(_ABSENT, tmp_path / "out")
        assert list(tmp_path.glob("out*")) == []

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 63 + "/"])
    def test_what_is_no_digest_is_refused(self, blobs: Blobs, digest: str) -> None:
        with pytest.raises(Invalid):
            blobs.get(digest)

    def test_a_taken_file_is_stored_and_gone_from_its_place(self, blobs: Blobs, tmp_path: Path) -> None:
        assert isinstance(blobs, BlobStreams)
        data = bytes(range(256)) * 10_000
        for name in ("first", "again"):
            (tmp_path / name).write_bytes(data)
            blobs.take(tmp_path / name, digest_of(data))
            assert not (tmp_path / name).exists()
        assert blobs.get(digest_of(data)) == data
        with pytest.raises(NotFound):
            blobs.take(tmp_path / "nowhere", digest_of(b"never stored"))

    def test_any_range_of_bytes_is_streamed(self, blobs: Blobs) -> None:
        assert isinstance(blobs, BlobStreams)
        data = bytes(range(251)) * 10_000
        digest = blobs.put(data)
        for start, stop in ((0, None), (0, 1), (7, 1_500_000), (2_509_000, None), (5, 5), (0, len(data))):
            assert b"".join(blobs.stream(digest, start, stop)) == data[start:stop], (start, stop)
        assert b"".join(blobs.stream(blobs.put(b""))) == b""
        with pytest.raises(NotFound):
            next(blobs.stream(_ABSENT))

    def test_a_stream_of_changed_bytes_never_ends_well(self, blobs: Blobs, spoil: Spoil) -> None:
        assert isinstance(blobs, BlobStreams)
        digest = blobs.put(b"honest bytes")
        spoil(digest)
        with pytest.raises(Corrupt):
            next(blobs.stream(digest))

    def test_a_blob_that_is_a_file_can_be_opened_and_stays_readable_when_it_is_deleted(self, blobs: Blobs) -> None:
        if not isinstance(blobs, BlobFiles):
            pytest.skip("these blobs are no files of this machine")
        digest = blobs.put(b"bytes of a file")
        with blobs.open(digest) as file:
            blobs.delete(digest)
            assert file.read() == b"bytes of a file"
        with pytest.raises(NotFound):
            blobs.open(digest)

    def test_deleted_bytes_are_gone_and_may_be_put_again(self, blobs: Blobs) -> None:
        digest = blobs.put(b"once")
        blobs.delete(digest)
        blobs.delete(digest)
        assert not blobs.has(digest)
        assert list(blobs.digests()) == []
        assert blobs.put(b"once") == digest
        assert blobs.has(digest)

    def test_changed_bytes_are_corrupt_and_never_reach_a_file(self, blobs: Blobs, spoil: Spoil, tmp_path: Path) -> None:
        digest = blobs.put(b"honest bytes")
        spoil(digest)
        with pytest.raises(Corrupt):
            blobs.get(digest)
        with pytest.raises(Corrupt):
            blobs.fetch(digest, tmp_path / "out")
        assert list(tmp_path.glob("*out*")) == []

    def test_eight_threads_putting_the_same_bytes_agree(self, blobs: Blobs) -> None:
        found: list[str] = []
        threads = [threading.Thread(target=lambda: found.append(blobs.put(b"shared" * 1000))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [digest_of(b"shared" * 1000)] * 8
        assert list(blobs.digests()) == found[:1]


class BlobTrashContract:
    """The behaviour of the trash. Fixture: `blobs`, an empty store that has one."""

    def test_it_is_the_port_of_the_trash(self, blobs: Blobs) -> None:
        assert isinstance(blobs, BlobTrash)

    def test_what_is_stored_tells_its_size_and_since_when(self, blobs: Blobs) -> None:
        before = time.time_ns() // 1000 - 2_000_000  # object stores count whole seconds
        digest = blobs.put(b"weights")
        (entry,) = _trash(blobs).stored()
        assert (entry.digest, entry.size_bytes) == (digest, 7)
        assert before <= entry.put_at <= time.time_ns() // 1000 + 2_000_000

    def test_a_blob_that_is_thrown_away_is_not_in_place_but_in_the_trash(self, blobs: Blobs) -> None:
        digest, other = blobs.put(b"old"), blobs.put(b"other")
        _trash(blobs).discard(digest, 1234)
        assert list(blobs.digests()) == [other]
        assert list(_trash(blobs).trashed()) == [TrashedBlob(digest, 3, 1234)]

    def test_throwing_away_twice_or_what_is_not_there_changes_nothing(self, blobs: Blobs) -> None:
        digest = blobs.put(b"old")
        for at in (1, 2):
            _trash(blobs).discard(digest, at)
        _trash(blobs).discard(_ABSENT, 3)
        assert list(_trash(blobs).trashed()) == [TrashedBlob(digest, 3, 1)]

    @pytest.mark.parametrize("verb", ["get", "fetch", "has", "restore"])
    def test_whoever_asks_for_a_blob_in_the_trash_brings_it_back(self, blobs: Blobs, verb: str, tmp_path: Path) -> None:
        digest = blobs.put(b"old")
        _trash(blobs).discard(digest, 1)
        asked = {
            "get": lambda: blobs.get(digest) == b"old",
            "fetch": lambda: _fetched(blobs, digest, tmp_path / "out") == b"old",
            "has": lambda: blobs.has(digest),
            "restore": lambda: _trash(blobs).restore(digest),
        }[verb]()
        assert asked
        assert list(blobs.digests()) == [digest]
        assert list(_trash(blobs).trashed()) == []

    def test_a_blob_that_came_back_counts_as_new(self, blobs: Blobs) -> None:
        before = time.time_ns() // 1000 - 2_000_000
        digest = blobs.put(b"old")
        _trash(blobs).discard(digest, 1)
        assert blobs.has(digest)
        assert next(iter(_trash(blobs).stored())).put_at >= before

    def test_a_purged_blob_is_gone_for_good_and_may_be_put_again(self, blobs: Blobs) -> None:
        digest = blobs.put(b"old")
        _trash(blobs).discard(digest, 1)
        for _ in range(2):
            _trash(blobs).purge(TrashedBlob(digest, 3, 1))
        assert not blobs.has(digest)
        assert not _trash(blobs).restore(digest)
        assert blobs.put(b"old") == digest
        assert blobs.get(digest) == b"old"

    def test_purging_an_entry_leaves_later_ones_and_what_was_put_since(self, blobs: Blobs) -> None:
        digest = blobs.put(b"old")
        for at in (1, 2):
            _trash(blobs).discard(digest, at)
            blobs.put(b"old")
        _trash(blobs).purge(TrashedBlob(digest, 3, 1))
        assert list(_trash(blobs).trashed()) == [TrashedBlob(digest, 3, 2)]
        assert list(blobs.digests()) == [digest]

    def test_deleted_bytes_are_gone_from_the_trash_too(self, blobs: Blobs) -> None:
        digest = blobs.put(b"old")
        _trash(blobs).discard(digest, 1)
        blobs.delete(digest)
        assert not blobs.has(digest)

    def test_readers_never_miss_a_blob_while_it_is_thrown_away_and_brought_back(self, blobs: Blobs) -> None:
        digest, failures, stop = blobs.put(b"x" * 100_000), [], threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    blobs.get(digest)
                except MainspringError as reason:
                    failures.append(reason)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for at in range(20):
            _trash(blobs).discard(digest, at)
        stop.set()
        for reader in readers:
            reader.join()
        assert failures == []


def _fetched(blobs: Blobs, digest: str, to: Path) -> bytes:
    blobs.fetch(digest, to)
    return to.read_bytes()


def _trash(blobs: Blobs) -> BlobTrash:
    assert isinstance(blobs, BlobTrash)
    return blobs
