"""The verbs of tracking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.tracking.batches import Batch, Batches
from mainspring.tracking.lifecycle import Runs, no_run, place_of, writable
from mainspring.tracking.model import (
    CodeState,
    Curve,
    Environment,
    Experiment,
    InputDataset,
    Metric,
    ModelUse,
    Packed,
    Run,
    RunChange,
    RunStart,
)
from mainspring.tracking.records import experiments, inputs, points, runs
from mainspring.tracking.rules import (
    MAX_TAG,
    MAX_VALUE,
    Row,
    check_experiment,
    check_rows,
    check_texts,
    rows_of,
)

if TYPE_CHECKING:
    from mainspring.storage.ports import Journal, Tables


class Tracking:
    """Keeps runs: params, tags, metrics, and the code, environment and data they came from."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock
        self._batches = Batches(tables=tables, journal=journal)
        self._runs = Runs(tables=tables, journal=journal, clock=clock)

    def create_run(
        self,
        experiment: str,
        *,
        name: str = "",
        parent: str = "",
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        code: CodeState | None = None,
        environment: Environment | None = None,
        seed: int | None = None,
        run_id: str = "",
        started_at: int = 0,
        status: str = "running",
    ) -> Run:
        """Start a run. With a `run_id` that is known, that run is given back.

        Args:
            experiment: Made when there is none of this name.
            name: Made up when absent.
            parent: Id of the run it is part of.
            tags: Set with it.
            params: Likewise; those of a run that is known stay as they are.
            code: What it was started from.
            environment: Where it runs.
            seed: What randomness was started with.
            run_id: Chosen by the client, so that sending it twice makes one run.
            started_at: When a client that could not ask started it, microseconds UTC; 0 = now.
            status: "finished", "failed" or "killed" for one that is told when it has ended, which is now.
        Raises:
            Invalid: The experiment's name or the id is malformed, or the run would be its own parent.
            Conflict: The id belongs to a run of another project.
            NotFound: There is no run `parent`.
        """
        check_experiment(experiment)
        start = RunStart(
            experiment,
            name=name,
            parent=parent,
            tags=tags or {},
            params=params or {},
            code=code,
            environment=environment,
            seed=seed,
            run_id=run_id,
            started_at=started_at or None,
            status=status,
        )
        return self._runs.start(start, parent_is_here=True)

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Store metrics, params and tags of a run: all of them or none. Sending the same batch again changes nothing.

        Raises:
            NotFound: No such run.
            Conflict: A param has another value already, or the run was deleted.
            Invalid: A name that can't be used.
            TooLarge: More than 1000 points.
        """
        self.submit_batch(run_id, metrics=metrics, params=params, tags=tags).result()

    def submit_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Future[None]:
        """As `log_batch`, but without waiting: the future resolves once the batch is committed, or with the error.

        Raises:
            Overloaded: Too many batches wait to be stored.
        """
        rows = rows_of(metrics, self._clock.now())
        return self.submit_rows(run_id, rows, params=params, tags=tags)

    def submit_rows(
        self,
        run_id: str,
        rows: Sequence[Row] = (),
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        change: RunChange | None = None,
        measured: Mapping[ModelUse, Sequence[Metric]] | None = None,
    ) -> Future[None]:
        """As `submit_batch`, for points as they are stored.

        Args:
            run_id: The run.
            rows: The points.
            params: Written once.
            tags: Overwritten.
            change: What else becomes of the run, in the same transaction.
            measured: Which of the points were measured of which model on which dataset.
        Raises:
            Invalid: A name, a step or a time that can't be stored.
            TooLarge: More than 1000 points.
            Overloaded: Too many batches wait to be stored.
        """
        params, tags = params or {}, tags or {}
        check_rows(rows)
        check_texts(params, "param", MAX_VALUE)
        check_texts(tags, "tag", MAX_TAG)
        project, now = caller().project, self._clock.now()
        batch = Batch(project, run_id, rows, params, tags, change, measured or {}, now)
        return self._batches.submit(batch)

    def finish(self, run_id: str, status: str = "finished", *, ended_at: int = 0) -> Run:
        """End a run as finished, failed or killed. Ending it the same way again changes nothing.

        Args:
            run_id: The run.
            status: How it ended.
            ended_at: When, as a client knows it that could not say so then; 0 = now.
        Raises:
            NotFound: No such run.
            Conflict: It ended in another way.
        """
        return self._runs.finish(run_id, status, ended_at)

    def end(self, run_id: str, status: str = "finished") -> None:
        """As `finish`, for whoever has no use for the run: a third of the statements.

        Raises:
            NotFound: No such run.
            Conflict: It ended in another way.
        """
        self._runs.end(run_id, status)

    def resume(self, run_id: str) -> Run:
        """Open a run that ended, so that it is running again. One that is running stays as it is.

        Raises:
            NotFound: No such run.
            Conflict: It was deleted.
        """
        self._runs.change(run_id, RunChange(status="running"))
        return self.get(run_id)

    def get(self, run_id: str) -> Run:
        """One run with all that is known of it.

        Raises:
            NotFound: No such run.
        """
        with self._tables.read() as conn:
            found = runs.find_run(conn, caller().project, run_id)
        if found is None:
            raise no_run(run_id)
        return found

    def experiments(self) -> list[Experiment]:
        """Experiments by name, with how many runs they have."""
        with self._tables.read() as conn:
            return experiments.list_all(conn, caller().project)

    def history(self, run_id: str, key: str) -> list[Metric]:
        """Every point of a metric in the order of step, time and value; none when it was never logged.

        Raises:
            NotFound: No such run.
        """
        return self.curve(run_id, key).points()

    def curve(self, run_id: str, key: str) -> Curve:
        """As `history`, by columns: much faster for many points.

        Raises:
            NotFound: No such run.
        """
        return self.packed(run_id, key).curve()

    def packed(self, run_id: str, key: str) -> Packed:
        """As `curve`, in bytes: no object a point.

        Raises:
            NotFound: No such run.
        """
        with self._tables.read() as conn:
            return points.packed(conn, place_of(conn, caller().project, run_id)[0], key)

    def latest(self, run_id: str) -> tuple[str, dict[str, Metric]]:
        """The status of a run and the latest point of each of its metrics: what changes while it runs, and cheap.

        Raises:
            NotFound: No such run.
        """
        with self._tables.read() as conn:
            number = place_of(conn, caller().project, run_id)[0]
            return runs.status_of(conn, number), points.latest_of(conn, [number]).get(number, {})

    def log_input(self, run_id: str, dataset_ref: str, context: str = "training") -> None:
        """Note that a run read a dataset version.

        Raises:
            NotFound: No such run.
        """
        with self._tables.write() as conn:
            number, owner = writable(conn, caller().project, run_id)
            inputs.add(conn, number, owner, InputDataset.of(dataset_ref), context)
