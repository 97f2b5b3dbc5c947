"""Running a batch: begin or go on, answer chunks on several processes, log them, put them together."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import polars as pl

from mainspring.core.errors import Conflict, Failed, Invalid, NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.serving.batch.chunks import Scorer
from mainspring.serving.batch.job import (
    ID,
    LOOKED,
    REASON,
    RULES,
    SUFFIXES,
    BatchReport,
    BatchRequest,
    Job,
    Parts,
    settle,
)
from mainspring.serving.batch.logging import log_chunks
from mainspring.serving.modelserver.columns import Feature, Features, kind_of
from mainspring.serving.modelserver.lookups import Lookup
from mainspring.serving.modelserver.plan import EndpointPlan, Options
from mainspring.serving.rules.conformal import LABEL_SET

if TYPE_CHECKING:
    from mainspring.core.clock import Clock
    from mainspring.data import Data
    from mainspring.registry import ModelVersion, Registry
    from mainspring.serving.service import Serving

Told = Callable[[int, int], None]
"""Gets how many chunks are done, and how many there are."""
EngineName = Literal["process", "ray"]
OUTPUTS = {"regression": ("prediction",), "binary": ("probability", "label"), "multiclass": ("probability", "label")}


class Batches:
    """Answers tables.

    Args:
        serving: Knows endpoints, and keeps the log.
        registry: Knows versions.
        data: Gives dataset versions.
        clock: Tells when a batch began.
        cluster: Address of the cluster of Ray; "" takes that of RAY_ADDRESS, one that runs here, or starts one.
    """

    def __init__(self, *, serving: Serving, registry: Registry, data: Data, clock: Clock, cluster: str = "") -> None:
        self._serving, self._registry, self._data, self._clock = serving, registry, data, clock
        self._cluster = cluster

    def run(
        self,
        request: BatchRequest,
        *,
        processes: int = 1,
        engine: EngineName = "process",
        tell: Told = lambda done, of: None,
    ) -> BatchReport:
        """Answer a table, or go on with it. Killed at any moment, the same request goes on; done, it says so again.

        Args:
            request: What is asked for.
            processes: How many answer at once; 1 answers in this one, unless the engine is Ray.
            engine: Where they are: on this machine, or wherever a cluster of Ray has cores for them.
            tell: Hears how far it is.
        Raises:
            NotFound: No such deployment, version, file or dataset.
            Invalid: The table does not fit the model, or the output has a column of it twice.
            Conflict: The output is there, another request is under way for it, or the source changed since it began.
            Failed: A process died.
            Unavailable: Ray is not installed, or its cluster can't be reached.
        """
        out = Path(request.out)
        if out.suffix not in SUFFIXES:
            raise Invalid(f"{out.name!r} is neither Parquet nor CSV", where="OUT", hint="end it in .parquet or .csv")
        if request.chunk_rows < 1 or processes < 1:
            raise Invalid("chunks of no rows, or no process", where="batch", hint="use 1 or more")
        parts = Parts(out)
        done = self._done(parts, request)
        if done is not None:
            return done
        parts.folder.mkdir(parents=True, exist_ok=True)
        with _alone(parts.folder):
            job = self._begun(parts, request)
            _answer(parts, job, processes, engine, tell, self._cluster)
            if job.request.log:
                log_chunks(self._serving, self._version(job.request).inputs, parts, job)
            return self._put_together(parts, job)

    def _version(self, request: BatchRequest, number: int | None = None) -> ModelVersion:
        live = self._serving.get(request.deployment)
        return self._registry.get(live.model, number or request.version or live.champion)

    def _done(self, parts: Parts, request: BatchRequest) -> BatchReport | None:
        if parts.folder.exists() and parts.job() is not None and not parts.report.exists():
            return None
        if parts.report.exists():
            report = msgspec.json.decode(parts.report.read_bytes(), type=BatchReport)
            if (report.source, report.deployment) == (request.source, request.deployment) and parts.out.exists():
                shutil.rmtree(parts.folder, ignore_errors=True)  # a kill may have come before the end of that
                return report
        if parts.out.exists():
            hint = "take another name, or remove it to answer anew"
            raise Conflict("there is something already", where=str(parts.out), hint=hint)
        parts.report.unlink(missing_ok=True)
        return None

    def _begun(self, parts: Parts, request: BatchRequest) -> Job:
        stamp, job = self._stamp(request), parts.job()
        if job is not None:
            if (job.request, job.stamp) != (request, stamp):
                what = "another batch is under way" if job.request != request else f"{request.source} changed"
                hint = f"remove {parts.folder} to begin anew"
                raise Conflict(f"{what} for this output", where=str(parts.out), hint=hint)
            return job
        version = self._version(request)
        plan = self._serving.planned(request.deployment, request.version)
        texts = Path(request.source).suffix == ".csv"
        try:
            scan = pl.scan_parquet(self._table(parts, request))
            schema, rows = scan.collect_schema(), int(scan.select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as reason:
            raise Invalid(f"not a table: {str(reason)[:200]}", where=request.source) from None
        _check_schema(schema, version, request, plan, texts=texts)
        job = Job(
            id=new_id(),
            request=request,
            stamp=stamp,
            plan=plan,
            public_key=self._serving.public_key,
            rows=rows,
            texts=texts,
            started_at=self._clock.now(),
        )
        parts.begin(job)
        return job

    def _stamp(self, request: BatchRequest) -> str:
        """What tells whether the source is still what it was.

        A Delta table is as long as it is that table: the rows it had when the batch began were copied.
        """
        if _is_delta(request):
            return _delta_id(request)
        if not _is_file(request):
            return self._data.resolve(request.source).digest
        try:
            stat = Path(request.source).stat()
        except FileNotFoundError:
            hint = "give a .parquet or .csv file, the folder of a Delta table, or datasets/NAME/VERSION"
            raise NotFound(f"no file {request.source}", where="IN", hint=hint) from None
        return f"{stat.st_size} {stat.st_mtime_ns}"

    def _table(self, parts: Parts, request: BatchRequest) -> Path:
        """The source as Parquet: copied in constant memory, unless it is that already."""
        path = Path(request.source)
        if _is_file(request) and path.suffix == ".parquet":
            return path
        if _is_delta(request):
            rows = pl.scan_delta(path)
        elif _is_file(request):
            rows = pl.scan_csv(path, infer_schema=False)
        else:
            found = self._data.resolve(request.source)
            rows = self._data.frame(found.dataset, found.number)
        part = parts.table.with_name(".input.parquet")
        rows.sink_parquet(part)
        settle(part, parts.table)
        return parts.table

    def _put_together(self, parts: Parts, job: Job) -> BatchReport:
        """The chunks as one output and one quarantine, each whole or not there."""
        version = self._version(job.request, job.plan.arms[0].version)
        scan = pl.scan_parquet([parts.chunk(number) for number in range(job.chunks)])
        good, bad = scan.filter(pl.col(REASON) == ""), scan.filter(pl.col(REASON) != "")
        answered = int(good.select(pl.len()).collect().item())
        quarantined, hidden = job.rows - answered, [LOOKED] if job.plan.views else []
        if quarantined:
            _sink(bad.drop(*_outputs(version, job.plan.options), RULES, *hidden), parts.quarantine)
        if job.texts and parts.out.suffix == ".parquet":
            good = good.with_columns(_numbers(version, scan.collect_schema().names()))
        _sink(good.drop(REASON, *hidden), parts.out)
        report = BatchReport(
            id=job.id,
            deployment=job.request.deployment,
            model_version=version.number,
            source=job.request.source,
            out=job.request.out,
            rows=job.rows,
            answered=answered,
            quarantined=quarantined,
            quarantine=str(parts.quarantine) if quarantined else "",
            logged=job.request.log,
            started_at=job.started_at,
            ended_at=self._clock.now(),
        )
        parts.finish(report)
        return report


def _is_delta(request: BatchRequest) -> bool:
    return (Path(request.source) / "_delta_log").is_dir()


def _delta_id(request: BatchRequest) -> str:
    """The id that a Delta table has for life.

    Raises: Invalid: It can't be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        return f"delta {DeltaTable(request.source).metadata().id}"
    except DeltaError as reason:
        raise Invalid(f"not a Delta table: {str(reason)[:200]}", where=request.source) from None


