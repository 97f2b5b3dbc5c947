"""The verbs of serving: on top of endpoints and feedback, rollouts: start, judge, advance, promote, roll back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from mainspring.core.errors import Conflict, Invalid, MainspringError, NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.serving import records
from mainspring.serving.bandits import BanditDesk
from mainspring.serving.events import (
    RolloutAdvanced,
    RolloutHeld,
    RolloutPaused,
    RolloutPromoted,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStarted,
)
from mainspring.serving.guards import trouble_of
from mainspring.serving.model import Deployment, Rollout, Traffic
from mainspring.serving.rules.decision import Action, Decision, Evidence, RolloutSpec, decide

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.core.events import Fact
    from mainspring.serving.gathering import Gatherer
    from mainspring.serving.model import StoredFeedback

log = logging.getLogger("mainspring.serving")
_NEWEST = 100_000


class Serving(BanditDesk):
    """Endpoints, what they answered, what people decided and what became known, and rollouts judged by that."""

    _alarms: Callable[[], Mapping[str, str]] = staticmethod(dict)

    def tell_alarms(self, ask: Callable[[], Mapping[str, str]]) -> None:
        """Have somebody above say which endpoints have an open alarm: the alarm's id by the deployment's name."""
        self._alarms = ask

    def alarms(self) -> Mapping[str, str]:
        """The newest open alarm by deployment; none where nothing watches."""
        return self._alarms()

    def start_rollout(
        self,
        name: str,
        version: int | str,
        *,
        share: float = 0.25,
        spec: RolloutSpec | None = None,
        reason: str = "",
    ) -> Rollout:
        """Give a version its first share of an endpoint's traffic. Started twice with one version, it is started once.

        Where several versions share the traffic, it takes its own from each in proportion, and is compared with the
        champion among them.

        Args:
            name: The endpoint.
            version: Number or alias.
            share: The canary's share of the traffic, in (0, 1).
            spec: How it is judged; the defaults when absent.
            reason: Kept in the history.
        Raises:
            NotFound: No such deployment or version.
            Conflict: Another version is on trial, this one has a share already, or a bandit steers the shares.
            Invalid: The share is out of range, or a rule is to be a bad event that the endpoint does not have.
            Refused: The version lacks what it takes to answer.
        """
        if not 0.0 < share < 1.0:
            raise Invalid(f"a canary gets a share between 0 and 1, not {share}", where="share", hint="--share 0.25")
        live = self.get(name)
        found = self._fitting(live, version)
        _check_bad_rules(spec or RolloutSpec(), [rule.name for rule in live.options.rules], name)
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            for other in records.list_rollouts(conn, name, open_only=True):
                if other.version == found.number:
                    return other
                raise Conflict(
                    f"version {other.version} is on trial", where=other.ref, hint=f"mainspring rollout status {name}"
                )
            self._check_free(conn, name)
            standing = {arm.version: arm.share for arm in live.traffic.arms}
            if found.number in standing:
                what = f"version {found.number} is live with {standing[found.number]:.0%} of the traffic"
                hint = f"roll out another version, or take its share: mainspring traffic set {name} ..."
                raise Conflict(what, where=live.ref, hint=hint)
            self._registry.hold(conn, live.model, found.number)
            now = self._clock.now()
            made = Rollout(new_id(), name, live.champion, found.number, share, 0, spec or RolloutSpec(), "running", now)
            made = replace(made, standing=standing if len(standing) > 1 else {})
            records.add_rollout(conn, made)
            traffic = live.traffic.split(live.champion, found.number, share, rollout=made.id, standing=made.standing)
            self._change(conn, replace(live, traffic=traffic, updated_at=now), reason or "canary")
            self._journal.append(
                conn,
                RolloutStarted(
                    subject=made.ref, deployment=name, version=found.number, champion=live.champion, share=share
                ),
            )
        self.write_plan()
        return made

    def champion_p99_us(self, name: str) -> int:
        """What 99 of 100 answers of the champion did not exceed, over its newest predictions, in microseconds.

        Raises:
            NotFound: No such deployment, or the champion answered nothing yet.
        """
        import polars as pl

        self.compact()
        champion = (pl.col("version") == self.get(name).champion) & (pl.col("status") < 400)
        newest = self.predictions(name).filter(champion).top_k(_NEWEST, by=pl.col("at"))
        found = newest.select(pl.col("latency_us").quantile(0.99, "higher")).collect().item()
        if found is None:
            raise NotFound("the champion answered nothing yet", where=f"deployments/{name}", hint="--latency-ms 50")
        return int(found)

    def rollout(self, rollout_id: str) -> Rollout:
        """One rollout.

        Raises:
            NotFound: No such rollout.
        """
        with self._tables.read() as conn:
            found = records.find_rollout(conn, rollout_id)
        if found is None:
            raise NotFound(f"no rollout {rollout_id!r}", where="rollouts", hint="mainspring rollout status DEPLOYMENT")
        return found

    def rollouts(self, name: str = "", *, open_only: bool = False, limit: int = 100) -> list[Rollout]:
        """Rollouts of a deployment, or of all, newest first."""
        with self._tables.read() as conn:
            return records.list_rollouts(conn, name, open_only=open_only, limit=limit)

    def judge(self, rollout_id: str) -> Decision:
        """What the stored predictions and labels say about a rollout. Changes nothing; the same rows, the same answer.

        Raises:
            NotFound: No such rollout.
        """
        found = self.rollout(rollout_id)
        self.compact()
        return decide(self._evidence(found), found.spec)

    def _evidence(self, found: Rollout) -> Evidence:
        endpoint = self.get(found.deployment).endpoint
        trouble = "" if found.is_final else trouble_of(self.folder, endpoint, found.spec, since=found.started_at)
        try:
            log = self.predictions(found.deployment)
        except NotFound:
            return Evidence(trouble=trouble)

        def labels(after: int) -> Iterator[StoredFeedback]:
            return self.labels(found.deployment, stored_since=found.started_at, after=after)

        return self._gatherer.evidence(found, log, labels, trouble=trouble)

    @cached_property
    def _gatherer(self) -> Gatherer:
        from mainspring.serving.gathering import Gatherer

        return Gatherer()

    def settle(self) -> list[Rollout]:
        """Carry every rollout as far as its evidence goes, give the versions of bandits their shares, and bring the
        plan of the model server up to date.

        Whoever was killed between a change and its plan is made up for here.

        Returns: The rollouts that moved.
        """
        moved = []
        for found in self.rollouts(open_only=True):
            try:
                now = self.advance(found.id)
            except MainspringError as error:  # one rollout that can't be judged must not keep the others waiting
                log.warning("rollout.not_judged rollout=%s code=%s what=%s", found.id, error.code, error.what)
                continue
            if (now.state, now.step) != (found.state, found.step):
                moved.append(now)
        self.learn_all()
        with self._tables.read() as conn:
            newest = records.last_change(conn)
        if newest != self._planned:
            self.write_plan()
            self._planned = newest
        return moved

    def advance(self, rollout_id: str) -> Rollout:
        """Judge a rollout and do what the judgement says: go on, next step, promote, roll back, or hold.

        Returns: The rollout as it is now, with the decision; `is_final` when it ended.
        Raises:
            NotFound: No such rollout.
        """
        found = self.rollout(rollout_id)
        if found.is_final:
            return found
        decision = self.judge(rollout_id)
        with self._tables.write() as conn:
            live = self._find(conn, found.deployment, lock=True)
            now = records.find_rollout(conn, rollout_id) or found
            if now.is_final or now.step != found.step:
                return now  # somebody else was faster
            if decision != now.decision:
                self._finish(conn, live, now, decision)
        after = self.rollout(rollout_id)
        if (after.state, after.step) != (now.state, now.step):
            self.write_plan(fresh=False)
        return after

    def pause(self, name: str, reason: str = "") -> Rollout:
        """Leave the canary at its share until it is resumed. Harm still rolls it back. Paused twice, it is paused once.

        Raises:
            NotFound: No such deployment. Conflict: No rollout is under way.
        """
        with self._tables.write() as conn:
            _, found = self._under_way(conn, name)
            if found.state != "paused":
                records.change_rollout(conn, found.id, state="paused", reason=reason or "paused by hand")
                fact = RolloutPaused(subject=found.ref, deployment=name, version=found.version, reason=reason)
                self._journal.append(conn, fact)
        return self.rollout(found.id)

    def resume(self, name: str, reason: str = "") -> Rollout:
        """Let a rollout go on that was paused, or held when its time was up: then it gets the same time once more.

        Raises:
            NotFound: No such deployment. Conflict: No rollout is under way.
        """
        with self._tables.write() as conn:
            _, found = self._under_way(conn, name)
            if found.state != "running":
                spec = found.spec
                if found.state == "held":
                    spec = replace(spec, max_duration_us=found.decision.evidence.elapsed_us + spec.max_duration_us)
                fresh = replace(found.decision, action="continue", reason="resumed")
                records.change_rollout(conn, found.id, state="running", reason=reason, spec=spec, decision=fresh)
                fact = RolloutResumed(subject=found.ref, deployment=name, version=found.version, reason=reason)
                self._journal.append(conn, fact)
        return self.rollout(found.id)

    def _under_way(self, conn: Connection, name: str) -> tuple[Deployment, Rollout]:
        """A deployment and its rollout, which nobody else changes before the transaction ends."""
        live = self._find(conn, name, lock=True)
        under_way = records.list_rollouts(conn, name, open_only=True)
        if not under_way:
            raise Conflict(
                "no rollout is under way", where=f"deployments/{name}", hint=f"mainspring rollout start {name} VERSION"
            )
        return live, under_way[0]

    def promote(self, name: str, reason: str = "") -> Rollout:
        """End the rollout of a deployment by hand: its version gets what the champion had, proof or not.

        Raises:
            NotFound: No such deployment. Conflict: No rollout is under way.
        """
        with self._tables.write() as conn:
            live, found = self._under_way(conn, name)
            last = replace(found, state="running", spec=replace(found.spec, then=()))
            self._finish(conn, live, last, _by_hand("promote", found, reason))
        self.write_plan(fresh=False)
        return self.rollout(found.id)

    def rollback(self, name: str, reason: str = "") -> Deployment:
        """Give traffic back: what the canary took to those that it took it from; without a rollout, all to the champion
        from others that share it, which ends their bandit; where it has all of it already, to the champion before it.

        Raises:
            NotFound: No such deployment. Conflict: There is nothing to go back to.
        """
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            under_way = records.list_rollouts(conn, name, open_only=True)
            bandits = records.list_bandits(conn, deployment=name, open_only=True)
            if under_way:
                self._finish(conn, live, under_way[0], _by_hand("rollback", under_way[0], reason))
            elif bandits:
                self._end_bandit(conn, live, bandits[0], live.champion, reason or "rolled back by hand")
            else:
                past = [entry.traffic.champion for entry in records.history(conn, name, limit=1000)]
                before = next((version for version in past if version != live.champion), None)
                if len(live.traffic.arms) > 1:
                    before = live.champion
                if before is None:
                    raise Conflict("no other version was live before", where=live.ref, hint="mainspring deploy MODEL")
                made = replace(live, traffic=live.traffic.all_to(before), updated_at=self._clock.now())
                self._change(conn, made, reason or "rolled back by hand")
        self.write_plan(fresh=False)
        return self.get(name)

    def _finish(self, conn: Connection, live: Deployment, found: Rollout, decision: Decision) -> None:
        """Carry a decision out, in the caller's transaction: rollout, traffic, history and events together."""
        now, next_share = self._clock.now(), found.next_share
        changes: dict[str, object] = {"decision": decision}
        traffic: Traffic | None = None
        fact: Fact | None = None
        of, name, version, why = found.ref, found.deployment, found.version, decision.reason
        match decision.action:
            case "promote" | "hold" if found.state == "paused":
                pass
            case "promote" if next_share is not None:
                changes |= {"share": next_share, "step": found.step + 1, "state": "running"}
                arms = found.champion, found.version, next_share
                traffic = live.traffic.split(*arms, rollout=found.id, standing=found.standing)
                fact = RolloutAdvanced(subject=of, deployment=name, version=version, share=next_share, reason=why)
            case "promote":
                changes |= {"state": "promoted", "ended_at": now, "reason": decision.reason}
                traffic = live.traffic.weighted(found.shares_after(found.version), found.version)
                fact = RolloutPromoted(subject=of, deployment=name, version=version, before=found.champion, reason=why)
            case "rollback":
                changes |= {"state": "rolled_back", "ended_at": now, "reason": decision.reason}
                traffic = live.traffic.weighted(found.shares_after(found.champion), found.champion)
                fact = RolloutRolledBack(
                    subject=of, deployment=name, version=version, champion=found.champion, reason=why
                )
            case "hold" if found.state != "held":
                changes |= {"state": "held", "reason": decision.reason}
                fact = RolloutHeld(subject=of, deployment=name, version=version, reason=why)
            case _:
                pass
        records.change_rollout(conn, found.id, **changes)
        if traffic is not None:
            self._change(conn, replace(live, traffic=traffic, updated_at=now), f"{decision.action}: {decision.reason}")
        if fact is not None:
            self._journal.append(conn, fact)


def _check_bad_rules(spec: RolloutSpec, rules: Sequence[str], name: str) -> None:
    for rule in spec.bad_rules:
        if rule != "*" and rule not in rules:
            hint = did_you_mean(rule, rules) or (f"its rules are {', '.join(rules)}" if rules else "it has no rules")
            raise Invalid(f"there is no rule {rule!r}", where=f"deployments/{name}", hint=hint)


def _by_hand(action: Action, found: Rollout, reason: str) -> Decision:
    """A person's decision, with what the evidence said when it was last looked at."""
    return replace(found.decision, action=action, reason=reason or "by hand")
