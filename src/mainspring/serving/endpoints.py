"""Endpoints: deploy, look, the model server's plan, and the log of predictions."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace as replace_struct

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict, NotFound, Refused, did_you_mean
from mainspring.core.ids import check_name
from mainspring.registry import check_usable, folder_name
from mainspring.serving import records
from mainspring.serving.calibration import Calibrations
from mainspring.serving.environments import Environments
from mainspring.serving.events import Deployed, PackagesDiffered, TrafficChanged
from mainspring.serving.log import PERSONAL, Compactor, table_of
from mainspring.serving.model import Arm, Deployment, Shadow, Traffic, TrafficChange
from mainspring.serving.modelserver import tally
from mainspring.serving.modelserver.columns import kind_of
from mainspring.serving.modelserver.plan import (
    HEADER,
    SHADOW,
    SPOOLS,
    ArmPlan,
    EndpointPlan,
    Input,
    Limits,
    Options,
    Plan,
    RoutePlan,
    ShadowPlan,
    options_of,
    read_plan,
    write_plan,
)
from mainspring.serving.rules.humility import check_rules
from mainspring.serving.seen import SeenStore
from mainspring.serving.viewing import Viewing, check_redacted

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

    from mainspring.data import Data, FeatureViews
    from mainspring.registry import ModelVersion, Registry
    from mainspring.serving.skew import SkewReport
    from mainspring.storage.ports import Delta, Journal, Tables

_PATIENCE_S = 2.0
Noting = Callable[["Connection"], None]


def _nothing(_conn: Connection) -> None:
    """What nobody else writes."""


class _Known(NamedTuple):
    """What a plan says of versions, by endpoint and number."""

    arms: Mapping[tuple[str, int], ArmPlan] = {}
    inputs: Mapping[tuple[str, int], list[Input]] = {}

    @classmethod
    def of(cls, plan: Plan) -> _Known:
        return cls(
            {(entry.name, number): arm for entry in plan.endpoints for number, arm in entry.versions.items()},
            {(entry.name, shadow.arm.version): shadow.inputs for entry in plan.endpoints for shadow in entry.shadows},
        )


class Endpoints:
    """Endpoints, their traffic and their predictions. Safe to share between threads.

    The row of a deployment is the truth; the model server's plan is made from the rows after every change, and again
    by `write_plan` when a server starts.

    Args:
        tables: Where rows are kept.
        journal: The event log.
        delta: Where predictions are kept, in the tables "predictions/ENDPOINT".
        registry: Knows and unpacks versions.
        clock: Tells the time.
        folder: The plan folder of the model server.
        durability: "fsync" or "process", see the model server's spool.
        limits: What each worker of the model server takes on.
        data: Knows what versions were trained on, for rules that go by it.
        views: Knows the feature views that inputs are looked up in.
        declared: The sections `[deployment.NAME]` of the settings, by name: the options of an endpoint.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        delta: Delta,
        registry: Registry,
        clock: Clock,
        folder: Path,
        durability: str = "fsync",
        limits: Limits | None = None,
        data: Data | None = None,
        views: FeatureViews | None = None,
        declared: Mapping[str, object] | None = None,
    ) -> None:
        self._tables = tables
        self._journal = journal
        self._delta = delta
        self._registry = registry
        self._clock = clock
        self._durability = durability
        self._limits = limits or Limits()
        self._planned = -1
        self.folder = folder
        self._declared = dict(declared or {})
        self._environments = Environments(folder / "environments")
        self._viewing = Viewing(views)
        self._seen = SeenStore(folder / "seen", data)
        self._calibrations = Calibrations(folder / "calibrations", registry, data)
        self._compactor = Compactor(folder / SPOOLS, delta, self._on_rows)

    def deploy(
        self,
        name: str,
        model: str,
        version: int | str,
        *,
        reason: str = "",
        options: Options | None = None,
        noting: Noting = _nothing,
    ) -> Deployment:
        """Put a version behind an endpoint: the first one, or a direct switch of all traffic.

        Args:
            name: The endpoint.
            model: Whose version.
            version: Number or alias.
            reason: Kept in the history.
            options: How it answers, from now on; None takes what the settings declare, else leaves it as it is.
            noting: What is written in the same transaction; where it raises, nothing is deployed.
        Raises:
            NotFound: No such model, version or feature view, or nothing was made of the view for lookups.
            Invalid: An input is to be redacted that the version does not take, or a rule or a view does not fit it.
            Conflict: A rollout is under way, or the endpoint belongs to another model.
            Refused: The version lacks what it takes to answer, or it takes another type for a column than the
                predictions logged so far.
        """
        check_name(name, "deployment")
        found = check_usable(self._registry.get(model, version))
        self._check_columns(name, found)
        wanted = self._viewing.pinned(self._calibrations.pinned(options or self.options(name)))
        self._check_options(wanted, found)
        names = self._registry.names(model)
        with self._tables.write() as conn:
            before = records.find_deployment(conn, name, lock=True)
            if before is not None and before.model not in names:
                raise Conflict(
                    f"{name!r} serves the model {before.model!r}", where=before.ref, hint="deploy under another name"
                )
            self._check_free(conn, name)
            self._registry.hold(conn, model, found.number)
            now = self._clock.now()
            endpoint = before.endpoint if before else records.free_endpoint(conn, name)
            created = before.created_at if before else now
            traffic = before.traffic.all_to(found.number) if before else Traffic.only(found.number)
            made = Deployment(name, endpoint, found.model, traffic, created, now, wanted)
            made = self._change(conn, made, reason)
            champion = before.champion if before else None
            fact = Deployed(subject=made.ref, model=found.model, version=found.number, before=champion, reason=reason)
            self._journal.append(conn, fact)
            noting(conn)
        self.write_plan()
        return made

    def configure(self, name: str, options: Options, *, reason: str = "", noting: Noting = _nothing) -> Deployment:
        """Let an endpoint answer in another way, with the traffic it has; `noting` as for `deploy`.

        Raises:
            NotFound: No such deployment, or no such feature view.
            Invalid: The options do not fit a version behind it.
            Conflict: A rollout is under way.
        """
        live = self.get(name)
        wanted = self._viewing.pinned(self._calibrations.pinned(options))
        for number in sorted(live.traffic.versions):
            self._check_options(wanted, self._registry.get(live.model, number))
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            self._check_free(conn, name)
            made = self._change(conn, replace(live, options=wanted, updated_at=self._clock.now()), reason)
            noting(conn)
        self.write_plan()
        return made

    def kept_options(self, name: str, section: object) -> Options:
        """The options that a section `[deployment.NAME]` comes to, with the versions of data that they name.

        Raises:
            Invalid: A setting is not right.
            NotFound: No such feature view or dataset.
        """
        return self._viewing.pinned(self._calibrations.pinned(options_of(section, f"deployment.{name}")))

    def options(self, name: str) -> Options:
        """How an endpoint answers when nothing else is said: as the settings declare, else as it does now.

        Raises:
            Invalid: The settings are not right.
        """
        with self._tables.read() as conn:
            return self._options(name, records.find_deployment(conn, name))

    def _options(self, name: str, before: Deployment | None) -> Options:
        if name in self._declared:
            return options_of(self._declared[name], f"deployment.{name}")
        return before.options if before else Options()

    def _fitting(self, live: Deployment, version: int | str) -> ModelVersion:
        """A version of the endpoint's model that can answer there as its versions do.

        Raises:
            NotFound: No such version.
            Invalid: The endpoint's options do not fit it.
            Refused: It lacks what it takes to answer, or takes another kind of value for a column than is in the log.
        """
        found = check_usable(self._registry.get(live.model, version))
        self._check_columns(live.name, found)
        self._check_options(live.options, found)
        return found

    def _check_options(self, options: Options, version: ModelVersion) -> None:
        self._viewing.check(options, version)
        check_redacted(options.redact, version, [*self._viewing.entities(options), *self._elsewhere(options, version)])
        if options.process == "own" and self._environments.why(version):
            self._environments.make(version)
        if options.interval is not None:
            self._calibrations.of(version, options.interval)
        if options.rules:
            seen = self._seen.of(version)
            check_rules(options.rules, version.inputs, task=version.task, classes=version.classes, seen=seen)

    def _elsewhere(self, options: Options, version: ModelVersion) -> list[str]:
        """Inputs to redact that other versions of the model take: one without them may follow one with them."""
        missing = set(options.redact) - set(version.columns)
        others = self._registry.versions(version.model) if missing else []
        return sorted(missing & {column for other in others for column in other.columns})

    def _on_rows(self, endpoint: str, rows: pl.DataFrame) -> None:
        """Look at rows of the log before they are moved to their table; after a kill they may come again."""

    def get(self, name: str) -> Deployment:
        """One deployment.

        Raises:
            NotFound: There is none of that name.
        """
        with self._tables.read() as conn:
            return self._find(conn, name)

    def deployments(self) -> list[Deployment]:
        """All deployments of the project by name."""
        with self._tables.read() as conn:
            return records.list_deployments(conn)

    def projects(self) -> list[str]:
        """Projects that have a deployment, whoever asks: for who looks after all of them."""
        with self._tables.read() as conn:
            return records.projects(conn)

    def users(self, model: str, version: int | None = None) -> list[str]:
        """References of the deployments that serve a model, or one version of it."""
        found = [entry for entry in self.deployments() if entry.model == model]
        if version is not None:
            found = [entry for entry in found if version in entry.traffic.versions]
        return [entry.ref for entry in found]

    def history(self, name: str, *, limit: int = 100) -> list[TrafficChange]:
        """The traffic of an endpoint, newest first."""
        with self._tables.read() as conn:
            return records.history(conn, name, limit=limit)

    def live_at(self, name: str, at: int) -> TrafficChange | None:
        """The traffic of an endpoint at a time (wall clock, microseconds), and since when; None before its first.

        Exactly one entry of the history holds at any time: the times of an endpoint's changes strictly grow. The model
        server follows a change within a moment; which version gave an answer is in the log, row by row.

        Raises:
            NotFound: There is no such deployment.
        """
        with self._tables.read() as conn:
            self._find(conn, name)
            return records.traffic_at(conn, name, at)

    def compact(self) -> int:
        """Move what the model server logged to the tables of predictions. Returns how many rows moved.

        Another process that is at it is waited for, so that who reads next finds what was answered a moment ago.
        """
        return self._compactor.run(wait_s=_PATIENCE_S)

    def predictions(self, name: str, since: int | None = None, until: int | None = None) -> pl.LazyFrame:
        """Predictions of an endpoint with event time in [since, until), lazily; call `compact` for the newest.

        Raises:
            NotFound: There is no such deployment, or nothing was predicted yet.
        """
        import polars as pl

        table = table_of(self.get(name).endpoint)
        try:
            frame = self._delta.scan(table)
        except NotFound:
            raise NotFound(
                "no prediction is logged yet", where=f"deployments/{name}", hint=f"mainspring predict {name} ROW.json"
            ) from None
        frame = frame if since is None else frame.filter(pl.col("event_at") >= since)
        return frame if until is None else frame.filter(pl.col("event_at") < until)

    def skew(
        self,
        name: str,
        since: int | None = None,
        until: int | None = None,
        *,
        tolerance: float = 1e-9,
        most: int = 100_000,
    ) -> SkewReport:
        """Compare what was looked up for predictions with what the point-in-time join says of those moments.

        Args:
            name: The endpoint.
            since: Earliest event time, microseconds; None from the beginning.
            until: First event time that is left out; None to the end.
            tolerance: Numbers that differ by no more than this part of the larger one, or of 1, are the same.
            most: So many predictions are compared, the newest.
        Raises:
            NotFound: There is no such deployment, or nothing was predicted yet.
        """
        from mainspring.serving.skew import skew_of

        self.compact()
        log, redact = self.predictions(name, since, until), self.get(name).options.redact
        return skew_of(name, log, self._viewing.views, tolerance=tolerance, redact=redact, most=most)

    def asked(self, found: Deployment, version: ModelVersion) -> ModelVersion:
        """A version with the inputs that a request to a deployment brings: entities where inputs are looked up."""
        return self._viewing.asked(found.options, version)

    def metrics(self) -> str:
        """What all workers of the model server counted, as Prometheus reads it."""
        return tally.text_of(self.folder)

    def planned(self, name: str, version: int | None = None) -> EndpointPlan:
        """What the model server would serve at an endpoint if one version had all of its traffic; default the live one.

        Raises:
            NotFound: No such deployment or version.
        """
        found = self.get(name)
        number = version or found.champion
        if version is not None:
            self._check_options(found.options, check_usable(self._registry.get(found.model, number)))
        return self._endpoint(caller().project, replace(found, traffic=Traffic.only(number)), _Known())

    @property
    def public_key(self) -> str:
        """The key that packages are signed with, as hex."""
        return self._registry.public_key.hex()

    def log_rows(self, name: str, rows: pl.DataFrame, *, app: str, batch: int) -> bool:
        """Add rows to the log of an endpoint, once for each batch number of an app. Returns whether they were new."""
        endpoint = self.get(name).endpoint
        self._on_rows(endpoint, rows)
        return self._delta.append(table_of(endpoint), rows, app=app, batch=batch, personal=PERSONAL) is not None

    def write_plan(self, *, fresh: bool = True) -> int:
        """Make the model server's plan from the rows of all projects.

        Args:
            fresh: Ask the registry about every version again. Without it what the plan says of a version stays, which
                is quick however many endpoints there are: for a change of shares alone.
        Returns: Its generation.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "plan.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two writers: the second reads the rows after the first one's file
            before = read_plan(self.folder)
            with self._tables.read() as conn:
                rows = records.every_endpoint(conn)
            known = _Known() if fresh else _Known.of(before)
            plan = Plan(
                generation=before.generation,
                endpoints=[self._endpoint(*row, known) for row in rows],
                durability=self._durability,
                limits=self._limits,
                public_key=self._registry.public_key.hex(),
            )
            if plan == before:
                return before.generation
            plan = Plan(**{name: getattr(plan, name) for name in Plan.__struct_fields__ if name != "generation"},
                        generation=before.generation + 1)  # fmt: skip
            write_plan(self.folder, plan)
            return plan.generation

    def _endpoint(self, project: str, found: Deployment, known: _Known) -> EndpointPlan:
        with calling(Caller(caller().actor, project)):
            beside = (Arm(HEADER, number, 0.0) for number in found.traffic.routed_only)
            arms = [self._arm(found, arm, known) for arm in (*found.traffic.arms, *beside)]
            shadows = [self._shadow(found, shadow, known) for shadow in found.traffic.shadows]
            views = self._viewing.plans(found.options)
        return EndpointPlan(
            name=found.endpoint,
            arms=arms,
            salt=found.traffic.salt,
            rollout=found.traffic.rollout,
            sticky=found.traffic.sticky,
            options=found.options,
            shadows=shadows,
            routes=[RoutePlan(header=r.header, value=r.value, version=r.version) for r in found.traffic.routes],
            views=views,
        )

    def _shadow(self, of: Deployment, shadow: Shadow, known: _Known) -> ShadowPlan:
        arm = self._arm(of, Arm(SHADOW, shadow.version, shadow.share), known)
        inputs = known.inputs.get((of.endpoint, shadow.version))
        if inputs is None:
            fields = self._registry.get(of.model, shadow.version).inputs
            inputs = [Input(name=field.name, dtype=field.dtype, size=field.size) for field in fields]
        return ShadowPlan(arm=arm, inputs=inputs)

    def _arm(self, of: Deployment, arm: Arm, known: _Known) -> ArmPlan:
        before = known.arms.get((of.endpoint, arm.version))
        if before is not None:
            return replace_struct(before, name=arm.name, share=arm.share)
        model, version = of.model, arm.version
        found = self._registry.get(model, version)
        digest, grant = found.digest, self._registry.permit(found)
        folder = self.folder / "models" / f"{folder_name(model)}-{version}-{digest[:16]}"
        if not folder.exists():
            self._registry.materialize(model, version, folder)
        seen = self._seen.of(found) if of.options.rules else {}
        interval = of.options.interval
        limit = None if interval is None else self._calibrations.of(found, interval)
        return ArmPlan(
            name=arm.name,
            version=version,
            share=arm.share,
            folder=str(folder),
            digest=digest,
            grant=grant,
            seen=seen,
            half_width=limit if found.task == "regression" else None,
            set_limit=None if found.task == "regression" else limit,
            means=self._seen.means(found),
            own=self._environments.own(of.options, found),
        )

    def _check_free(self, conn: Connection, name: str) -> None:
        """Refuse to take shares out of the hands of a rollout or bandit. Call it with the deployment locked."""
        where = f"deployments/{name}"
        if records.list_rollouts(conn, name, open_only=True):
            raise Conflict("a rollout is under way", where=where, hint=f"mainspring rollout rollback {name}")
        if records.list_bandits(conn, deployment=name, open_only=True):
            raise Conflict("a bandit steers the shares", where=where, hint=f"mainspring bandit stop {name}")

    def _find(self, conn: Connection, name: str, *, lock: bool = False) -> Deployment:
        found = records.find_deployment(conn, name, lock=lock)
        if found is None:
            known = [entry.name for entry in records.list_deployments(conn)]
            hint = did_you_mean(name, known) or f"mainspring deploy MODEL --name {name}"
            raise NotFound(f"no deployment {name!r}", where="deployments", hint=hint)
        return found

    def _change(self, conn: Connection, made: Deployment, reason: str) -> Deployment:
        """Store new traffic: row, history and event, in the caller's transaction.

        A clock that stands still or went back does not reach the history: every change is later than the one before.
        """
        made = replace(made, updated_at=max(made.updated_at, records.last_changed_at(conn, made.name) + 1))
        before = records.find_deployment(conn, made.name)
        is_alike = before is not None and before.options.process == made.options.process
        known = before.traffic.versions if before is not None and is_alike else frozenset()
        records.put_deployment(conn, made, reason=reason)
        traffic = made.traffic
        fact = TrafficChanged(
            subject=made.ref,
            shares={str(arm.version): arm.share for arm in traffic.arms},
            shadows={str(shadow.version): shadow.share for shadow in traffic.shadows},
            routes=tuple(route.text for route in traffic.routes),
            rollout=traffic.rollout,
            reason=reason,
        )
        self._journal.append(conn, fact)
        for version, why in self._differing(made, made.traffic.versions - known).items():
            self._journal.append(conn, PackagesDiffered(subject=made.ref, version=version, why=why))
        return made

    def differing(self, name: str) -> dict[int, str]:
        """How the packages here differ from those that versions of an endpoint were made with, by version.

        Versions that the packages here will do for are left out, and those that have an environment of their own.

        Raises:
            NotFound: No such deployment.
        """
        found = self.get(name)
        return self._differing(found, found.traffic.versions)

    def _differing(self, of: Deployment, versions: Iterable[int]) -> dict[int, str]:
        found = {
            version: self._environments.differs(of.options, self._registry.get(of.model, version))
            for version in sorted(versions)
        }
        return {version: why for version, why in found.items() if why}

    def _check_columns(self, name: str, version: ModelVersion) -> None:
        """Refuse a version that takes another kind of value for a column than what is in the log."""
        import polars as pl

        with self._tables.read() as conn:
            live = records.find_deployment(conn, name)
        table = table_of(live.endpoint) if live else ""
        if not table or self._delta.version(table) is None:
            return
        logged = self._delta.scan(table).collect_schema()["inputs"]
        fields = {field.name: field.dtype for field in logged.fields} if isinstance(logged, pl.Struct) else {}
        types = {"float": pl.Float64, "int": pl.Float64, "bool": pl.Boolean, "text": pl.String}
        for field in version.inputs:
            wanted, there = types[kind_of(field.dtype)], fields.get(field.name)
            if there is not None and there != wanted:
                raise Refused(
                    f"{field.name!r} is {field.dtype}, in the predictions logged so far it is {there}",
                    where=version.ref,
                    hint="deploy under another name",
                )