def _is_file(request: BatchRequest) -> bool:
    return Path(request.source).suffix in SUFFIXES and not _is_delta(request)


def _check_schema(
    schema: pl.Schema, version: ModelVersion, request: BatchRequest, plan: EndpointPlan, *, texts: bool
) -> None:
    """Refuse a table that does not fit before a row is answered."""
    options, lookups = plan.options, [Lookup(view) for view in plan.views]
    may_miss = {rule.column for rule in options.rules if rule.when == "missing"}
    needed: dict[str, Feature] = {}
    for field in Features(version.inputs).fields:
        lookup = next((one for one in lookups if field.name in one.plan.names), None)
        if field.name in schema:
            needed[field.name] = field
        elif lookup is not None:
            needed |= {key.name: key for key in lookup.keys}
        elif not may_miss & {"", field.name}:
            needed[field.name] = field
    for name, field in needed.items():
        dtype = schema.get(name)
        if dtype is None:
            hint = did_you_mean(name, schema) or f"it has {', '.join(schema.names()[:20])}"
            raise Invalid(f"column {name!r} is missing", where=request.source, hint=hint)
        fits = dtype in (pl.String, pl.Categorical, pl.Enum) if field.kind == "text" else _is_numeric(dtype)
        if not texts and dtype != pl.Null and not fits:
            raise Invalid(f"column {name!r} is {dtype}", where=request.source, hint=f"expected {field.expects}")
    for name in (*request.keep, *([request.time_column] if request.time_column else [])):
        if name not in schema:
            hint = did_you_mean(name, schema.names())
            raise Invalid(f"there is no column {name!r}", where=request.source, hint=hint)
    kept = request.keep or schema.names()
    twice = [
        name
        for name in (*_outputs(version, options), ID, RULES, REASON, *([LOOKED] if lookups else []))
        if name in kept
    ]
    if twice:
        hint = "name the columns to keep with --keep, without it"
        raise Invalid(f"the output would have {twice[0]!r} twice", where=request.source, hint=hint)


