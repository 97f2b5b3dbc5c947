"""Bandits: versions whose shares follow what comes back for their answers, and what other shares would have brought."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from mainspring.core.errors import Conflict, Invalid, MainspringError, NotFound
from mainspring.core.ids import check_name, new_id
from mainspring.core.values import dataclass
from mainspring.serving import records
from mainspring.serving.events import BanditStarted, BanditStopped
from mainspring.serving.model import Bandit, Deployment
from mainspring.serving.replaying import ReplayDesk
from mainspring.serving.rules.assignment import check_shares
from mainspring.serving.rules.bandit import BanditSpec, Estimate, Tally, arms_of, check_floor, has_moved

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from mainspring.serving.model import StoredFeedback
    from mainspring.serving.rewarding import Learner

log = logging.getLogger("mainspring.serving")
MOST_ROWS = 200_000
"""The newest answers that an evaluation looks at, unless it is said otherwise."""


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What fixed shares would have brought in the place of those of a bandit.

    Attributes:
        bandit: Its id.
        shares: What is asked about, by version.
        rows: Answers with a reward.
        effective_rows: Answers that these shares had chosen themselves would tell as much if there were so many.
        done: What the bandit brought.
        estimates: What these shares would have brought, by three methods.
    """

    bandit: str
    shares: dict[int, float]
    rows: int
    effective_rows: float
    done: Estimate
    estimates: tuple[Estimate, ...]


