"""Champion and challenger on logged traffic: a version answers a window of the log once more before it sees a user."""

from __future__ import annotations

import contextvars
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from mainspring.core.caller import caller
from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Conflict, Failed, Invalid, MainspringError, NotFound, Refused
from mainspring.core.ids import new_id
from mainspring.registry import check_usable
from mainspring.serving import records
from mainspring.serving.comparing import ANSWERED, comparisons, paired
from mainspring.serving.events import ReplayEnded
from mainspring.serving.model import Deployment, Replay
from mainspring.serving.modelserver.plan import EndpointPlan, Limits, Plan, write_plan
from mainspring.serving.steering import TrafficDesk

if TYPE_CHECKING:
    import polars as pl

    from mainspring.registry import ModelVersion

Told = Callable[[int, int], None]
"""Gets how many rows are answered, and how many there are."""
MOST_ROWS = 1_000_000
_CHUNK_ROWS = 2_000
_LOST_US = 120_000_000
_LAST_WORDS = 300


def _quiet(done: int, of: int) -> None:
    """Tells nobody."""


class ReplayDesk(TrafficDesk):
    """The part of serving that puts logged traffic to a version."""

    def replay(
        self,
        name: str,
        version: int | str,
        *,
        since: int | None = None,
        until: int | None = None,
        limit: int = 100_000,
        tell: Told = _quiet,
    ) -> Replay:
        """Ask a version what users asked, and compare what it says with what they got. No user is part of it.

        It answers in a process of its own, by the checks, rules and model code of the model server. What users sent
        is taken from the log, so that a version which needs a column that is not there is refused.

        Args:
            name: The endpoint.
            version: Number or alias.
            since: Earliest event time, microseconds.
            until: First event time that is left out.
            limit: Most rows, the newest of them.
            tell: Hears how far it is.
        Raises:
            NotFound: No such deployment or version, or nothing is logged in that time.
            Invalid: The limit is out of range.
            Refused: The version can't answer, needs a column that is not logged, or an input is redacted.
            Failed: The version could not be loaded, or took its process down.
            Conflict: It was cancelled.
        """
        made, rows = self._begin_replay(name, version, since, until, limit)
        return self._run_replay(made, rows, tell)

    def start_replay(
        self, name: str, version: int | str, *, since: int | None = None, until: int | None = None, limit: int = 100_000
    ) -> Replay:
        """The same beside: returns at once, and how far it is can be asked for.

        Raises: As `replay`, until it begins.
        """
        made, rows = self._begin_replay(name, version, since, until, limit)

        def work() -> None:
            with suppress(MainspringError):  # it is on record
                self._run_replay(made, rows, _quiet)

        context = contextvars.copy_context()
        threading.Thread(target=lambda: context.run(work), name=f"replay-{made.id}", daemon=True).start()
        return made

    def replays(self, name: str = "", *, limit: int = 100) -> list[Replay]:
        """Replays of an endpoint, or of all, newest first."""
        with self._tables.read() as conn:
            return [self._seen_now(entry) for entry in records.list_replays(conn, deployment=name, limit=limit)]

    def find_replay(self, replay_id: str) -> Replay:
        """One replay.

        Raises:
            NotFound: No such replay.
        """
        with self._tables.read() as conn:
            for found in records.list_replays(conn, replay_id=replay_id, limit=1):
                return self._seen_now(found)
        raise NotFound(f"no replay {replay_id!r}", where="replays", hint="mainspring replay ls DEPLOYMENT")

    def cancel_replay(self, replay_id: str) -> Replay:
        """End a replay before its time, whoever runs it. One that ended stays as it is.

        Raises:
            NotFound: No such replay.
        """
        self.find_replay(replay_id)
        self._end_replay(replay_id, state="cancelled", reason=f"by {caller().actor}")
        return self.find_replay(replay_id)

    def _seen_now(self, found: Replay) -> Replay:
        """A replay whose process is gone without a word has failed."""
        if found.state == "running" and self._clock.now() - found.beat_at > _LOST_US:
            return replace(found, state="failed", reason="its process ended without a word")
        return found

    def _begin_replay(
        self, name: str, version: int | str, since: int | None, until: int | None, limit: int
    ) -> tuple[Replay, pl.DataFrame]:
        import polars as pl

        if not 1 <= limit <= MOST_ROWS:
            raise Invalid(f"a replay of {limit} rows", where="limit", hint=f"use 1 to {MOST_ROWS}")
        live = self.get(name)
        found = check_usable(self._registry.get(live.model, version))
        self._check_options(live.options, found)
        hidden = sorted(set(live.options.redact) & set(found.columns))
        if hidden:
            raise Refused(f"{hidden[0]!r} is redacted, so the log has none", where=live.ref, hint="shadow it instead")
        self.compact()
        asked = self.predictions(name, since, until).filter((pl.col("status") < 400) | (pl.col("status") == 500))
        newest = asked.top_k(limit, by=pl.col("event_at")).select(*ANSWERED, "at", "event_at", "inputs").collect()
        rows = newest.unique("id", keep="first", maintain_order=True).sort("event_at", "id")
        if not rows.height:
            raise NotFound("nothing is logged in that time", where=live.ref, hint="take another window")
        self._check_logged(live, found, newest)
        logged = {field.name for field in rows.schema["inputs"].fields}  # type: ignore[attr-defined]  # a struct
        free = {rule.column for rule in live.options.rules if rule.when == "missing"}
        lacking = [name for name in found.columns if name not in logged and not free & {"", name}]
        if lacking:
            raise Refused(f"{lacking[0]!r} is not in the log", where=found.ref, hint="shadow it instead")
        now = self._clock.now()
        made = Replay(new_id(), name, found.number, since, until, "running", rows.height, now, now, caller().actor)
        with self._tables.write() as conn:
            records.add_replay(conn, made)
        return made, rows

    def _check_logged(self, live: Deployment, version: ModelVersion, rows: pl.DataFrame) -> None:
        """Refuse rows that were logged while an input of a version was redacted: it would be asked something else."""
        if not rows.height:
            return
        first, last = cast(int, rows["at"].min()), cast(int, rows["at"].max())
        with self._tables.read() as conn:
            gone = sorted(records.redacted(conn, live.name, first, last) & set(version.columns))
        if gone:
            what = f"{gone[0]!r} was redacted in a part of that time, so the log has none"
            raise Refused(what, where=live.ref, hint="take a time after that, or shadow it instead")

    def _run_replay(self, made: Replay, rows: pl.DataFrame, tell: Told) -> Replay:
        import polars as pl

        from mainspring.serving.counting import labels_frame

        try:
            with self._replay_process(made) as ask:
                said = list(self._answers(made, rows, ask, tell))
            answers = pl.concat(said)
            before = (
                rows.drop("model_us").join(answers.select("id", "before_us"), on="id").rename({"before_us": "model_us"})
            )
            after = answers.with_columns(pl.lit("").alias("key"))
            report = tuple(comparisons(paired(before, after), labels_frame(self.labels(made.deployment))))
        except MainspringError as error:
            self._end_replay(made.id, state="failed", reason=error.what)
            raise
        except BaseException as reason:
            broken = not isinstance(reason, Exception)
            what = "it was broken off" if broken else f"{type(reason).__name__}: {reason}"
            self._end_replay(made.id, state="cancelled" if broken else "failed", reason=what)
            raise
        self._end_replay(made.id, state="done", done=rows.height, report=report, digest=_digest(report))
        return self.find_replay(made.id)

    def _answers(
        self, made: Replay, rows: pl.DataFrame, ask: Callable[[pl.DataFrame], pl.DataFrame], tell: Told
    ) -> Iterator[pl.DataFrame]:
        tell(0, rows.height)
        for start in range(0, rows.height, _CHUNK_ROWS):
            with self._tables.write() as conn:
                beat = self._clock.now()
                if not records.change_replay(conn, made.id, only_in=["running"], done=start, beat_at=beat):
                    raise Conflict("the replay was cancelled", where=made.ref, hint="replay it again")
            part = rows.slice(start, _CHUNK_ROWS)
            yield ask(part.select("id", "inputs"))
            tell(start + part.height, rows.height)

    @contextmanager
    def _replay_process(self, made: Replay) -> Iterator[Callable[[pl.DataFrame], pl.DataFrame]]:
        """Answers rows in a process that is there from the first ones on, while the block runs."""
        folder = self.folder / "replays" / made.id
        process: _Process | None = None

        def ask(rows: pl.DataFrame) -> pl.DataFrame:
            nonlocal process
            process = process or _Process(self._plan_of(made), folder)
            return process.ask(rows)

        try:
            yield ask
        finally:
            if process is not None:
                process.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _plan_of(self, made: Replay) -> Plan:
        """The version, and the champion beside it."""
        arms = [self.planned(made.deployment, made.version), self.planned(made.deployment)]
        both = EndpointPlan(name="replay", arms=[plan.arms[0] for plan in arms], options=arms[0].options)
        return Plan(endpoints=[both], limits=Limits(max_rows=_CHUNK_ROWS), public_key=self.public_key)

    def _end_replay(self, replay_id: str, **values: object) -> None:
        with self._tables.write() as conn:
            ended = self._clock.now()
            if not records.change_replay(conn, replay_id, only_in=["running"], ended_at=ended, **values):
                return
            (found,) = records.list_replays(conn, replay_id=replay_id)
            if found.state == "done":
                verdicts = {str(entry.against): entry.verdict for entry in found.report}
                fact = ReplayEnded(
                    subject=found.ref,
                    deployment=found.deployment,
                    version=found.version,
                    rows=found.rows,
                    verdicts=verdicts,
                    digest=found.digest,
                )
                self._journal.append(conn, fact)


class _Process:
    """A process that answers chunks of rows, see `replayer`."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        folder.mkdir(parents=True)
        write_plan(folder, plan)
        self._folder = folder
        self._number = -1
        command = [sys.executable, "-m", "mainspring.serving.replayer", str(folder)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def ask(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What it says to them. Raises: Failed: It died."""
        import polars as pl

        from mainspring.serving.replayer import asked_of, said_of

        self._number += 1
        asked, said = asked_of(self._folder, self._number), said_of(self._folder, self._number)
        rows.write_parquet(asked)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{self._number}\n")
            self._process.stdin.flush()
        if not self._process.stdout.readline():
            words = _last_words(self._folder / "log")
            raise Failed(f"the version took its process down: {words}", where=str(self._folder))
        found = pl.read_parquet(said)
        asked.unlink()
        said.unlink()
        return found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _digest(report: object) -> str:
    """Of what a replay found, as it is stored and given out."""
    return digest(canonical_json(msgspec.to_builtins(report)))


def _last_words(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return lines[-1][:_LAST_WORDS] if lines else "it said nothing"
