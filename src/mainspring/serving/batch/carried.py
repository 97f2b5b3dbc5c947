"""A batch for machines that see none of its files: job and model travel there, then rows there and answers back."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import polars as pl

from mainspring.serving.batch.chunks import Scorer
from mainspring.serving.batch.job import Job, Parts

Carried = tuple[bytes, dict[str, bytes]]
"""The job as JSON, and the files of the model's package by path below its folder."""


def needs(parts: Parts, job: Job) -> list[Path]:
    """The files and folders of this machine that whoever answers reads and writes, where it sees them."""
    views = [Path(view.path) for view in job.plan.views]
    return [parts.folder.absolute(), parts.source(job).absolute(), Path(job.plan.arms[0].folder), *views]


def carried(job: Job) -> Carried | None:
    """The batch as it travels; None where it can't: it looks up feature views, or its version has packages of its own.

    Both are files that are read where they are, and may be of any size.
    """
    arm = job.plan.arms[0]
    if job.plan.views or (arm.own is not None and arm.own.python):
        return None
    folder = Path(arm.folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return msgspec.json.encode(job), {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def rows_of(parts: Parts, job: Job, number: int) -> bytes:
    """The input rows of a chunk as they travel."""
    return parts.rows_of(job, number).write_ipc(None).getvalue()


class Away:
    """Answers chunks without seeing a file of the batch, as `Scorer` does with them. The model is checked as always.

    Raises: Corrupt, Refused, Failed: The model can't be loaded.
    """

    def __init__(self, given: Carried) -> None:
        asked, package = given
        job = msgspec.json.decode(asked, type=Job)
        with TemporaryDirectory(prefix="mainspring-batch-") as folder:  # actors are killed: nothing may be left behind
            for name, data in package.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            arm = msgspec.structs.replace(job.plan.arms[0], folder=folder)
            plan = msgspec.structs.replace(job.plan, arms=[arm])
            self._scorer = Scorer(Parts(Path(folder)), msgspec.structs.replace(job, plan=plan))

    def __call__(self, number: int, rows: bytes) -> bytes:
        """The file of a chunk, made of its rows."""
        made = BytesIO()
        self._scorer.answered(number, pl.read_ipc(rows)).write_parquet(made)
        return made.getvalue()
