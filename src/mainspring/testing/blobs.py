"""What every `Blobs` does. Subclass `BlobsContract` and give it a fixture `blobs`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core.canonical import digest as digest_of
from mainspring.core.errors import Corrupt, Invalid, NotFound
from mainspring.storage.ports import Blobs

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
