"""Files of runs and models: one tree, whole files only, kept once, sent and resumed piece by piece."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Conflict, Invalid, NotFound, Overloaded, TooLarge
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs
from mainspring.storage.ports import Blobs, Tables
from mainspring.tracking import Files, Tracking
from mainspring.tracking.model import Entry

MIB = 1 << 20


@pytest.fixture(params=["sqlite-files", pytest.param("postgres-s3", marks=[pytest.mark.postgres, pytest.mark.s3])])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Tables, Blobs]:
    """Tables and blobs as people run them: SQLite beside files, Postgres beside S3."""
    if request.param == "sqlite-files":
        return request.getfixturevalue("sqlite_tables"), open_blobs("", tmp_path)
    return request.getfixturevalue("postgres_tables"), open_blobs(request.getfixturevalue("s3_url"), tmp_path)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def files(storage: tuple[Tables, Blobs], scratch: Path) -> Files:
    tables, blobs = storage
    clock = ManualClock(1_000)
    journal = SqlJournal(tables, clock)
    return Files(tables=tables, journal=journal, blobs=blobs, clock=clock, scratch=scratch, limit_bytes=8 * MIB)


@pytest.fixture
def left(scratch: Path) -> Iterator[None]:
    """Whatever happens in the test, nothing is left in the scratch folder."""
    yield
    assert not scratch.exists() or list(scratch.iterdir()) == []


def _data(size: int, seed: int = 0) -> bytes:
    return blake3(bytes([seed])).digest(length=size)


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("size", [0, 5, MIB, MIB + 1, 3 * MIB])
def test_a_file_comes_back_as_it_was_put(files: Files, tmp_path: Path, size: int) -> None:
    data = _data(size)
    made = files.put("1/run/artifacts/a.bin", data)
    assert (made.size_bytes, made.digest, made.at) == (size, blake3(data).hexdigest(), 1_000)
    assert files.read("1/run/artifacts/a.bin") == data
    assert b"".join(files.stream(files.find(made.path))) == data
    files.fetch(made.path, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data


def test_the_next_file_of_a_path_replaces_it(files: Files) -> None:
    files.put("plots/a.svg", b"one")
    files.put("plots/a.svg", b"twos")
    assert files.read("plots/a.svg") == b"twos"
    assert [(entry.path, entry.size_bytes) for entry in files.below("plots")] == [("a.svg", 4)]


def test_the_same_bytes_are_kept_once(files: Files, storage: tuple[Tables, Blobs]) -> None:
    for name in ("a", "b", "c"):
        files.put(name, _data(2 * MIB))
    assert len(list(storage[1].digests())) == 1


def test_a_folder_shows_its_files_and_folders_by_name(files: Files) -> None:
    for path in ("m/conda.yaml", "m/data/x/1.bin", "m/data/2.bin", "m/data0", "n/other", "m!"):
        files.put(path, b"12")
    assert files.level("m") == [Entry("conda.yaml", False, 2), Entry("data", True, 4), Entry("data0", False, 2)]
    assert [entry.name for entry in files.level("")] == ["m", "m!", "n"]
    assert files.level("nowhere") == files.level("m/conda.yaml") == []
    assert [kept.path for kept in files.below("m/data/")] == ["2.bin", "x/1.bin"]


def test_a_folder_goes_with_all_that_is_in_it(files: Files) -> None:
    for path in ("m/a", "m/b/c", "m0"):
        files.put(path, b"12")
    assert files.delete("m") == 2
    assert files.delete("m") == 0
    assert [kept.path for kept in files.below("")] == ["m0"]
    assert files.delete("m0") == 1


def test_a_missing_file_names_a_near_one(files: Files) -> None:
    files.put("plots/loss.svg", b"x")
    with pytest.raises(NotFound, match=r"loss\.svgg") as caught:
        files.read("plots/loss.svgg")
    assert caught.value.hint == 'did you mean "loss.svg"?'


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "a\nb", "x" * 1001, "."])
def test_a_path_that_leaves_the_tree_or_is_no_path_is_refused(files: Files, path: str) -> None:
    for attempt in (lambda: files.put(path, b"x"), lambda: files.delete(path), lambda: files.receive(path)):
        with pytest.raises(Invalid):
            attempt()
    with pytest.raises(Invalid):
        files.resume(path, "0" * 64, 1)


def test_no_file_is_a_folder(files: Files) -> None:
    files.put("a/b", b"x")
    for path in ("a", "a/b/c"):
        with pytest.raises(Conflict, match=r"a/b"):
            files.put(path, b"x")
    assert [kept.path for kept in files.below("")] == ["a/b"]


def test_projects_do_not_see_each_others_files(files: Files) -> None:
    made = files.put("a", _data(2 * MIB))
    with calling(Caller(project="other")):
        assert files.below("") == []
        assert files.name_known("mine", made.digest, made.size_bytes) is None
        with pytest.raises(NotFound):
            files.find("a")
        assert files.delete("a") == 0
    assert files.find("a") == made


@pytest.mark.usefixtures("left")
def test_a_file_over_the_limit_is_refused_as_soon_as_it_is_known(files: Files) -> None:
    with pytest.raises(TooLarge):
        files.receive("a", 8 * MIB + 1)
    with pytest.raises(TooLarge):
        files.resume("a", "0" * 64, 8 * MIB + 1)
    with files.receive("a") as upload, pytest.raises(TooLarge, match="8388609 bytes, at most 8388608"):
        for piece in (_data(8 * MIB), b"x"):
            upload.write(piece)
    assert files.below("") == []


@pytest.mark.usefixtures("left")
def test_an_upload_that_breaks_off_leaves_nothing(files: Files, storage: tuple[Tables, Blobs]) -> None:
    with pytest.raises(ConnectionError), files.receive("a") as upload:
        upload.write(_data(3 * MIB))
        raise ConnectionError
    assert files.below("") == []
    assert list(storage[1].digests()) == []


def test_an_upload_of_known_content_goes_on_where_it_broke_off(files: Files, scratch: Path) -> None:
    data = _data(5 * MIB)
    digest = blake3(data).hexdigest()
    assert files.received(digest) == 0
    with pytest.raises(ConnectionError), files.resume("a", digest, len(data)) as upload:
        upload.write(data[: 2 * MIB])
        raise ConnectionError
    assert files.received(digest) == 2 * MIB
    assert files.below("") == []
    with files.resume("a", digest, len(data)) as upload:
        assert upload.received == 2 * MIB
        upload.write(data[2 * MIB :])
        files.store("a", upload, digest)
    assert files.read("a") == data
    assert list(scratch.iterdir()) == []
    assert files.name_known("b", digest, len(data)) is not None
    assert files.name_known("c", digest, len(data) - 1) is None
    assert files.read("b") == data


@pytest.mark.usefixtures("left")
def test_other_bytes_than_were_announced_are_refused_and_forgotten(files: Files) -> None:
    digest = blake3(b"honest").hexdigest()
    with files.resume("a", digest, 6) as upload:
        upload.write(b"forged")
        with pytest.raises(Invalid, match="the digest"):
            files.store("a", upload, digest)
    assert files.received(digest) == 0
    assert files.below("") == []


def test_two_senders_of_one_content_do_not_mix(files: Files) -> None:
    data = _data(MIB)
    digest = blake3(data).hexdigest()
    with files.resume("a", digest, len(data)) as upload:
        upload.write(data[:100])
        with pytest.raises(Overloaded, match="right now"):
            files.resume("b", digest, len(data))
        upload.write(data[100:])
        files.store("a", upload, digest)
    assert files.read("a") == data


def test_what_dead_writers_left_is_swept_and_what_lives_stays(files: Files, scratch: Path) -> None:
    scratch.mkdir()
    script = (
        "import sys, time; from pathlib import Path; from mainspring.tracking.uploads import Upload\n"
        "upload = Upload(Path(sys.argv[1]), limit_bytes=2**40); upload.write(bytes(2**21))\n"
        "print('there', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(scratch)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        (living,) = scratch.iterdir()
        os.utime(living, (0, 0))
        assert files.sweep() == 0
        child.send_signal(signal.SIGKILL)
    os.utime(living, (0, 0))
    (scratch / f"default-{'0' * 64}").write_bytes(b"to be taken up")
    assert files.sweep() == 1
    assert [path.name[:8] for path in scratch.iterdir()] == ["default-"]


def test_a_run_keeps_its_files_in_the_folder_of_its_experiment(files: Files, storage: tuple[Tables, Blobs]) -> None:
    clock = ManualClock(1_000)
    tracking = Tracking(tables=storage[0], journal=SqlJournal(storage[0], clock), clock=clock)
    run = tracking.create_run("flights")
    assert files.run_folder(run.id) == run.folder == f"{run.experiment_id}/{run.id}/artifacts/"
    with pytest.raises(NotFound):
        files.run_folder("0" * 32)


_names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\", exclude_categories=("C", "Z")), min_size=1, max_size=8
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.lists(st.lists(_names, min_size=1, max_size=3).map("/".join), max_size=8))
def test_a_tree_is_a_tree_of_a_file_system(files: Files, paths: list[str]) -> None:
    """Beside a plain dict: what was put is listed by level and below every folder, and nothing is file and folder."""
    for kept in files.below(""):
        files.delete(kept.path)
    model: dict[str, bytes] = {}
    for number, path in enumerate(paths):
        try:
            files.put(path, bytes(number))
        except (Conflict, Invalid):
            continue
        model[path] = bytes(number)
    assert {kept.path: kept.size_bytes for kept in files.below("")} == {path: len(data) for path, data in model.items()}
    folders = {"", *("/".join(path.split("/")[:n]) for path in model for n in range(1, path.count("/") + 1))}
    for folder in folders:
        start = f"{folder}/" if folder else ""
        inside = [path[len(start) :] for path in model if path.startswith(start)]
        assert {entry.name for entry in files.level(folder)} == {path.split("/")[0] for path in inside}
        assert {kept.path for kept in files.below(folder)} == set(inside)
    assert not folders & model.keys()
