"""The house: every service of one data folder, built when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping

from mainspring.access import Access, Audit, EventLog
from mainspring.core.caller import Caller, adopt
from mainspring.core.clock import SystemClock
from mainspring.core.settings import Settings, fill, load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.engines import ProcessEngine
from mainspring.gates import Gates
from mainspring.governance import Governance
from mainspring.loop import Loop
from mainspring.loop.judging import GateWork
from mainspring.loop.model import Policy, policies_of
from mainspring.loop.service import GATE_JOB, QUEUE
from mainspring.monitoring import Monitoring
from mainspring.monitoring.model import MonitorSpec
from mainspring.pipelines.service import KIND as PIPELINE_JOB
from mainspring.pipelines.service import QUEUE as PIPELINE_QUEUE
from mainspring.pipelines.service import Pipelines
from mainspring.pipelines.worker import Worker, check_hold
from mainspring.registry import Registry
from mainspring.registry.provenance import Provenance
from mainspring.registry.removal import Removal as RegistryRemoval
from mainspring.registry.searching import ModelSearch
from mainspring.registry.webhooks import Courier, Webhooks
from mainspring.serving import Serving
from mainspring.serving.log import holds_predictions
from mainspring.serving.modelserver.plan import read_plan
from mainspring.serving.probe import Probe
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage import open_tables
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Blobs, Delta, Journal, Queue, QueueControl, Tables
from mainspring.storage.queue import SqlQueue
from mainspring.tracking import Files, LoggedModels, Search, Tracking
from mainspring.tracking.arrivals import Arrivals
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.histories import Histories
from mainspring.tracking.inputs import Inputs
from mainspring.tracking.lifecycle import Runs
from mainspring.tracking.removal import Removal as TrackingRemoval
from mainspring.tracking.traces import Traces
from mainspring.tracking.views import Views
from mainspring.upkeep import Upkeep
from mainspring.upkeep.service import Remover
from mainspring.upkeep.tables import TableKeeper

OPENER = "mainspring.server.house:open_house"
"""How a child process opens the same house."""
CLOCK = SystemClock()


def open_house(settings: Settings | None = None) -> Wiring:
    """Open the data folder of `settings` (default: those of the working folder), and bring its schema up to date.

    What is heavy is imported when a room first needs it.

    Raises:
        Invalid: A setting is wrong.
        Unavailable: The database or the object store does not answer.
    """
    settings = settings or load()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    adopt(Caller(project=settings.project.name))
    wiring = Wiring()
    wiring.add(Settings, lambda w: settings)
    _add_storage(wiring, settings)
    _add_rooms(wiring, settings)
    _add_loop(wiring, settings)
    wiring.add(Upkeep, lambda w: _upkeep(w, settings))
    wiring.get(Tables).migrate()  # type: ignore[type-abstract]
    return wiring


def _add_storage(wiring: Wiring, settings: Settings) -> None:
    place, folder = settings.storage, settings.data_dir
    wiring.add(Tables, lambda w: open_tables(place.db, folder))  # type: ignore[type-abstract]
    wiring.add(Journal, lambda w: SqlJournal(_tables(w), CLOCK))  # type: ignore[type-abstract]
    wiring.add(Queue, lambda w: SqlQueue(_tables(w)))  # type: ignore[type-abstract]
    wiring.add(Blobs, lambda w: open_blobs(place.blobs, folder))  # type: ignore[type-abstract]
    wiring.add(Delta, lambda w: open_delta(place.blobs, folder))  # type: ignore[type-abstract]


def _tables(w: Wiring) -> Tables:
    return w.get(Tables)  # type: ignore[type-abstract]


def _journal(w: Wiring) -> Journal:
    return w.get(Journal)  # type: ignore[type-abstract]


def _queue(w: Wiring) -> Queue:
    return w.get(Queue)  # type: ignore[type-abstract]


def _blobs(w: Wiring) -> Blobs:
    return w.get(Blobs)  # type: ignore[type-abstract]


def _delta(w: Wiring) -> Delta:
    return w.get(Delta)  # type: ignore[type-abstract]


def _add_rooms(wiring: Wiring, settings: Settings) -> None:
    folder = settings.data_dir
    wiring.add(Access, lambda w: Access())
    wiring.add(Audit, lambda w: Audit(tables=_tables(w), journal=_journal(w), clock=CLOCK, folder=folder / "audit"))
    wiring.add(EventLog, lambda w: EventLog(tables=_tables(w)))
    wiring.add(
        Data, lambda w: Data(tables=_tables(w), journal=_journal(w), delta=_delta(w), blobs=_blobs(w), clock=CLOCK)
    )
    wiring.add(Tracking, lambda w: Tracking(tables=_tables(w), journal=_journal(w), clock=CLOCK))
    wiring.add(Search, lambda w: Search(tables=_tables(w), clock=CLOCK))
    wiring.add(Views, lambda w: Views(tables=_tables(w), journal=_journal(w), clock=CLOCK))
    wiring.add(Files, lambda w: _files(w, settings))
    wiring.add(Traces, lambda w: Traces(tables=_tables(w), journal=_journal(w), clock=CLOCK))
    wiring.add(LoggedModels, lambda w: LoggedModels(tables=_tables(w), journal=_journal(w), clock=CLOCK))
    wiring.add(Arrivals, lambda w: Arrivals(tables=_tables(w), journal=_journal(w), clock=CLOCK))
    wiring.add(Experiments, lambda w: Experiments(tables=_tables(w), journal=_journal(w), clock=CLOCK))
    wiring.add(Inputs, lambda w: Inputs(tables=_tables(w)))
    wiring.add(Histories, lambda w: Histories(tables=_tables(w)))
    wiring.add(Runs, lambda w: Runs(tables=_tables(w), journal=_journal(w), clock=CLOCK))
    wiring.add(Pipelines, lambda w: _pipelines(w, settings))
    wiring.add(Registry, lambda w: _registry(w, settings))
    wiring.add(ModelSearch, lambda w: ModelSearch(tables=_tables(w), clock=CLOCK))
    wiring.add(
        Provenance,
        lambda w: Provenance(
            registry=w.get(Registry), tracking=w.get(Tracking), inputs=w.get(Inputs), data=w.get(Data)
        ),
    )
    wiring.add(Webhooks, lambda w: _webhooks(w, settings))
    wiring.add(Courier, lambda w: Courier(w.get(Webhooks), tables=_tables(w), journal=_journal(w), queue=_queue(w)))
    wiring.add(Governance, lambda w: _governance(w))
    wiring.add(Gates, lambda w: _gates(w, settings))
    wiring.add(Serving, lambda w: _serving(w, settings))
    monitor = fill(MonitorSpec, _section(settings, "monitor"), where="monitor")
    options = ServerOptions(settings.server.host, settings.serving_port, settings.serving.workers)
    wiring.add(Supervisor, lambda w: Supervisor(w.get(Serving).folder, options, prepare=w.get(Serving).write_plan))
    wiring.add(Monitoring, lambda w: _monitoring(w, monitor))


def _files(w: Wiring, settings: Settings) -> Files:
    return Files(
        tables=_tables(w),
        journal=_journal(w),
        blobs=_blobs(w),
        clock=CLOCK,
        scratch=settings.data_dir / "uploads",
        limit_bytes=settings.storage.max_file_mb * 1024**2,
    )


def _section(settings: Settings, name: str) -> Mapping[str, object]:
    found = settings.tables.get(name, {})
    return found if isinstance(found, Mapping) else {}


def _pipelines(w: Wiring, settings: Settings) -> Pipelines:
    return Pipelines(
        tables=_tables(w),
        journal=_journal(w),
        queue=_queue(w),
        blobs=_blobs(w),
        scratch=settings.data_dir / "scratch",
        clock=CLOCK,
        data=w.get(Data),
        tracking=w.get(Tracking),
        wiring=w,
        house=OPENER,
        house_env=settings.environ(),
        root=settings.root,
        lease_s=settings.loop.lease_s,
    )


def _registry(w: Wiring, settings: Settings) -> Registry:
    folder = settings.data_dir
    made = Registry(tables=_tables(w), journal=_journal(w), blobs=_blobs(w), clock=CLOCK, folder=folder)
    made.tell_judges(lambda model, version: w.get(Gates).objections(model, version))
    made.tell_users(lambda model, version: w.get(Serving).users(model, version))
    made.tell_cards(lambda model, version: w.get(Governance).words(model, version))
    made.grants.tell_changes(lambda: w.get(Serving).write_plan())
    return made


def _webhooks(w: Wiring, settings: Settings) -> Webhooks:
    return Webhooks(
        tables=_tables(w),
        journal=_journal(w),
        queue=_queue(w),
        clock=CLOCK,
        registry=w.get(Registry),
        folder=settings.data_dir,
        allow_local=settings.webhooks.allow_local,
    )


def _governance(w: Wiring) -> Governance:
    return Governance(
        tables=_tables(w),
        journal=_journal(w),
        blobs=_blobs(w),
        data=w.get(Data),
        tracking=w.get(Tracking),
        registry=w.get(Registry),
        clock=CLOCK,
    )


def _gates(w: Wiring, settings: Settings) -> Gates:
    gates = Gates(
        tables=_tables(w),
        journal=_journal(w),
        registry=w.get(Registry),
        data=w.get(Data),
        sections=_section(settings, "gate"),
        clock=CLOCK,
    )
    gates.answer_through(Probe(w.get(Registry)))
    return gates


def _serving(w: Wiring, settings: Settings) -> Serving:
    return Serving(
        tables=_tables(w),
        journal=_journal(w),
        delta=_delta(w),
        registry=w.get(Registry),
        clock=CLOCK,
        folder=settings.data_dir / "serving",
        durability=settings.serving.durability,
    )


def _monitoring(w: Wiring, spec: MonitorSpec) -> Monitoring:
    return Monitoring(
        tables=_tables(w),
        journal=_journal(w),
        data=w.get(Data),
        registry=w.get(Registry),
        serving=w.get(Serving),
        clock=CLOCK,
        spec=spec,
    )


def _add_loop(wiring: Wiring, settings: Settings) -> None:
    policies = policies_of(settings.tables.get("policy", {}))
    wiring.add(Loop, lambda w: _loop(w, settings, policies))
    wiring.add(Worker, lambda w: _worker(w, settings))


def _loop(w: Wiring, settings: Settings, policies: Mapping[str, Policy]) -> Loop:
    return Loop(
        tables=_tables(w),
        journal=_journal(w),
        queue=_queue(w),
        clock=CLOCK,
        data=w.get(Data),
        tracking=w.get(Tracking),
        pipelines=w.get(Pipelines),
        registry=w.get(Registry),
        governance=w.get(Governance),
        gates=w.get(Gates),
        serving=w.get(Serving),
        monitoring=w.get(Monitoring),
        policies=policies,
        enabled=settings.loop.enabled,
        dry_run=settings.loop.dry_run,
        apply_traffic=lambda: _apply(w.get(Supervisor)),
    )


def _upkeep(w: Wiring, settings: Settings) -> Upkeep:
    return Upkeep(
        tables=_tables(w),
        journal=_journal(w),
        queue=_queue(w),
        blobs=_blobs(w),
        clock=CLOCK,
        settings=settings.retention,
        removers=_removers(w),
        keeper=lambda: TableKeeper(_delta(w), w.get(Data).pinned, holds_predictions, check_hold),
        pause=check_hold,
    )


def _removers(w: Wiring) -> tuple[Remover, ...]:
    """What each room removes for good; versions go before the runs and files they were made of."""
    versions = RegistryRemoval(tables=_tables(w), journal=_journal(w))
    runs = TrackingRemoval(tables=_tables(w), journal=_journal(w))
    queue = w.get(Queue)  # type: ignore[type-abstract]
    jobs = Remover(
        lambda before: {"jobs": _control(queue).prune(before, dry_run=True)},
        lambda before, pause: {"jobs": _control(queue).prune(before)},
        grace="jobs",
    )
    return Remover(versions.count, versions.remove), Remover(runs.count, runs.remove), jobs


def _control(queue: Queue) -> QueueControl:
    assert isinstance(queue, QueueControl)
    return queue


def _apply(supervisor: Supervisor) -> None:
    """Wait until the model server routes by the newest plan; where none runs there is nothing to wait for."""
    if supervisor.pid is not None:
        supervisor.apply(read_plan(supervisor.folder).generation)


def _worker(w: Wiring, settings: Settings) -> Worker:
    gate = GateWork(engine=ProcessEngine(), opener=OPENER, cwd=settings.root, env=settings.environ())
    pipelines = w.get(Pipelines)
    return Worker(
        _tables(w),
        _queue(w),
        {PIPELINE_JOB: pipelines.work_once, GATE_JOB: gate},
        queues=(PIPELINE_QUEUE, QUEUE),
        threads=settings.loop.workers,
        lease_s=settings.loop.lease_s,
        chores=(pipelines.settle,),
    )
