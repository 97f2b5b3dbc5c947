"""Blobs on files and on a real S3 server; killed and out of room in the middle of a put."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import obstore
import pytest

from mainspring.core.canonical import digest as digest_of
from mainspring.core.errors import Invalid, MainspringError, Unavailable
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Blobs
from mainspring.storage.s3 import S3Address, keeps_the_first
from mainspring.testing.blobs import BlobsContract, BlobTrashContract, Spoil


class TestFileBlobs(BlobsContract, BlobTrashContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return open_blobs("", tmp_path / "data")

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Spoil:
        def change(digest: str) -> None:
            path = tmp_path / "data" / "blobs" / digest[:2] / digest[2:]
            path.chmod(0o644)
            path.write_bytes(b"other bytes!")

        return change

    def test_objects_are_read_only(self, blobs: Blobs, tmp_path: Path) -> None:
        digest = blobs.put(b"weights")
        assert (tmp_path / "data/blobs" / digest[:2] / digest[2:]).stat().st_mode & 0o777 == 0o444

    def test_a_kill_in_the_middle_of_puts_leaves_only_whole_blobs(self, blobs: Blobs, tmp_path: Path) -> None:
        script = (
            "import sys; from pathlib import Path; from mainspring.storage.open import open_blobs\n"
            "blobs = open_blobs('', Path(sys.argv[1]))\n"
            "for i in range(10**6): print(blobs.put(i.to_bytes(4, 'big') * 500_000), flush=True)"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "data")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            told = [child.stdout.readline().strip() for _ in range(12)]
            child.kill()
            told += child.stdout.read().split()
        told = [digest for digest in told if len(digest) == 64]
        assert set(told) <= set(blobs.digests())
        for digest in blobs.digests():
            assert len(blobs.get(digest)) == 2_000_000

    def test_a_full_disk_is_a_plain_error_and_leaves_nothing(self, blobs: Blobs, tmp_path: Path) -> None:
        script = (
            "import resource, signal, sys; from pathlib import Path; from mainspring.storage.open import open_blobs\n"
            "from mainspring.core.errors import NoRoom\n"
            "blobs = open_blobs('', Path(sys.argv[1]))\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "try: blobs.put(bytes(1_000_000))\n"
            "except NoRoom as reason: print(reason)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "data")], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines() == [
            "the disk is full; nothing was stored",
            f"where: {tmp_path / 'data' / 'blobs'}",
            "try: free some space, then run it again",
        ]
        assert list(blobs.digests()) == []
        assert os.listdir(tmp_path / "data" / "blobs" / "part") == []


@pytest.mark.s3
class TestS3Blobs(BlobsContract, BlobTrashContract):
    @pytest.fixture
    def blobs(self, s3_url: str, tmp_path: Path) -> Blobs:
        return open_blobs(s3_url, tmp_path)

    @pytest.fixture
    def spoil(self, s3_url: str) -> Spoil:
        store = S3Address.parse(s3_url).under("blobs").store()
        return lambda digest: (obstore.put(store, f"{digest[:2]}/{digest[2:]}", b"other bytes!"), None)[1]

    def test_the_store_keeps_the_first_of_two_writers(self, s3_url: str) -> None:
        address = S3Address.parse(s3_url)
        assert keeps_the_first(address)
        assert list(obstore.list(address.store())) == []

    def test_wrong_keys_are_a_plain_error(self, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(Unavailable, match="the object store did not do it"):
            open_blobs(s3_url, tmp_path).put(b"x")
        with pytest.raises(Unavailable, match="the object store did not do it"):
            open_delta(s3_url, tmp_path)


@pytest.mark.parametrize(
    "url", ["s3://", "s3://key:secret@bucket/x", "s3://bucket?colour=red", "ftp://bucket", "bucket"]
)
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        open_blobs(url, tmp_path)


def test_keys_never_show_in_the_text_of_an_address() -> None:
    address = S3Address.parse("s3://bucket/x", {"AWS_SECRET_ACCESS_KEY": "hidden-one"})
    assert "hidden-one" not in repr(address)
    assert address.options()["aws_secret_access_key"] == "hidden-one"


def test_errors_have_three_lines(tmp_path: Path) -> None:
    with pytest.raises(MainspringError) as caught:
        open_blobs("", tmp_path).get(digest_of(b"absent"))
    assert len(str(caught.value).splitlines()) == 3
