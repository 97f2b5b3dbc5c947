"""What a batch is asked for, and the files it keeps beside its output until it is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.errors import Corrupt
from mainspring.core.values import dataclass
from mainspring.serving.modelserver.plan import EndpointPlan

if TYPE_CHECKING:
    import polars as pl

REASON, ID, RULES = "quarantine_reason", "prediction_id", "rules"
LOOKED = "looked_up"
"""Column of a chunk with what was looked up for each row; it goes to the log, not to the answers."""
SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What is asked for. The same request goes on where it was; another one for the same output is refused.

    Args:
        deployment: Whose live version answers.
        source: A Parquet or CSV file, the folder of a Delta table, or a dataset version such as "datasets/flights/3".
        out: The file to write, Parquet or CSV by its name.
        version: A version instead of the live one.
        keep: Columns of the source that go to the output; all when empty.
        log: Whether the rows go to the prediction log, where monitors count them.
        time_column: Has the event time of each row in the log; else it is when the batch began.
        chunk_rows: Rows in memory at once, for each process.
    """

    deployment: str
    source: str
    out: str
    version: int | None = None
    keep: tuple[str, ...] = ()
    log: bool = False
    time_column: str = ""
    chunk_rows: int = 20_000


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What came of a batch: rows that were answered, rows that were put aside, and where they are."""

    id: str
    deployment: str
    model_version: int
    source: str
    out: str
    rows: int
    answered: int
    quarantined: int
    quarantine: str
    logged: bool
    started_at: int
    ended_at: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A batch under way: the request, what its source was when it began, who answers, and its rows."""

    id: str
    request: BatchRequest
    stamp: str
    plan: EndpointPlan
    public_key: str
    rows: int
    texts: bool
    started_at: int

    @property
    def chunks(self) -> int:
        """How many chunks it has; without rows an empty one."""
        return max(1, -(-self.rows // self.request.chunk_rows))


class Parts:
    """The folder of a batch under way, `OUT.parts`: the job, its input unless that is Parquet, and the chunks.

    Args:
        out: The output.
        start: Where a relative path of the source starts from: the working folder of whoever began.
    """

    def __init__(self, out: Path, start: Path = Path()) -> None:
        self.out = out
        self._start = start
        self.folder = out.with_name(out.name + ".parts")
        self.report = out.with_name(out.name + ".batch.json")
        self.quarantine = out.with_name(f"{out.stem}.quarantine{out.suffix}")
        self._job = self.folder / "job.json"

    def job(self) -> Job | None:
        """The job that is under way here.

        Raises:
            Corrupt: Its file is no job of this release.
        """
        try:
            return msgspec.json.decode(self._job.read_bytes(), type=Job)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as reason:
            hint = f"remove {self.folder} to begin anew"
            raise Corrupt(f"no batch that can go on: {reason}", where=str(self._job), hint=hint) from None

    def begin(self, job: Job) -> None:
        """Keep a new job."""
        write_whole(self._job, msgspec.json.encode(job))

    @property
    def table(self) -> Path:
        """The input as Parquet, where the source is something else."""
        return self.folder / "input.parquet"

    def source(self, job: Job) -> Path:
        """What chunks are read from."""
        return self.table if self.table.exists() else self._start / job.request.source

    def chunk(self, number: int) -> Path:
        """The file of a chunk."""
        return self.folder / f"{number:08}.parquet"

    def rows_of(self, job: Job, number: int) -> pl.DataFrame:
        """The input rows of a chunk."""
        import polars as pl

        path = self.source(job)
        return pl.scan_parquet(path).slice(number * job.request.chunk_rows, job.request.chunk_rows).collect()

    def finish(self, report: BatchReport) -> None:
        """Say that it is done, and take the parts away."""
        import shutil

        write_whole(self.report, msgspec.json.encode(report))
        shutil.rmtree(self.folder)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    settle(part, path)


def settle(part: Path, path: Path) -> None:
    """Give a finished file its name, once its bytes are on the disk."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
