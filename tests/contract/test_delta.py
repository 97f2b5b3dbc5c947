"""Delta tables on files and on a real S3 server; killed and out of room in the middle of a commit."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import obstore
import polars as pl
import pytest

from mainspring.core.errors import Invalid
from mainspring.storage.delta import _GROWING
from mainspring.storage.files import write_through
from mainspring.storage.open import open_delta
from mainspring.storage.ports import Delta
from mainspring.storage.s3 import S3Address
from mainspring.testing.delta import TABLE, DeltaContract, DeltaUpkeepContract, Kept, footer_of, numbers

pytestmark = pytest.mark.usefixtures("warm_programs")
_APPENDER = """
import sys, polars as pl; from pathlib import Path; from mainspring.storage.open import open_delta
delta = open_delta(sys.argv[1], Path(sys.argv[2])); app = sys.argv[3]
print("ready", flush=True); sys.stdin.readline()
for batch in range(int(sys.argv[4])):
    delta.append("predictions/flights-delay", pl.DataFrame({"n": [batch] * 100, "app": app}), app=app, batch=batch)
    print(batch, flush=True)
"""


def appender(url: str, folder: Path, app: str, batches: int) -> subprocess.Popen[str]:
    """A process that appends batches of 100 rows once it gets a line."""
    script = folder / "appender.py"
    if not script.exists():  # others may read it
        script.write_text(_APPENDER)
    command = [sys.executable, str(script), url, str(folder), app, str(batches)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def is_written_through(path: Path) -> bool:
    """Whether the attribute S of `chattr` is on it."""
    with path.open("rb") as file:
        return bool(fcntl.ioctl(file, 0x80086601, bytes(8))[0] & 8)  # FS_IOC_GETFLAGS, FS_SYNC_FL


def run_all_at_once(children: list[subprocess.Popen[str]]) -> list[int]:
    """Wait until all are ready, let them go, and wait for their ends."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate()
    return [child.returncode for child in children]