class BanditDesk(ReplayDesk):
    """The part of serving that lets rewards steer the shares."""

    def start_bandit(
        self, name: str, versions: Sequence[int | str], *, spec: BanditSpec | None = None, reason: str = ""
    ) -> Bandit:
        """Have the shares of the champion and other versions follow their rewards from now on.

        Args:
            name: The endpoint.
            versions: Those beside the champion, numbers or aliases.
            spec: What counts as a reward.
            reason: Kept in the history.
        Raises:
            NotFound: No such deployment or version.
            Conflict: A rollout or bandit is under way, or nothing is logged that could be rewarded.
            Invalid: There is no other version, or there are so many that the floor is too much.
            Refused: A version lacks what it takes to answer.
        """
        spec = spec or BanditSpec()
        check_name(spec.feedback, "kind of feedback")
        live = self.get(name)
        found = [self._fitting(live, version) for version in versions]
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            self._check_free(conn, name)
            if live.options.log_share == 0.0:
                raise Conflict("nothing is logged to reward", where=live.ref, hint="deploy with --log-share 1")
            numbers = tuple(dict.fromkeys([live.champion, *(version.number for version in found)]))
            check_floor(spec.floor, len(numbers))
            for number in numbers:
                self._registry.hold(conn, live.model, number)
            arms, now = arms_of(spec, dict.fromkeys(numbers, Tally())), self._clock.now()
            made = Bandit(new_id(), name, numbers, spec, "running", now, reason=reason, arms=arms, learned_at=now)
            records.add_bandit(conn, made)
            self._steer(conn, live, made, reason or "bandit")
            fact = BanditStarted(
                subject=made.ref,
                deployment=name,
                versions=numbers,
                feedback=spec.feedback,
                reward=spec.reward,
                floor=spec.floor,
                reason=reason,
            )
            self._journal.append(conn, fact)
        self.write_plan()
        return made

    def bandits(self, name: str = "", *, open_only: bool = False, limit: int = 100) -> list[Bandit]:
        """Bandits of a deployment, or of all, newest first, with what was known when that changed last."""
        with self._tables.read() as conn:
            return records.list_bandits(conn, deployment=name, open_only=open_only, limit=limit)

    def bandit(self, bandit_id: str) -> Bandit:
        """One bandit.

        Raises:
            NotFound: No such bandit.
        """
        with self._tables.read() as conn:
            for found in records.list_bandits(conn, bandit_id=bandit_id, limit=1):
                return found
        raise NotFound(f"no bandit {bandit_id!r}", where="bandits", hint="mainspring bandit status DEPLOYMENT")

    def known(self, bandit_id: str) -> Bandit:
        """A bandit with what log and feedback say now. Changes nothing; the same rows, the same answer.

        Raises:
            NotFound: No such bandit.
        """
        found = self.bandit(bandit_id)
        if found.is_final:
            return found
        now = self._clock.now()

        def answered() -> pl.LazyFrame | None:
            self.compact()
            try:
                return self.predictions(found.deployment)
            except NotFound:
                return None

        def told(after: int) -> Iterator[StoredFeedback]:
            return self.labels(found.deployment, kind=found.spec.feedback, stored_since=found.started_at, after=after)

        arms = arms_of(found.spec, self._learner.tallies(found, answered, told, now))
        return found if arms == found.arms else replace(found, arms=arms, learned_at=now)

    @cached_property
    def _learner(self) -> Learner:
        from mainspring.serving.rewarding import Learner

        return Learner()

    def learn(self, bandit_id: str) -> Bandit:
        """Give each version of a bandit the share that follows from what is known now.

        Shares stay as they are while none of them would move by a hundredth of the traffic.

        Raises:
            NotFound: No such bandit.
        """
        known, moved = self.known(bandit_id), False
        with self._tables.write() as conn:
            live = self._find(conn, known.deployment, lock=True)
            (now,) = records.list_bandits(conn, bandit_id=bandit_id)
            if now.is_final or known.arms == now.arms or now.learned_at > known.learned_at:
                return now  # stopped meanwhile, nothing is new, or somebody else was faster
            records.change_bandit(conn, bandit_id, arms=known.arms, learned_at=known.learned_at)
            moved = has_moved({arm.version: arm.share for arm in live.traffic.arms}, known.arms)
            if moved:
                rewards = sum(arm.rewards for arm in known.arms)
                self._steer(conn, live, known, f"bandit: {rewards} rewards")
        if moved:
            self.write_plan(fresh=False)
        return self.bandit(bandit_id)

    def learn_all(self) -> None:
        """Do that for every bandit of the project. One that can't be learned from keeps no other waiting."""
        for found in self.bandits(open_only=True):
            try:
                self.learn(found.id)
            except MainspringError as error:
                log.warning("bandit.not_learned bandit=%s code=%s what=%s", found.id, error.code, error.what)

    def stop_bandit(self, name: str, *, to: int | Literal["best"] | None = None, reason: str = "") -> Bandit:
        """End the bandit of a deployment; one version has all of the traffic then.

        Args:
            name: The endpoint.
            to: The version, "best" for the one with the greatest mean reward; by default the champion.
            reason: Kept in the history.
        Raises:
            NotFound: No such deployment. Conflict: No bandit is under way.
            Invalid: The version is none of the bandit's.
        """
        with self._tables.read() as conn:
            self._find(conn, name)
            open_now = records.list_bandits(conn, deployment=name, open_only=True)
        if not open_now:
            hint = f"mainspring bandit start {name} VERSION"
            raise Conflict("no bandit is under way", where=f"deployments/{name}", hint=hint)
        known = self.known(open_now[0].id)
        if to is not None and to != "best" and to not in known.versions:
            hint = f"its versions are {', '.join(map(str, known.versions))}"
            raise Invalid(f"version {to} is none of the bandit's", where=known.ref, hint=hint)
        best = max(known.arms, key=lambda arm: arm.mean).version
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            if records.list_bandits(conn, bandit_id=known.id)[0].is_final:
                return self.bandit(known.id)  # somebody else was faster
            self._end_bandit(conn, live, known, best if to == "best" else to or live.champion, reason)
        self.write_plan(fresh=False)
        return self.bandit(known.id)

    def _end_bandit(self, conn: Connection, live: Deployment, known: Bandit, version: int, reason: str) -> None:
        """Stop a bandit in the caller's transaction: its row, the traffic, the history and the events together."""
        now = self._clock.now()
        ended = {"state": "stopped", "ended_at": now, "reason": reason or "stopped by hand"}
        records.change_bandit(conn, known.id, arms=known.arms, learned_at=known.learned_at, **ended)
        traffic = live.traffic.all_to(version)
        self._change(conn, replace(live, traffic=traffic, updated_at=now), reason or "the bandit was stopped")
        fact = BanditStopped(
            subject=known.ref,
            deployment=live.name,
            version=version,
            rewards={str(arm.version): arm.rewards for arm in known.arms},
            means={str(arm.version): arm.mean for arm in known.arms},
            reason=reason,
        )
        self._journal.append(conn, fact)

    def _steer(self, conn: Connection, live: Deployment, found: Bandit, reason: str) -> None:
        shares = {arm.version: arm.share for arm in found.arms}
        traffic = live.traffic.steered(shares, found.versions[0], bandit=found.id, sticky=found.spec.sticky)
        self._change(conn, replace(live, traffic=traffic, updated_at=self._clock.now()), reason)

    def evaluate_shares(
        self,
        name: str,
        shares: Mapping[int, float],
        *,
        bandit_id: str = "",
        since: int | None = None,
        most: int = MOST_ROWS,
    ) -> PolicyReport:
        """What fixed shares would have brought, by the answers that a bandit gave and their logged probabilities.

        Args:
            name: The endpoint.
            shares: Version -> share; they sum to 1, and each version is one of the bandit's.
            bandit_id: Which bandit; "" is the newest.
            since: Earliest event time, microseconds.
            most: So many of the newest answers are looked at.
        Raises:
            NotFound: No such deployment or bandit, or nothing was predicted yet.
            Invalid: Shares that are none, or no answer has a reward.
        """
        import polars as pl

        from mainspring.serving.rewarding import ANSWER_COLUMNS, judged, rewards_frame

        self.get(name)
        newest = self.bandits(name, limit=1)
        if not bandit_id and not newest:
            hint = f"mainspring bandit start {name} VERSION"
            raise NotFound("no bandit yet", where=f"deployments/{name}", hint=hint)
        found = self.bandit(bandit_id) if bandit_id else newest[0]
        check_shares(list(shares.values()))
        for version in shares:
            if version not in found.versions:
                hint = f"its versions are {', '.join(map(str, found.versions))}"
                raise Invalid(f"version {version} had no share, so nothing is known of it", where=found.ref, hint=hint)
        told = rewards_frame(self.labels(name, kind=found.spec.feedback, stored_since=found.started_at))
        self.compact()
        asked = self.predictions(name, since).filter(pl.col("rollout") == found.id, pl.col("propensity").is_not_null())
        asked = asked.filter((pl.col("status") < 400) | (pl.col("status") >= 500)).top_k(most, by=pl.col("at"))
        rows = (
            asked.select(*ANSWER_COLUMNS, "request_id", "inputs")
            .collect()
            .unique("id", keep="first", maintain_order=True)
        )
        known = judged(rows, told, found.spec, self._clock.now())
        if known.height and not known["is_due"].any():
            hint = f"an answer counts {found.spec.within_s} s after it was given, as --within-s said"
            raise Invalid(f"none of {known.height} answers counts yet", where=found.ref, hint=hint)
        known = known.filter(pl.col("is_due") & pl.col("reward").is_not_null())
        return _evaluated(found, known, dict(shares))


