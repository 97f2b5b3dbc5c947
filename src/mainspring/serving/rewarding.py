"""What bandits learn from: rewards counted from the log and the feedback, turn by turn.

Nothing of it is stored. Who starts anew reads all answers of a bandit once, and finds the same: whether a reward counts
depends on the times at which its answer was given and it was stored, and on nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

import polars as pl

from mainspring.core.clock import HOUR_US, SECOND_US
from mainspring.core.values import dataclass
from mainspring.serving.counting import Once, is_right
from mainspring.serving.log import after
from mainspring.serving.rules.bandit import BanditSpec, Tally

if TYPE_CHECKING:
    from mainspring.serving.model import Bandit, StoredFeedback

FeedbackAfter = Callable[[int], Iterable["StoredFeedback"]]
"""Gives the feedback of the kind that rewards above a number, in the order of arrival."""
ANSWER_COLUMNS = ("id", "key", "at", "version", "propensity", "status", "probability", "prediction", "label_out")
_EARLY_US = HOUR_US  # a reward may be stored before its answer is in the table


def rewards_frame(items: Iterable[StoredFeedback]) -> pl.DataFrame:
    """Feedback by prediction id: columns id, seq, number, text, stored_at."""
    rows = [
        (item.prediction_id, item.seq, *((None, item.value) if isinstance(item.value, str) else (item.value, None)),
         item.stored_at)
        for item in items
    ]  # fmt: skip
    schema = {"id": pl.String, "seq": pl.Int64, "number": pl.Float64, "text": pl.String, "stored_at": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def judged(answers: pl.DataFrame, told: pl.DataFrame, spec: BanditSpec, now: int) -> pl.DataFrame:
    """Answers with their reward on the scale from 0 to 1: columns `reward` (null: none) and `is_due`.

    Args:
        answers: With `ANSWER_COLUMNS`, each id once.
        told: As `rewards_frame` makes it.
        spec: What counts.
        now: Wall clock.
    """
    until = pl.col("at") + spec.within_s * SECOND_US
    in_time = pl.col("stored_at") <= until
    said = pl.when(in_time).then(_reward(spec))
    absent = pl.lit(None if spec.absent is None else spec.unit(spec.absent), dtype=pl.Float64)
    failed = pl.col("status") >= 500
    known = said.is_not_null() if spec.absent is None else pl.lit(value=False)
    return answers.join(told, on="id", how="left", maintain_order="left").with_columns(
        pl.when(failed).then(0.0).otherwise(pl.coalesce(said, absent)).alias("reward"),
        (failed | known | (until <= now)).alias("is_due"),
    )


def _reward(spec: BanditSpec) -> pl.Expr:
    """What a feedback is worth; null where it is no such reward."""
    number = pl.col("number")
    if spec.reward == "correct":
        known = pl.col("number").is_not_null() | pl.col("text").is_not_null()
        return pl.when(known).then(is_right(spec.error_limit).cast(pl.Float64))
    if spec.reward == "binary":
        return pl.when(number.is_in([0.0, 1.0])).then(number)
    return pl.when(number.is_between(spec.low, spec.high)).then((number - spec.low) / (spec.high - spec.low))


@dataclass(slots=True)
class Rewards:
    """The rewards of one bandit, gathered as log and feedback grow: the same however they are split up.

    Attributes:
        tallies: What counts so far, by version.
        position: How far the log is read.
        seq: How far the feedback is.
    """

    spec: BanditSpec
    tallies: dict[int, Tally] = field(default_factory=dict)
    position: dict[str, int] = field(default_factory=dict)
    seq: int = 0
    _once: Once = field(default_factory=Once)
    _waiting: pl.DataFrame | None = None
    _told: pl.DataFrame = field(default_factory=lambda: rewards_frame(()))

    def add(self, answers: pl.DataFrame, told: pl.DataFrame, now: int) -> None:
        """Take new answers and feedback in, each given once; of an answer that is logged twice one counts."""
        answered = (pl.col("status") < 400) | (pl.col("status") >= 500)
        fresh = self._once.new(answers.filter(answered & pl.col("propensity").is_not_null()).select(ANSWER_COLUMNS))
        self._told = pl.concat([self._told, told])
        waiting = fresh if self._waiting is None else pl.concat([self._waiting, fresh])
        found = judged(waiting, self._told, self.spec, now)
        reward = pl.col("reward")
        due = found.filter(pl.col("is_due") & reward.is_not_null())
        sums = due.group_by("version").agg(
            pl.len(), reward.sum().alias("sum"), (reward * reward).sum().alias("squares")
        )
        for version, count, total, squares in sums.iter_rows():
            self.tallies[version] = self.tallies.get(version, Tally()).plus(count, total, squares)
        self._waiting = found.filter(~pl.col("is_due")).select(ANSWER_COLUMNS)
        oldest = now - self.spec.within_s * SECOND_US - _EARLY_US
        self._told = self._told.filter(pl.col("stored_at") >= oldest)


class Learner:
    """The rewards of bandits under way. Safe to share between threads: they take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, Rewards] = {}

    def tallies(
        self, found: Bandit, log: Callable[[], pl.LazyFrame | None], feedback: FeedbackAfter, now: int
    ) -> Mapping[int, Tally]:
        """What came back for each version of a bandit by now.

        Args:
            found: The bandit.
            log: Gives the predictions of its endpoint; None before the first.
            feedback: The feedback of its endpoint. It is read before the log: then every answer that was rewarded is
                in there, since an answer is logged before it leaves.
            now: Wall clock.
        """
        with self._lock:
            turn = self._turns.pop(found.id, None) or Rewards(found.spec)  # comes back whole, or is begun anew
            told = rewards_frame(feedback(turn.seq))
            frame = log()
            if frame is not None:
                rows = frame.filter(pl.col("rollout") == found.id, after(turn.position))
                answers = rows.select("spool", "seq", *ANSWER_COLUMNS).collect()
                turn.position |= dict(answers.group_by("spool").agg(pl.col("seq").max()).iter_rows())
                turn.add(answers, told, now)
                turn.seq = max([turn.seq, *told["seq"].tail(1)])
            if not found.is_final:
                self._turns[found.id] = turn
            return {version: turn.tallies.get(version, Tally()) for version in found.versions}
