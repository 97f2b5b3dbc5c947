"""The loop at work: one turn gathers what happened, decides on every event, and does what was decided."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring.core.caller import Caller, caller, calling
from mainspring.core.canonical import digest
from mainspring.core.clock import Clock
from mainspring.core.errors import Invalid, MainspringError, NotFound, Refused, did_you_mean
from mainspring.core.events import Event
from mainspring.loop import policies, records
from mainspring.loop.chain import trace
from mainspring.loop.events import AlarmSkipped, CycleEnded, CycleMoved, CycleStarted, PolicySwitched
from mainspring.loop.model import OPEN_STATES, Cycle, Policy, Switch, Turn, Why
from mainspring.storage.jobs import NewJob

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.data import Data
    from mainspring.gates import Gates, Verdict
    from mainspring.governance import Governance
    from mainspring.monitoring import Monitoring
    from mainspring.pipelines import Pipelines
    from mainspring.registry import Registry
    from mainspring.serving import Serving
    from mainspring.storage.ports import Journal, Queue, Tables
    from mainspring.tracking import Tracking

log = logging.getLogger("mainspring.loop")
CONSUMER = "loop"
QUEUE = "loop"
GATE_JOB = "loop.gate"
ALL = "*"


class Loop:
    """Turns events into actions by the policies of the project.

    Args:
        policies: By name, from `mainspring.toml`.
        apply_traffic: Called after traffic changed; returns once the model servers route by it.
        project: Whose events policies act on; "" is everybody's.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        queue: Queue,
        clock: Clock,
        data: Data,
        tracking: Tracking,
        pipelines: Pipelines,
        registry: Registry,
        governance: Governance,
        gates: Gates,
        serving: Serving,
        monitoring: Monitoring,
        policies: Mapping[str, Policy],
        enabled: bool = True,
        dry_run: bool = False,
        apply_traffic: Callable[[], None] = lambda: None,
        project: str = "",
    ) -> None:
        self.tables, self.journal, self.queue, self.clock = tables, journal, queue, clock
        self.data, self.tracking, self.pipelines = data, tracking, pipelines
        self.registry, self.governance = registry, governance
        self.gates, self.serving, self.monitoring = gates, serving, monitoring
        self._enabled, self._dry_run = enabled, dry_run
        self._apply_traffic = apply_traffic
        self._project = project
        self._turning = threading.Lock()
        self.declare(policies)

    def declare(self, policies: Mapping[str, Policy]) -> None:
        """Act by these policies from now on.

        Raises:
            NotFound: One of them names a gate that is not declared.
        """
        for policy in policies.values():
            self.gates.spec(policy.gate)
        self.policies = dict(policies)

    # what people ask

    def policy(self, name: str) -> Policy:
        """The policy with this name.

        Raises:
            NotFound: There is none.
        """
        if name in self.policies:
            return self.policies[name]
        hint = did_you_mean(name, self.policies) or f"add [policy.{name}] to mainspring.toml"
        raise NotFound(f"no policy {name!r}", where="mainspring.toml", hint=hint)

    def cycles(self, deployment: str = "", *, states: Sequence[str] = ()) -> list[Cycle]:
        """Cycles, newest first, at most 100."""
        with self.tables.read() as conn:
            return records.find_cycles(conn, deployment=deployment, states=states)

    def cycle(self, cycle_id: str) -> Cycle:
        """One cycle.

        Raises:
            NotFound: There is none with this id.
        """
        with self.tables.read() as conn:
            found = records.find_cycle(conn, cycle_id)
        if found is None:
            raise NotFound(f"no cycle {cycle_id!r}", hint="mainspring loop ls")
        return found

    def switches(self) -> list[Switch]:
        """How policies are switched; a policy that is not named is on."""
        with self.tables.read() as conn:
            return records.find_switches(conn)

    def switch(self, policy: str, *, enabled: bool, reason: str = "") -> Switch:
        """Switch one policy, or all with `*`, on or off. Takes effect before the next decision.

        Off, nothing is started, gated, deployed or promoted; a canary keeps its share, and harm still rolls it back.
        """
        if policy != ALL:
            self.policy(policy)
        made = Switch(policy, enabled, reason, self.clock.now(), caller().actor)
        with self.tables.write() as conn:
            records.put_switch(conn, made)
            self.journal.append(conn, PolicySwitched(subject=f"policies/{policy}", enabled=enabled, reason=reason))
        return made

    def acts(self, policy: str) -> bool:
        """Whether the policy decides on anything: neither it nor all are switched off."""
        return self._acts(policy, self.switches())

    def _acts(self, policy: str, switches: Sequence[Switch]) -> bool:
        off = {switch.policy for switch in switches if not switch.enabled}
        return self._enabled and not off & {ALL, policy}

    def start(self, name: str, *, reason: str, key: str = "", as_of: int = 0) -> Cycle:
        """Begin a cycle by hand: train, gate, then deploy or canary.

        Args:
            key: Starting twice with the same key is starting once.
            as_of: Event time of the data that may be used, microseconds; 0 = now.
        Raises:
            Invalid: A cycle of the deployment is open.
            Refused: The policy is switched off.
        """
        with self.tables.write() as conn:
            return self.begin(conn, name, reason=reason, key=key, as_of=as_of)

    def begin(self, conn: Connection, name: str, *, reason: str, key: str = "", as_of: int = 0) -> Cycle:
        """Begin a cycle in the caller's transaction, as `start` does."""
        policy, at = self.policy(name), as_of or self.clock.now()
        cycle_id = digest(f"{caller().project}/{name}/by hand/{key or at}".encode())[:32]
        known = records.find_cycle(conn, cycle_id)
        if known is not None:
            return known
        if not self._acts(name, records.find_switches(conn)):
            raise Refused(policies.OFF, where=f"policy.{name}", hint=f"mainspring loop on {name}")
        if records.find_cycles(conn, deployment=policy.deployment, states=OPEN_STATES):
            raise Invalid(f"a cycle of {policy.deployment} is open", where=f"policy.{name}", hint="mainspring loop ls")
        return self._begin(conn, policy, cycle_id, reason, at, trigger_seq=0, params={})

    def is_stopped(self, conn: Connection) -> bool:
        """Whether all of the loop is switched off, by the settings or by hand."""
        return not self._acts(ALL, records.find_switches(conn))

    def cpu_seconds(self, ref: str) -> float:
        """What a pipeline run, or the training of a cycle, took so far: the CPU time of its steps that have ended."""
        kind, _, name = ref.partition("/")
        try:
            run = self.pipelines.get(self.cycle(name).pipeline_run if kind == "cycles" else name)
        except NotFound:
            return 0.0
        return sum(step.cpu_s for step in run.steps if not step.source)

    def why(self, prediction_id: str) -> Why:
        """Why a prediction was what it was: version, run, data, verdicts, and the cycle that brought it.

        Raises:
            NotFound: There is no such prediction.
        """
        return trace(self, prediction_id)

    # one turn

    def turn(self) -> Turn:
        """Gather predictions and labels, look at the monitors, decide on every new event. Turns never overlap."""
        with self._turning:
            compacted = self.serving.compact()
            self.serving.note_workers()
            observed, alarms = 0, []
            for deployment in self.serving.deployments():
                self.monitoring.watch(deployment.name)
                observed += self.monitoring.observe(deployment.name)
                alarms += [alarm.id for alarm in self.monitoring.evaluate(deployment.name)]
            handled = self._handle_events()
            self._hold_canaries()
            if self.serving.settle():
                self._apply_traffic()
            handled += self._handle_events()
            return Turn(compacted, observed, handled, tuple(alarms), tuple(self.cycles(states=OPEN_STATES)))

    def news(self, after: int) -> tuple[int, bool]:
        """Whether an event after that one waits for a turn's decision, and the last event there is now.

        Args:
            after: What the last call gave; 0 at first. An event is news once: a turn that failed is not due at once.
        """
        last = self.journal.last()
        if last <= after:
            return after, False
        waiting = self.journal.read(max(after, self.journal.offset(CONSUMER)), kinds=policies.KINDS, limit=1)
        return last, bool(waiting)

    def _hold_canaries(self) -> None:
        """Canaries of policies that are switched off stay at their share until they act again; harm still ends them."""
        for cycle in self.cycles(states=("canary",)):
            found = self.serving.rollout(cycle.rollout)
            if self.acts(cycle.policy):
                if (found.state, found.reason) == ("paused", policies.OFF):
                    self.serving.resume(cycle.deployment, "the policy is switched on")
            elif found.state == "running":
                self.serving.pause(cycle.deployment, policies.OFF)

    def _handle_events(self) -> int:
        handled = 0
        while events := self.journal.read(self.journal.offset(CONSUMER), kinds=policies.KINDS, limit=100):
            for event in events:
                with calling(Caller(f"loop:{event.seq}", event.project, event.request_id)):
                    self._handle(event)
                handled += 1
        return handled

    def _handle(self, event: Event) -> None:
        # Policies name deployments of the project they are declared in; another one may use the same names.
        for policy in self.policies.values() if self._project in ("", event.project) else ():
            action = policies.decide(event, policy, self._situation(policy))
            if action is not None:
                log.info("loop.decided event=%s policy=%s action=%s", event.seq, policy.name, type(action).__name__)
                self._act(action, policy, event)
        with self.tables.write() as conn:
            self.journal.advance(conn, CONSUMER, event.seq)

    def _situation(self, policy: Policy) -> policies.Situation:
        live = {deployment.name: deployment.champion for deployment in self.serving.deployments()}
        return policies.Situation(
            self.acts(policy.name), live.get(policy.deployment), tuple(self.cycles(policy.deployment))
        )

    # what an action does; doing it twice is doing it once

    def _act(self, action: policies.Action, policy: Policy, event: Event) -> None:
        match action:
            case policies.StartCycle(reason, as_of):
                cycle_id = digest(f"{event.project}/{policy.name}/{event.seq}".encode())[:32]
                if self._dry_run or policy.dry_run:
                    self._note_dry_run(policy, cycle_id, reason, as_of, event)
                    return
                if self._find(cycle_id) is None:
                    with self.tables.write() as conn:
                        params = {"until": as_of}
                        self._begin(conn, policy, cycle_id, reason, as_of, trigger_seq=event.seq, params=params)
            case policies.SkipAlarm(reason):
                with self.tables.write() as conn:
                    self.journal.append(conn, AlarmSkipped(subject=event.subject, policy=policy.name, reason=reason))
            case policies.JudgeVersion(cycle, version, evaluation, label):
                payload = {"cycle": cycle.id, "version": version, "evaluation": evaluation, "label": label}
                with self.tables.write() as conn:
                    job = NewJob(queue=QUEUE, kind=GATE_JOB, payload=payload, id=f"gate-{cycle.id}")
                    self.queue.put(conn, job)
                    self._move(conn, cycle, "gating", f"version {version} against {evaluation}", version=version)
            case policies.DeployVersion(cycle, verdict):
                self._crown(cycle, reason=f"passed {policy.gate}; nothing was live")
                self._end(cycle, "deployed", f"version {cycle.version} is live", verdict=verdict)
            case policies.StartCanary(cycle, verdict):
                self._start_canary(cycle, policy, verdict)
            case policies.Crown(cycle):
                self._crown(cycle, reason=f"promoted by rollout {cycle.rollout}")
                self._end(cycle, "promoted", f"version {cycle.version} is the champion")
            case policies.EndCycle(cycle, outcome, note, verdict):
                self._end(cycle, outcome, note, **({"verdict": verdict} if verdict else {}))

    def _begin(
        self,
        conn: Connection,
        policy: Policy,
        cycle_id: str,
        reason: str,
        as_of: int,
        *,
        trigger_seq: int,
        params: Mapping[str, object],
    ) -> Cycle:
        run = self.pipelines.submit(policy.pipeline, {**policy.params, **params}, key=cycle_id, conn=conn)
        cycle = Cycle(
            id=cycle_id,
            policy=policy.name,
            deployment=policy.deployment,
            model=policy.model,
            state="training",
            reason=reason,
            trigger_seq=trigger_seq,
            as_of=as_of,
            started_at=self.clock.now(),
            pipeline_run=run,
        )
        records.add_cycle(conn, cycle)
        names = {"policy": policy.name, "deployment": policy.deployment}
        self.journal.append(conn, CycleStarted(subject=cycle.ref, reason=reason, as_of=as_of, **names))
        return cycle

    def _find(self, cycle_id: str) -> Cycle | None:
        with self.tables.read() as conn:
            return records.find_cycle(conn, cycle_id)

    def _note_dry_run(self, policy: Policy, cycle_id: str, reason: str, as_of: int, event: Event) -> None:
        if self._find(cycle_id) is not None:
            return
        now = self.clock.now()
        cycle = Cycle(
            cycle_id, policy.name, policy.deployment, policy.model, "dry_run", reason, event.seq, as_of, now, now
        )
        note = f"would have run {policy.pipeline}, then {policy.gate}, then a canary at {policy.canary_share:.0%}"
        with self.tables.write() as conn:
            records.add_cycle(conn, cycle)
            self.journal.append(conn, CycleEnded(subject=cycle.ref, policy=policy.name, outcome="dry_run", note=note))

    def _move(self, conn: Connection, cycle: Cycle, state: str, note: str, **values: object) -> None:
        records.change_cycle(conn, cycle.id, state=state, note=note, **values)
        self.journal.append(conn, CycleMoved(subject=cycle.ref, policy=cycle.policy, state=state, note=note))

    def _end(self, cycle: Cycle, outcome: str, note: str, **values: object) -> None:
        with self.tables.write() as conn:
            records.change_cycle(conn, cycle.id, state=outcome, note=note, ended_at=self.clock.now(), **values)
            self.journal.append(conn, CycleEnded(subject=cycle.ref, policy=cycle.policy, outcome=outcome, note=note))

    def _crown(self, cycle: Cycle, *, reason: str) -> None:
        version = _version_of(cycle)
        if self.registry.model(cycle.model).aliases.get("champion") != version:
            self.registry.set_alias(cycle.model, "champion", version, reason=reason)
        live = {deployment.name: deployment for deployment in self.serving.deployments()}.get(cycle.deployment)
        if live is None:
            self.serving.deploy(cycle.deployment, cycle.model, version, reason=reason)
        self._apply_traffic()
        self.monitoring.watch(cycle.deployment)

    def _start_canary(self, cycle: Cycle, policy: Policy, verdict: str) -> None:
        version = _version_of(cycle)
        rollout = self.serving.start_rollout(cycle.deployment, version, share=policy.canary_share)
        self._apply_traffic()
        with self.tables.write() as conn:
            note = f"version {version} gets {policy.canary_share:.0%} of the traffic"
            self._move(conn, cycle, "canary", note, rollout=rollout.id, verdict=verdict)

    # the gate's job

    def judge(self, cycle_id: str, version: int, evaluation: str, label: str) -> Verdict:
        """Put a version before the gate of its cycle's policy, beside the champion. Heavy: for a child process."""
        cycle = self.cycle(cycle_id)
        policy = self.policy(cycle.policy)
        live = {deployment.name: deployment for deployment in self.serving.deployments()}.get(cycle.deployment)
        champion = self.registry.get(cycle.model, live.champion) if live else None
        dataset, number = evaluation.removeprefix("datasets/").rsplit("/", 1)
        verdict = self.gates.evaluate(
            self.gates.spec(policy.gate),
            candidate=self.registry.get(cycle.model, version),
            champion=champion,
            frame=self.data.frame(dataset, int(number)).collect(),
            label=label,
            data_ref=evaluation,
            key=cycle_id,
        )
        self.governance.card(cycle.model, version)
        shown = {"gate": verdict.gate, "outcome": str(verdict.outcome), "reason": verdict.reason, "rows": verdict.n}
        self.governance.attach(cycle.model, version, "verdict", {"id": verdict.id, **shown})
        return verdict


def _version_of(cycle: Cycle) -> int:
    if cycle.version is None:
        raise MainspringError(f"cycle {cycle.id} has no version yet")
    return cycle.version