def _evaluated(found: Bandit, known: pl.DataFrame, shares: dict[int, float]) -> PolicyReport:
    import numpy as np

    from mainspring.serving.rules import offpolicy

    spec, places = found.spec, {version: place for place, version in enumerate(found.versions)}
    arms = known["version"].replace_strict(places).to_numpy().astype(np.int64)
    drawn = known["key" if spec.sticky else "request_id"].to_numpy()  # what was drawn together depends on each other
    clusters = np.unique(drawn, return_inverse=True)[1].astype(np.int64)
    logged = offpolicy.Logged(known["reward"].to_numpy(), known["propensity"].to_numpy(), arms, clusters)
    target = np.asarray([shares.get(version, 0.0) for version in found.versions])
    modelled = offpolicy.expected_rewards(_numbers(known), logged, len(places))
    estimates = (
        offpolicy.ips(logged, target),
        offpolicy.snips(logged, target),
        offpolicy.doubly_robust(logged, target, modelled),
    )

    def real(estimate: Estimate) -> Estimate:
        low, high = max(0.0, estimate.low), min(1.0, estimate.high)  # the truth is a mean of rewards
        return Estimate(estimate.method, spec.real(estimate.value), spec.real(low), spec.real(high))

    done = real(offpolicy.mean(logged))
    effective = offpolicy.effective_rows(logged, target)
    return PolicyReport(found.id, shares, known.height, effective, done, tuple(map(real, estimates)))


def _numbers(known: pl.DataFrame) -> NDArray[np.float64]:
    """The inputs that are numbers, a column each; missing ones are as the others on average."""
    import polars as pl
    import polars.selectors as cs

    inputs = known["inputs"].struct.unnest().select(cs.float() | cs.boolean())
    filled = inputs.select(pl.all().cast(pl.Float64).fill_nan(None).fill_null(strategy="mean").fill_null(0.0))
    return filled.to_numpy().reshape(known.height, filled.width)
