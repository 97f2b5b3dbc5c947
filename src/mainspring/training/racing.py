"""The work: each candidate is trained and measured on the folds, as far as the budget goes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mainspring.core.errors import MainspringError
from mainspring.core.values import dataclass
from mainspring.data.splits import HISTORY, TEST
from mainspring.engines import Ask
from mainspring.training import measuring
from mainspring.training.families import Params, family
from mainspring.training.families.stacking import NAME as STACKING
from mainspring.training.families.stacking import PARTS
from mainspring.training.measuring import Answers, Judge
from mainspring.training.model import Candidate, CandidateState, Estimate, Leaderboard
from mainspring.training.rules import FEW_ROWS, ROUND_SHARE, behind, fits, is_better, survivors

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data.splits.rules import Assignment
    from mainspring.storage.ports import Blobs

Rows = NDArray[np.intp]


class OutOfTime(Exception):
    """The budget is used up, or would be before the candidate is measured."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to learn from.

    Args:
        features: As the model gets them, all rows of the dataset version.
        truth: Values, or places of classes; NaN where the target is missing. (rows,)
        assignment: Of the split. (rows,)
        by_time: A fold learns from earlier rows only.
        groups: Values of the column whose groups are compared; empty for none.
    """

    features: pl.DataFrame
    truth: NDArray[np.float64]
    assignment: Assignment
    by_time: bool = False
    groups: Sequence[object] = ()

    @property
    def known(self) -> NDArray[np.bool_]:
        """Rows whose target is known."""
        return ~np.isnan(self.truth)

    @property
    def open_rows(self) -> Rows:
        """Rows that are not sealed and whose target is known."""
        return np.flatnonzero(self.known & (self.assignment != TEST))

    @property
    def sealed(self) -> Rows:
        """Sealed rows whose target is known."""
        return np.flatnonzero(self.known & (self.assignment == TEST))

    @property
    def held_out(self) -> Rows:
        """Rows that some fold holds out, in their order."""
        return np.flatnonzero(self.known & (self.assignment != TEST) & (self.assignment != HISTORY))

    def folds(self) -> Iterator[tuple[Rows, Rows]]:
        """For each fold the rows to learn from and the rows that are held out."""
        for fold in sorted(set(self.assignment[self.held_out].tolist())):
            out = self.known & (self.assignment == fold)
            rest = self.known & (self.assignment != TEST) & ~out
            if self.by_time:
                rest &= (self.assignment == HISTORY) | (self.assignment < fold)
            yield np.flatnonzero(rest), np.flatnonzero(out)


class Race:
    """Measures the open candidates of a leaderboard.

    Args:
        board: As it stands.
        table: The rows.
        judge: Scores answers to the held-out rows.
        ask: Who stores what is found.
        blobs: Where answers to the held-out rows are kept.
        left_s: What is left of the budget.
    """

    def __init__(
        self, board: Leaderboard, table: Table, judge: Judge, *, ask: Ask, blobs: Blobs, left_s: float
    ) -> None:
        self._board = board
        self._table = table
        self._judge = judge
        self._ask = ask
        self._blobs = blobs
        self._until = time.monotonic() + left_s
        self._folds = list(table.folds())
        self._done: dict[int, tuple[Candidate, Answers]] = {}
        self._expected: dict[int, float] = {}

    def run(self) -> None:
        """Measure what is open; what does not fit into the budget is skipped."""
        order = sorted(self._board.candidates, key=lambda candidate: candidate.position)
        for candidate in order:
            if candidate.state is CandidateState.MEASURED:
                self._done[candidate.position] = (candidate, self._stored(candidate))
        open_ones = [candidate for candidate in order if candidate.state.is_open]
        if len(self._table.open_rows) > FEW_ROWS:
            open_ones = self._first_round(open_ones)
        for candidate in open_ones:
            self._settle(candidate)

    def _first_round(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Every candidate on few rows of one fold; the worse half goes, but for the best of each family."""
        rows, out = self._folds[-1]
        few = np.sort(np.random.default_rng(self._board.request.seed).permutation(rows)[: len(rows) // ROUND_SHARE])
        racing = [candidate for candidate in candidates if candidate.family != STACKING]
        early: dict[str, float] = {}
        for candidate in racing:
            started = time.monotonic()
            try:
                score = candidate.early if candidate.early is not None else self._early(candidate, few, out)
            except OutOfTime:
                break
            except Exception as reason:  # noqa: BLE001 - a model may raise anything; the candidate says what
                self._say(candidate, "failed", _told(reason))
                continue
            took = time.monotonic() - started
            self._expected[candidate.position] = took * ROUND_SHARE * len(self._folds)
            early[candidate.name] = score
            self._ask({"ask": "early", "position": candidate.position, "early": score})
        going = survivors(early, {each.name: each.family for each in racing}, self._board.metric)
        for candidate in racing:
            if candidate.name in early and candidate.name not in going:
                self._say(candidate, "stopped", f"behind on {len(few):,} rows: {early[candidate.name]:.4g}")
        by_name = {candidate.name: replace(candidate, early=early.get(candidate.name)) for candidate in candidates}
        rest = [candidate for candidate in candidates if candidate.family == STACKING]
        return [by_name[name] for name in sorted(going, key=lambda name: by_name[name].position)] + rest

    def _early(self, candidate: Candidate, few: Rows, out: Rows) -> float:
        self._check_time(0.0)
        model, _ = self._fitted(candidate.family, candidate.params, few)
        judge = replace(self._judge, truth=self._table.truth[out], grouping=None)
        return judge.value(self._answers(model, out), self._board.metric)

    def _settle(self, candidate: Candidate) -> None:
        """Measure one candidate and say what came of it."""
        try:
            expected = self._expected.get(candidate.position, 0.0)
            self._check_time(expected if self._done else 0.0)
            if candidate.family == STACKING:
                candidate = replace(candidate, params={"parts": self._parts()})
            params = dict(candidate.params)
            begin = self._ask({"ask": "begin", "position": candidate.position, "params": params})
            if begin.get("do") == "run":
                self._measure(candidate)
        except OutOfTime as reason:
            self._say(candidate, "skipped", str(reason))
        except Exception as reason:
            if isinstance(reason, MainspringError) and reason.code in ("fenced", "unavailable"):
                raise
            self._say(candidate, "failed", _told(reason))

    def _measure(self, candidate: Candidate) -> None:
        table, held_out = self._table, self._table.held_out
        place = np.full(len(table.truth), -1, dtype=np.intp)
        place[held_out] = np.arange(len(held_out))
        said = Answers(np.empty(len(held_out)), np.empty(len(held_out)))
        cpu, model = 0.0, None
        for number, (rows, out) in enumerate(self._folds):
            started = time.monotonic()
            model, used = self._fitted(candidate.family, candidate.params, rows)
            cpu += used
            answers = self._answers(model, out)
            said.score[place[out]], said.decision[place[out]] = answers.score, answers.decision
            left = len(self._folds) - number - 1
            self._check_time((time.monotonic() - started) * left if left and self._done else 0.0 if left else None)
        groups = [table.groups[row] for row in held_out] if table.groups else []
        score = self._judge.score(said)
        measured: dict[str, object] = {
            "score": [score.value, score.low, score.high],
            "metrics": self._judge.metrics(said),
            "latency_ms": self._latency_ms(model, held_out),
            "size_bytes": _size(model),
            "cpu_s": cpu,
            "gap": measuring.gap(self._board.task, table.truth[held_out], said, groups) if groups else None,
            "early": candidate.early,
        }
        answers_at = self._blobs.put(np.vstack([said.score, said.decision]).tobytes())
        candidate = replace(candidate, score=score, state=CandidateState.MEASURED)
        behind_of = self._compared(candidate, said)
        self._ask(
            {"ask": "measured", "position": candidate.position, "measured": measured}
            | {"answers": answers_at, "behind": behind_of}
        )

    def _compared(self, candidate: Candidate, said: Answers) -> dict[str, object]:
        """How far whom is behind the best: of the new one, or of all when it is the best itself."""
        metric = self._board.metric
        before = self._best()
        self._done[candidate.position] = (candidate, said)
        best, its = self._best() or (candidate, said)
        whose = (
            self._done.items()
            if before is None or before[0].position != best.position
            else [(candidate.position, (candidate, said))]
        )
        found: dict[str, object] = {}
        for position, (_, answers) in whose:
            far = Estimate(0.0) if position == best.position else behind(self._judge.difference(answers, its), metric)
            found[str(position)] = [far.value, far.low, far.high]
        return found

    def _best(self) -> tuple[Candidate, Answers] | None:
        best: tuple[Candidate, Answers] | None = None
        for candidate, said in self._done.values():
            score = candidate.score.value if candidate.score else float("nan")
            if best is None or best[0].score is None or is_better(score, best[0].score.value, self._board.metric):
                best = (candidate, said)
        return best

    def _parts(self) -> list[dict[str, object]]:
        """The best configuration of each of the best families, for the stack."""
        found: dict[str, dict[str, object]] = {}
        scored = [candidate for candidate, _ in self._done.values() if candidate.family not in (STACKING, "baseline")]
        sign = -1 if is_better(1.0, 0.0, self._board.metric) else 1
        for candidate in sorted(scored, key=lambda each: sign * (each.score.value if each.score else 0.0)):
            found.setdefault(candidate.family, {"family": candidate.family, "params": dict(candidate.params)})
        if len(found) < 2:
            raise OutOfTime("fewer than two families were measured before it")
        return list(found.values())[:PARTS]

    def _fitted(self, name: str, params: Params, rows: Rows) -> tuple[object, float]:
        truth = self._table.truth[rows]
        target = truth if self._board.task == "regression" else truth.astype(np.int64)
        inputs = self._table.features[rows.tolist()]
        model = estimator(name, params, self._board)
        started = time.process_time()
        with quiet():
            model.fit(inputs, target)  # type: ignore[attr-defined]
        return model, time.process_time() - started

    def _answers(self, model: object, rows: Rows) -> Answers:
        with quiet():
            return measuring.answers_of(
                model,
                self._table.features[rows.tolist()],
                self._board.task,
                self._table.truth[rows],
                len(self._board.classes),
            )

    def _latency_ms(self, model: object, rows: Rows) -> float:
        with quiet():
            return measuring.latency_ms(model, self._table.features[rows[:64].tolist()])

    def _stored(self, candidate: Candidate) -> Answers:
        both = np.frombuffer(self._blobs.get(candidate.answers), dtype=np.float64).reshape(2, -1)
        return Answers(both[0], both[1])

    def _check_time(self, needed_s: float | None) -> None:
        """Raises `OutOfTime` when the work needs longer than there is; None needs nothing."""
        left = self._until - time.monotonic()
        if needed_s is None:
            return
        if left <= 0:
            raise OutOfTime("the budget was used up")
        if not fits(needed_s, left):
            raise OutOfTime(f"it would take about {needed_s:.0f} s, {left:.0f} s were left")

    def _say(self, candidate: Candidate, what: str, note: str) -> None:
        self._ask({"ask": what, "position": candidate.position, "note": note})


def estimator(name: str, params: Params, board: Leaderboard) -> object:
    """A pipeline of the raw columns: made into numbers, on one scale where the family needs that, and the model."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from mainspring.registry.tabular import Tabular

    kind = family(name)
    read: Mapping[str, list[str]] = {
        how: [column for column, each in board.columns.items() if each == how]
        for how in ("number", "category", "date", "text")
    }
    steps: list[tuple[str, object]] = [
        ("columns", Tabular(read["number"], read["category"], read["date"], read["text"], spread=kind.SPREAD))
    ]
    steps += [("scale", StandardScaler())] if kind.SCALED else []
    steps.append(("model", kind.estimator(board.task, params, board.request.seed)))
    return Pipeline(steps)


@contextmanager
def quiet() -> Iterator[None]:
    """One thread, so that costs can be compared and other work goes on; and no warnings of what was tried."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _size(model: object) -> int:
    """Bytes of the model as a package keeps it; whoever cannot be kept cannot win."""
    from mainspring.registry.flavours import flavour_for

    return len(flavour_for(model).dump(model))


def _told(reason: BaseException) -> str:
    if isinstance(reason, MainspringError):
        return reason.what
    return f"{type(reason).__name__}: {reason}"[:500]