def _outputs(version: ModelVersion, options: Options) -> tuple[str, ...]:
    """The columns of the answers."""
    beside = ("low", "high") if version.task == "regression" else (LABEL_SET,)
    return (*OUTPUTS[version.task], *(beside if options.interval else ()))


def _is_numeric(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def _numbers(version: ModelVersion, there: list[str]) -> list[pl.Expr]:
    """The inputs of a CSV as what they were read as; every answered row has one."""
    kinds = {"float": pl.Float64, "int": pl.Int64}
    wanted = {f.name: kinds[kind_of(f.dtype)] for f in version.inputs if kind_of(f.dtype) in kinds and f.name in there}
    text = {name: pl.col(name).str.strip_chars().cast(pl.Float64, strict=False) for name in wanted}
    return [text[name].cast(dtype) for name, dtype in wanted.items()]


def _sink(rows: pl.LazyFrame, path: Path) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    if path.suffix == ".csv":
        lists = [name for name, dtype in rows.collect_schema().items() if isinstance(dtype, pl.List)]
        plain = [pl.format("[{}]", pl.col(n).cast(pl.List(pl.String)).list.join(", ")).alias(n) for n in lists]
        rows.with_columns(plain).sink_csv(part)
    else:
        rows.sink_parquet(part)
    settle(part, path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the kernel lets it go on any death."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Conflict("this batch runs already", where=str(folder), hint="wait for it, or stop that process") from None
    try:
        yield
    finally:
        os.close(handle)


def _answer(parts: Parts, job: Job, processes: int, engine: EngineName, tell: Told, cluster: str) -> None:
    """Answer the chunks that are not there yet."""
    todo = [number for number in range(job.chunks) if not parts.chunk(number).exists()]
    done = job.chunks - len(todo)
    tell(done, job.chunks)
    if not todo:
        return
    if engine == "ray":
        from mainspring.serving.batch.onray import answer_on_ray

        def say(count: int) -> None:
            tell(done + count, job.chunks)

        answer_on_ray(parts, job, todo, processes, say, address=cluster)
        return
    if processes == 1:
        scorer = Scorer(parts, job)
        for count, number in enumerate(todo, start=1):
            scorer(number)
            tell(done + count, job.chunks)
        return
    crew = _Crew(parts, min(processes, len(todo)))
    crew.answer(todo, lambda: Scorer(parts, job), lambda count: tell(done + count, job.chunks))


class _Crew:
    """Processes that answer chunks, this one among them, each the next one that nobody has.

    To start one takes seconds, in which this one answers; it gets its first chunk when it can begin.
    """

    def __init__(self, parts: Parts, processes: int) -> None:
        command = [sys.executable, "-m", "mainspring.serving.batch", str(parts.folder)]
        threads = str(max(1, len(os.sched_getaffinity(0)) // processes))
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
        environ = dict.fromkeys(names, threads) | os.environ
        self._workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
            for _ in range(processes - 1)
        ]
        self._lock = threading.Lock()
        self._todo: Iterator[int] = iter(())
        self._done = 0
        self._dead = 0

    def answer(self, todo: list[int], scorer: Callable[[], Scorer], tell: Callable[[int], None]) -> None:
        """Return when all of them are there. `scorer` makes who answers in this process."""
        self._todo = iter(todo)
        threads = [threading.Thread(target=self._feed, args=(worker,), daemon=True) for worker in self._workers]
        try:
            for thread in threads:
                thread.start()
            self._work(scorer(), tell)
            while self._done < len(todo) and any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(0.1)
                tell(self._done)
        finally:
            for worker in self._workers:
                worker.terminate()
                worker.wait()
                for pipe in (worker.stdin, worker.stdout):
                    if pipe is not None:
                        with suppress(BrokenPipeError):
                            pipe.close()
        if self._done < len(todo):
            hint = "what it said is above; the same command goes on where it was"
            raise Failed(f"{self._dead} processes that answered died", where="batch", hint=hint)

    def _next(self) -> int | None:
        with self._lock:
            return next(self._todo, None)

    def _work(self, scorer: Scorer, tell: Callable[[int], None]) -> None:
        while (number := self._next()) is not None:
            scorer(number)
            with self._lock:
                self._done += 1
            tell(self._done)

    def _feed(self, worker: subprocess.Popen[str]) -> None:
        assert worker.stdin is not None
        assert worker.stdout is not None
        is_ready = worker.stdout.readline() != ""
        while is_ready and (number := self._next()) is not None:
            try:
                worker.stdin.write(f"{number}\n")
                worker.stdin.flush()
                is_ready = worker.stdout.readline() != ""
            except (OSError, ValueError):
                is_ready = False
            with self._lock:
                self._done += is_ready
        if not is_ready:
            with self._lock:
                self._dead += 1