@pytest.mark.parametrize("name", ["my data", "Köln (2)", "50*{#}?", "it's & more"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    delta = open_delta("", tmp_path / name)
    delta.replace(TABLE, pl.DataFrame({"n": [1, 2]}))
    delta.append(TABLE, pl.DataFrame({"n": [3]}), app="a", batch=1)
    assert delta.scan(TABLE).filter(pl.col("n") > 1).collect()["n"].sort().to_list() == [2, 3]
    assert delta.scan(TABLE, 0).collect().height == 2


@pytest.mark.parametrize("name", ["50%", "[2]", "a|b"])
def test_a_folder_that_tables_cannot_be_read_from_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="can't hold tables") as refused:
        open_delta("", tmp_path / name)
    assert name in refused.value.where
    assert not (tmp_path / name).exists()


class TestDeltaOnFiles(DeltaContract, DeltaUpkeepContract):
    @pytest.fixture
    def delta(self, tmp_path: Path) -> Delta:
        return open_delta("", tmp_path)

    @pytest.fixture
    def everything(self, tmp_path: Path) -> Kept:
        def read() -> bytes:
            return b"".join(footer_of(path.read_bytes()) for path in tmp_path.rglob("*.*") if path.is_file())

        return read

    def test_eight_processes_at_once_all_land_exactly_once(self, delta: Delta, tmp_path: Path) -> None:
        assert run_all_at_once([appender("", tmp_path, f"app-{i}", 2) for i in range(8)]) == [0] * 8
        found = delta.scan(TABLE).group_by("app", "n").len().collect()
        assert found.height == 16
        assert found["len"].unique().to_list() == [100]

    def test_a_kill_in_the_middle_of_appends_leaves_whole_batches_and_a_restart_lands_the_rest(
        self, delta: Delta, tmp_path: Path
    ) -> None:
        with appender("", tmp_path, "app", 10**6) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("go\n")
            child.stdin.flush()
            while child.stdout.readline().strip() != "7":
                pass
            child.kill()
        last = delta.batch(TABLE, "app")
        assert last >= 7
        assert numbers(delta) == [n for n in range(last + 1) for _ in range(100)]
        assert run_all_at_once([appender("", tmp_path, "app", last + 3)]) == [0]
        assert numbers(delta) == [n for n in range(last + 3) for _ in range(100)]

    def test_what_a_commit_consists_of_is_on_disk_before_it_has_its_name(self, delta: Delta, tmp_path: Path) -> None:
        """The kernel says so of each file; the library writes them under other names and links them."""
        if not write_through(tmp_path):
            pytest.skip("this file system syncs no writes by itself")
        write_through(tmp_path, wanted=False)
        for batch in (0, 1):
            delta.append(TABLE, pl.DataFrame({"n": [1]}), app="a", batch=batch)
        delta.compact(TABLE)
        files = [path for path in (tmp_path / "tables" / TABLE).rglob("*") if path.is_file()]
        assert {path.suffix for path in files} == {".json", ".parquet", ""}  # "" has _last_checkpoint
        assert [path for path in files if not is_written_through(path)] == []
        delta.replace(TABLE, pl.DataFrame({"n": [2]}))
        (slow,) = set((tmp_path / "tables" / TABLE).glob("*.parquet")) - set(files)
        assert not is_written_through(slow), "it is written in many parts, and synced before it is committed"

    def test_a_table_that_grows_forgets_what_it_was(
        self, delta: Delta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else its log holds a line for every file that was ever merged, and each commit reads all of them."""
        at_once = {name: text and text.replace("1 hours", "0 seconds") for name, text in _GROWING.items()}
        monkeypatch.setattr("mainspring.storage.delta._GROWING", at_once | {"delta.checkpointInterval": "4"})
        for batch in range(16):
            delta.append(TABLE, pl.DataFrame({"n": [batch]}), app="a", batch=batch)
            if batch % 5 == 4:
                delta.compact(TABLE)
        log = tmp_path / "tables" / TABLE / "_delta_log"
        assert len(list(log.glob("*.json"))) < 12
        newest = pl.read_parquet(max(log.glob("*.checkpoint.parquet")))
        assert newest["remove"].struct.field("path").drop_nulls().len() <= 5
        assert numbers(delta) == list(range(16))
        assert delta.append(TABLE, pl.DataFrame({"n": [0]}), app="a", batch=15) is None, "it knows its batches still"

    def test_to_open_a_table_that_grows_reads_no_more_than_ten_commits(self, delta: Delta, tmp_path: Path) -> None:
        log, behind = tmp_path / "tables" / TABLE / "_delta_log", list[int]()
        for batch in range(32):
            delta.append(TABLE, pl.DataFrame({"n": [batch]}), app="a", batch=batch)
            last = max((int(path.name[:20]) for path in log.glob("*.checkpoint.parquet")), default=0)
            behind.append(batch - last)
        assert max(behind) < 10
        assert delta.batch(TABLE, "a") == 31
        assert numbers(delta) == list(range(32))

    @pytest.mark.parametrize(("app", "landed"), [("b", True), ("a", False)])
    def test_what_another_process_appends_after_a_look_at_the_batch_counts(
        self, delta: Delta, tmp_path: Path, app: str, landed: bool
    ) -> None:
        other = open_delta("", tmp_path)
        delta.append(TABLE, pl.DataFrame({"n": [0]}), app="a", batch=0)
        assert delta.batch(TABLE, "a") == 0
        other.append(TABLE, pl.DataFrame({"n": [1], "more": ["x"]}), app=app, batch=1)
        version = delta.append(TABLE, pl.DataFrame({"n": [2]}), app="a", batch=1)
        assert (version is not None) == landed
        assert numbers(delta) == ([0, 1, 2] if landed else [0, 1])
        assert delta.batch(TABLE, "a") == 1

    def test_naive_times_may_come_into_a_table_that_had_none(self, delta: Delta) -> None:
        delta.replace(TABLE, pl.DataFrame({"n": [1]}))
        delta.replace(TABLE, pl.DataFrame({"at": [datetime(2013, 1, 1)]}))
        delta.append("t/widened", pl.DataFrame({"n": [1]}), app="a", batch=0)
        delta.append("t/widened", pl.DataFrame({"at": [datetime(2013, 1, 1)]}), app="a", batch=1)
        assert delta.scan(TABLE).collect()["at"].to_list() == [datetime(2013, 1, 1)]
        assert delta.scan("t/widened").collect()["at"].drop_nulls().to_list() == [datetime(2013, 1, 1)]

    @pytest.mark.parametrize("verb", ["append", "replace"])
    def test_a_full_disk_is_a_plain_error_and_the_table_stays_as_it_was(
        self, delta: Delta, tmp_path: Path, verb: str
    ) -> None:
        delta.append(TABLE, pl.DataFrame({"n": [1]}), app="a", batch=0)
        script = (
            "import resource, sys, numpy as np, polars as pl; from pathlib import Path\n"
            "from mainspring.storage.open import open_delta; from mainspring.core.errors import NoRoom\n"
            "delta = open_delta('', Path(sys.argv[1]))\n"
            "rows = pl.DataFrame({'n': np.random.randint(0, 2**60, 200_000)})\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            f"try: delta.{verb}({TABLE!r}, rows, app='a', batch=1)\n"
            "except NoRoom as reason: print(reason)"
        )
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[:1] == ["the disk is full; nothing was stored"]
        assert numbers(delta) == [1]
        assert delta.batch(TABLE, "a") == 0


@pytest.mark.s3
class TestDeltaOnS3(DeltaContract, DeltaUpkeepContract):
    @pytest.fixture
    def delta(self, s3_url: str, tmp_path: Path) -> Delta:
        return open_delta(s3_url, tmp_path)

    @pytest.fixture
    def everything(self, s3_url: str) -> Kept:
        store = S3Address.parse(s3_url).under("tables").store()

        def read() -> bytes:
            paths = [entry["path"] for batch in obstore.list(store) for entry in batch]
            return b"".join(footer_of(bytes(obstore.get(store, path).bytes())) for path in paths)

        return read

    def test_processes_at_once_all_land_exactly_once(self, delta: Delta, s3_url: str, tmp_path: Path) -> None:
        assert run_all_at_once([appender(s3_url, tmp_path, f"app-{i}", 2) for i in range(3)]) == [0] * 3
        found = delta.scan(TABLE).group_by("app", "n").len().collect()
        assert found.height == 6
        assert found["len"].unique().to_list() == [100]
