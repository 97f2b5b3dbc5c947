"""The verbs of plans: find out what differs, make it so, and follow what others applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.caller import caller
from mainspring.core.clock import SECOND_US, Clock, iso
from mainspring.core.errors import Conflict, Fenced, Invalid, MainspringError, NotFound
from mainspring.core.ids import new_id
from mainspring.core.settings import Settings
from mainspring.core.values import dataclass
from mainspring.loop.events import PlanApplied
from mainspring.loop.model import policies_of
from mainspring.loop.planning import declared as files
from mainspring.loop.planning import rules
from mainspring.loop.planning.model import Applied, Change, Drift, Object, Plan
from mainspring.loop.planning.reading import read_declared
from mainspring.loop.records import plans as records
from mainspring.loop.records import triggers as trigger_records
from mainspring.loop.triggers.model import TriggerState, trigger_of
from mainspring.serving.modelserver.plan import Options

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.core.events import Event
    from mainspring.loop.service import Loop
    from mainspring.loop.triggers.service import Triggers
    from mainspring.serving import Deployment
    from mainspring.storage.ports import Journal, Tables

HOLD_US = 60 * SECOND_US
"""How long an apply that shows no sign of life keeps others waiting."""

_LOOK_BACK = 10_000


@dataclass(frozen=True, slots=True)
class Made:
    """What an apply did."""

    changes: tuple[Change, ...]
    serial: int


class Planner:
    """Plans and applies what the file declares.

    Args:
        tables: Where it is kept what was applied.
        journal: The event log.
        clock: Tells the time.
        loop: The policies, and the rooms below.
        triggers: Lets triggers live.
        read: Reads the settings file anew.
        project: Whose file it is.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        clock: Clock,
        loop: Loop,
        triggers: Triggers,
        read: Callable[[], Settings],
        project: str,
    ) -> None:
        self._tables, self._journal, self._clock = tables, journal, clock
        self._loop, self._triggers, self._read, self._project = loop, triggers, read, project
        self._followed = -1

    def plan(self, *, deep: bool = True) -> Plan:
        """What an apply would change.

        Args:
            deep: Import the pipelines that policies and triggers start, and draw them.
        Raises:
            Invalid: Something is declared wrong, with the place.
            NotFound: A pipeline, a policy or data that is named is not there.
        """
        reading = read_declared(self._read())
        said = files.declared(reading, self._loop.serving)
        with reading.placed():
            self._check_targets(reading.settings, deep=deep)
        with self._tables.read() as conn:
            serial, applied = records.serial_of(conn), records.list_applied(conn)
            states = trigger_records.list_triggers(conn)
        deployments = self._loop.serving.deployments()
        ruled = [each.object for each in applied if each.object.kind not in ("deployment", "trigger")]
        fired = [Object("trigger", state.trigger.name, state.trigger.to_json()) for state in states]
        served = [self._live(each, said) for each in deployments]
        live = [*ruled, *fired, *served]
        changes = rules.changes(said, live, self._waits(said, deployments))
        drifts = [*self._drifted(changes, applied, served), *self._switched(), *_paused(states)]
        state = rules.state_digest(serial, [*ruled, *fired, *map(_whole, deployments)])
        return Plan(caller().project, serial, state, self._clock.now(), changes, tuple(drifts))

    def apply(self, plan: Plan, *, prune: bool = False) -> Made:
        """Make what is declared live: each object whole or not at all, in an order in which none lacks what it needs.

        Args:
            plan: What `plan` found; nothing may have moved since.
            prune: Take away what the file does not say any more.
        Raises:
            Conflict: Something moved since the plan was made, or somebody else is applying.
            Fenced: This apply showed no sign of life for so long that another one began.
            MainspringError: An object could not be made so; those before it are.
        """
        work = plan.work(prune=prune)
        if plan.project != caller().project:
            hint = f"go to the folder of {plan.project}"
            raise Conflict(f"the plan is for project {plan.project}", where="project", hint=hint)
        if not work:
            return Made((), plan.serial)
        with self._holding(plan) as holder:
            self._check_unmoved(plan)
            for position, change in enumerate(work):
                try:
                    self._make(change, holder)
                except MainspringError as error:
                    hint = f"{position} of {len(work)} are done; mend this, then: mainspring apply"
                    where = f"{change.kind}.{change.name}"
                    raise type(error)(error.what, where=where, hint=error.hint or hint) from None
        self.follow()
        return Made(tuple(work), plan.serial + len(work))

    def follow(self) -> bool:
        """Go by what was applied last, by this process or another. True when something was new."""
        with self._tables.read() as conn:
            serial = records.serial_of(conn)
            if serial == self._followed or (serial == 0 and self._followed == -1):
                return False
            found = records.list_applied(conn)
        self._loop.gates.declare(records.sections(found, "gate"))
        self._loop.declare(policies_of(records.sections(found, "policy")))
        self._followed = serial
        return True

    def applied(self) -> list[Event]:
        """The newest things that were applied, newest first, at most 50."""
        last = self._journal.last()
        found = self._journal.read(max(0, last - _LOOK_BACK), kinds=(PlanApplied.kind,), project=caller().project)
        return found[-50:][::-1]

    # what lives

    def _live(self, found: Deployment, said: list[Object]) -> Object:
        """A deployment as far as the file speaks of it."""
        wanted = next((each.spec for each in said if each.key == ("deployment", found.name)), {})
        if not wanted.get("model"):
            return Object("deployment", found.name, files.spec_of(found.options))
        version = str(wanted["version"])
        shown = version if self._number(found.model, version) == found.champion else str(found.champion)
        return Object("deployment", found.name, files.spec_of(found.options, found.model, shown))

    def _number(self, model: str, version: str) -> int | None:
        try:
            return self._loop.registry.get(model, int(version) if version.isdecimal() else version).number
        except (NotFound, Invalid):
            return None

    def _waits(self, said: list[Object], deployments: list[Deployment]) -> dict[rules.Key, str]:
        known = {each.name for each in deployments}
        waits: dict[rules.Key, str] = {}
        for each in said:
            if each.kind != "deployment" or each.name in known:
                continue
            model, version = str(each.spec.get("model", "")), str(each.spec.get("version", ""))
            if not model:
                waits[each.key] = f"nothing answers there yet: mainspring deploy MODEL --name {each.name}"
            elif self._number(model, version) is None:
                waits[each.key] = f"model {model} has no version {version} yet"
        return waits

    def _drifted(self, changes: tuple[Change, ...], applied: list[Applied], live: list[Object]) -> Iterator[Drift]:
        known, now = {each.object.key: each for each in applied}, {each.key: each for each in live}
        for each in changes:
            key = (each.kind, each.name)
            if each.kind != "deployment" or each.action != "update":
                continue
            last = known.get(key, Applied(each.object, "", 0))
            newest = self._loop.serving.history(each.name, limit=1)
            by, at = (newest[0].actor, newest[0].at) if newest else ("", 0)
            found = rules.drifted(last, now[key], by=by, at=at)
            if found is not None:
                yield found

    def _switched(self) -> Iterator[Drift]:
        for switch in self._loop.switches():
            if not switch.enabled:
                told = f": {switch.reason}" if switch.reason else ""
                yield Drift("policy", switch.policy, f"switched off{told}", switch.by, switch.at, is_undone=False)

    def _check_targets(self, settings: Settings, *, deep: bool) -> None:
        pipelines = self._loop.pipelines
        for policy in files.policies(settings).values():
            try:
                if deep:
                    pipelines.load(policy.pipeline).draw(policy.params)
                else:
                    pipelines.find(policy.pipeline)
            except (Invalid, NotFound) as reason:
                where = f"policy.{policy.name}.pipeline"
                raise type(reason)(reason.what, where=where, hint=reason.hint) from None
        for trigger in files.triggers(settings).values():
            if trigger.policy:
                continue  # it is declared beside, which is looked at when triggers are read
            try:
                self._triggers.check(trigger, deep=deep)
            except (Invalid, NotFound) as reason:
                raise type(reason)(reason.what, where=f"{trigger.where}.pipeline", hint=reason.hint) from None

    # making it so

    @contextmanager
    def _holding(self, plan: Plan) -> Iterator[str]:
        """The right to apply, for one at a time."""
        holder = new_id()
        with self._tables.write() as conn:
            now = self._tables.now(conn)
            taken = records.take_hold(conn, holder, serial=plan.serial, now=now, until=now + HOLD_US)
            other = None if taken else records.holder_of(conn, now)
        if other is not None:
            by, at = other
            hint = "wait until it is done, then plan again"
            raise Conflict(f"{by} is applying since {iso(at)[:19]}", where="apply", hint=hint)
        if not taken:
            raise self._moved(plan)
        try:
            yield holder
        finally:
            with self._tables.write() as conn:
                records.end_hold(conn, holder)

    def _check_unmoved(self, plan: Plan) -> None:
        with self._tables.read() as conn:
            serial, applied = records.serial_of(conn), records.list_applied(conn)
            states = trigger_records.list_triggers(conn)
        ruled = [each.object for each in applied if each.object.kind not in ("deployment", "trigger")]
        fired = [Object("trigger", state.trigger.name, state.trigger.to_json()) for state in states]
        live = [*ruled, *fired, *map(_whole, self._loop.serving.deployments())]
        if rules.state_digest(serial, live) != plan.state:
            raise self._moved(plan)

    def _moved(self, plan: Plan) -> Conflict:
        with self._tables.read() as conn:
            applied = [each for each in records.list_applied(conn) if each.at >= plan.made_at]
        moved = [f"{each.object.kind} {each.object.name} by {each.by} at {iso(each.at)[:19]}" for each in applied]
        moved += [
            f"deployment {each.name} at {iso(each.updated_at)[:19]}"
            for each in self._loop.serving.deployments()
            if each.updated_at >= plan.made_at
        ]
        told = f": {', '.join(moved[:5])}" if moved else ""
        what = f"something moved since the plan was made at {iso(plan.made_at)[:19]}{told}"
        return Conflict(what, where="plan", hint="mainspring plan, look at it, then: mainspring apply")

    def _make(self, change: Change, holder: str) -> None:
        """Change one object and note that it was applied, in one transaction."""

        def note(conn: Connection) -> None:
            self._keep(conn, holder, steps=1)
            if change.action == "delete":
                records.drop_applied(conn, change.object)
            else:
                records.put_applied(conn, Applied(change.object, caller().actor, self._clock.now()))
            settings = tuple(each.name for each in change.differences)
            fact = PlanApplied(subject=change.object.ref, object=change.kind, action=change.action, settings=settings)
            self._journal.append(conn, fact)

        if change.kind == "deployment":
            with self._tables.write() as conn:  # what is prepared before its transaction may take long
                self._keep(conn, holder, steps=0)
            self._serve(change, note)
            return
        with self._tables.write() as conn:
            if change.kind == "trigger" and change.action == "delete":
                self._triggers.withdraw(conn, change.name)
            elif change.kind == "trigger":
                self._triggers.declare(conn, trigger_of(change.name, change.spec))
            note(conn)

    def _keep(self, conn: Connection, holder: str, *, steps: int) -> None:
        until = self._tables.now(conn) + HOLD_US
        if not records.keep_hold(conn, holder, until=until, steps=steps):
            hint = "mainspring plan shows what is left to do"
            raise Fenced("another apply began, for this one stood still too long", where="apply", hint=hint)

    def _serve(self, change: Change, note: Callable[[Connection], None]) -> None:
        spec = {key: value for key, value in change.spec.items() if key not in files.WHOSE}
        options, serving = msgspec.convert(spec, Options), self._loop.serving
        model, version = str(change.spec.get("model", "")), str(change.spec.get("version", ""))
        live = next((each for each in serving.deployments() if each.name == change.name), None)
        wanted = int(version) if version.isdecimal() else version
        if model and (live is None or self._number(model, version) != live.champion):
            serving.deploy(change.name, model, wanted, reason="applied", options=options, noting=note)
        else:
            serving.configure(change.name, options, reason="applied", noting=note)


def _paused(states: list[TriggerState]) -> Iterator[Drift]:
    for state in states:
        if state.is_paused:
            told = f": {state.paused_why}" if state.paused_why else ""
            name = state.trigger.name
            yield Drift("trigger", name, f"paused{told}", state.paused_by, state.paused_at, is_undone=False)


def _whole(found: Deployment) -> Object:
    """A deployment with all that a plan depends on."""
    return Object("deployment", found.name, files.spec_of(found.options, found.model, str(found.champion)))
