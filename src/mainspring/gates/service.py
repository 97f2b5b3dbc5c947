"""The verbs of the gates: evaluate a version, and find verdicts again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mainspring.core.caller import caller
from mainspring.core.canonical import canonical_json, digest
from mainspring.core.clock import Clock, SystemClock
from mainspring.core.errors import Conflict, Invalid, MainspringError, NotFound, did_you_mean
from mainspring.core.ids import new_id
from mainspring.core.scores import count_scores
from mainspring.core.values import dataclass
from mainspring.gates import records
from mainspring.gates.answers import Probe, answers_of, asking, check_label, probing, truth_of
from mainspring.gates.approving import Approval, Standing, check_decision, evidence_of, standing_of, waits_for
from mainspring.gates.case import Answers, Case
from mainspring.gates.events import ApprovalDecided, VerdictReached
from mainspring.gates.given import Given, answers_digest, case_of_answers
from mainspring.gates.judging import all_errors, reason_for, run_checks
from mainspring.gates.model import CheckResult, GateSpec, HeldOut, HeldOutRows, Verdict, gates_of
from mainspring.gates.rows import Sources, find_rows, label_among
from mainspring.gates.rules.finding import NotApplicable
from mainspring.gates.rules.verdict import combine
from mainspring.registry import check_usable
from mainspring.storage.ports import Journal, Tables

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data import Data
    from mainspring.data.splits.service import Splits
    from mainspring.gates.retraining import Retraining
    from mainspring.gates.rules.bootstrap import Floats
    from mainspring.registry import ModelVersion, Registry


@dataclass(frozen=True, slots=True)
class Judged:
    """What a verdict is about: a version, or a column of answers, which has the number 0."""

    model: str
    number: int
    digest: str

    @classmethod
    def of(cls, version: ModelVersion) -> Judged:
        """A registered version."""
        return cls(version.model, version.number, version.digest)


class Gates:
    """Judges versions and keeps the verdicts. Safe to share between threads.

    Args:
        tables: Where verdicts are kept.
        journal: Where `gates.verdict_reached` is written, in the transaction that stores the verdict.
        registry: Loads the versions.
        data: Finds evaluation and training rows by name; without it callers bring the rows.
        sections: The `[gate.NAME]` sections of the settings, by name.
        probe: Asks a version through a real model server, for golden requests; may be set later by `answer_through`.
        clock: Time of the verdicts.
        folder: The project folder, where files of behaviour tests lie.
        splits: Finds the parts of split datasets, and counts how often their sealed rows were opened.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        registry: Registry,
        data: Data | None = None,
        sections: Mapping[str, object] | None = None,
        probe: Probe | None = None,
        clock: Clock | None = None,
        folder: Path | None = None,
        splits: Splits | None = None,
    ) -> None:
        self._tables = tables
        self._journal = journal
        self._registry = registry
        self._data = data
        self._sections = dict(sections or {})
        self._probe = probe
        self._clock = clock or SystemClock()
        self._folder = folder
        self._splits = splits
        self._retraining: Retraining | None = None

    def declare(self, sections: Mapping[str, object]) -> None:
        """Judge by these sections `[gate.NAME]` from now on."""
        self._sections = dict(sections)

    def answer_through(self, probe: Probe) -> None:
        """Send golden requests through `probe` from now on: serving, a higher room, gives it."""
        self._probe = probe

    def retrain_through(self, retraining: Retraining) -> None:
        """Let checks train a version again with other seeds through `retraining` from now on."""
        self._retraining = retraining

    def specs(self) -> list[GateSpec]:
        """The gates of the settings, by name."""
        return [self.spec(name) for name in sorted(self._sections)]

    def spec(self, name: str) -> GateSpec:
        """The gate of that name in the settings.

        Raises:
            NotFound: There is none, with the near names.
            Invalid: It is not written as a gate is.
        """
        section = self._sections.get(name)
        if section is None:
            hint = did_you_mean(name, self._sections) or f"write a section [gate.{name}] in mainspring.toml"
            raise NotFound(f"there is no gate {name!r}", where="gate", hint=hint)
        return gates_of({name: section})[name]

    def run(
        self, gate: str, model: str, version: int | str, *, data: str = "", label: str = "", key: str = ""
    ) -> Verdict:
        """Judge a version by a gate of the settings, against the version its `baseline` alias points to.

        Args:
            gate: Name of the gate.
            model: Name of the model.
            version: Number or alias of the candidate.
            data: Dataset to judge on, "NAME" or "NAME/VERSION"; default: the gate's.
            label: Column with the truth; default: the gate's.
            key: Idempotency key.
        Raises:
            NotFound: No such gate, model, version or dataset.
            Invalid: Neither the gate nor the caller names the data, or nothing says which column is the label.
        """
        spec = self.spec(gate)
        candidate = self._registry.get(model, version)
        where = Sources(self._data, self._splits)
        frame, ref = find_rows(where, data or spec.data, purpose=f"gate {gate} on {candidate.ref}")
        column = label or spec.label or label_among(frame, candidate, known=self._last_label(model))
        champion = self._baseline(model, spec.baseline, candidate)
        return self.evaluate(
            spec, candidate=candidate, champion=champion, frame=frame, label=column, data_ref=ref, key=key
        )

    def evaluate(
        self,
        gate: GateSpec,
        *,
        candidate: ModelVersion,
        champion: ModelVersion | None,
        frame: pl.DataFrame,
        label: str,
        data_ref: str,
        key: str = "",
    ) -> Verdict:
        """Judge a version on rows, and store the verdict with its evidence.

        The same version, champion, data and gate give the same verdict: the seed follows from them.

        Args:
            gate: The checks.
            candidate: The version under judgement.
            champion: The version to compare with; None skips the comparisons.
            frame: Rows that neither version was trained on, with the inputs and the label.
            label: Column with the truth.
            data_ref: Reference of the data version, such as `datasets/flights/3`: its uses are counted.
            key: Idempotency key: a second call with it gives the stored verdict.
        Returns: The verdict. Rows or models that cannot be judged give the outcome "error" and say why.
        Raises:
            Invalid: There is no column `label`.
            Conflict: The key was used for another version, gate or data version.
        """
        judged, against = Judged.of(candidate), None if champion is None else Judged.of(champion)
        if (stored := self._stored(key)) is not None:
            return _same(stored, gate, judged, data_ref)
        check_label(frame, label)
        seed = _seed(gate, judged, against, data_ref)
        scores: dict[str, tuple[float, float, float]] = {}
        try:
            case = self._case(gate, candidate, champion, frame, label, seed)
            results = run_checks(gate, case)
            if case.task == "classification":
                scores = count_scores(case.answers.score, case.truth)
        except MainspringError as reason:
            results = all_errors(gate, reason)
        found = self._verdict(gate, judged, against, results)
        found = replace(found, n=frame.height, data_ref=data_ref, seed=seed)
        return self._store(gate, found, HeldOut(data_ref=data_ref, label=label, rows=frame.height, scores=scores), key)

    def evaluate_answers(
        self, gate: GateSpec, *, frame: pl.DataFrame, given: Given, data_ref: str = "", key: str = ""
    ) -> Verdict:
        """Judge a table of answers, and store the verdict: of no version, the model being called "answers".

        Args:
            gate: The checks; those that need the model itself come to an error.
            frame: One row per answer.
            given: Which columns hold what.
            data_ref: Reference of the data version the rows are from: its uses are counted.
            key: Idempotency key.
        Returns: As `evaluate`.
        Raises:
            Invalid: There is no column for the label.
            Conflict: The key was used for another evaluation.
        """
        judged, against = (Judged("answers", 0, answers_digest(frame, name)) for name in (given.score, given.baseline))
        if (stored := self._stored(key)) is not None:
            return _same(stored, gate, judged, data_ref)
        check_label(frame, given.label)
        seed = _seed(gate, judged, against, data_ref)
        try:
            results = run_checks(gate, case_of_answers(gate, frame, given, seed=seed))
        except MainspringError as reason:
            results = all_errors(gate, reason)
        found = self._verdict(gate, judged, None, results)
        found = replace(found, n=frame.height, data_ref=data_ref, seed=seed, champion_digest=against.digest)
        return self._store(gate, found, HeldOut(data_ref="", label="", rows=frame.height, scores={}), key)

    def decide(self, verdict_id: str, decision: str, *, reason: str) -> Approval:
        """Approve or refuse a version that a gate passed, on behalf of the caller.

        Args:
            verdict_id: The verdict that asks for it.
            decision: "approved" or "refused".
            reason: Why; kept with the decision.
        Raises:
            NotFound: There is no such verdict.
            Invalid: The decision is none of the two, or no reason is given.
            Refused: The verdict asks for no approval, did not pass, or the caller has no say in it.
            Conflict: It is decided, or the caller spoke before.
        """
        found, project = self.verdict(verdict_id), caller().project
        actor, maker = caller().actor, self._maker(found)
        with self._tables.write() as conn:
            records.lock(conn, project, verdict_id)
            before = records.approvals(conn, project, [verdict_id]).get(verdict_id, [])
            made = Approval(
                verdict=found.id,
                decision=check_decision(found, before, decision=decision, reason=reason, actor=actor, maker=maker),
                role=str(found.approve.get("role", "")),
                actor=actor,
                reason=reason.strip(),
                at=self._clock.now(),
                digest=found.candidate_digest,
                evidence=evidence_of(found),
            )
            records.add_approval(conn, project, made)
            self._journal.append(conn, _decided(found, made, standing_of(found, [*before, made])))
        return made

    def approvals(self, verdict_id: str) -> list[Approval]:
        """What people decided about a verdict, in order."""
        with self._tables.read() as conn:
            return records.approvals(conn, caller().project, [verdict_id]).get(verdict_id, [])

    def _maker(self, found: Verdict) -> str:
        """Who registered the version that was judged; empty when it is gone, or was no version."""
        try:
            return self._registry.get(found.model, found.version).created_by
        except (NotFound, Invalid):
            return ""

    def standing(self, verdict_id: str, *, target: str = "production") -> Standing:
        """Where a version stands by a verdict and by what people decided about it: go, shadow, wait or stop.

        Args:
            verdict_id: The verdict.
            target: Where the version is to go; a gate may ask for approval for "production" alone.
        Raises:
            NotFound: There is no such verdict.
        """
        return standing_of(self.verdict(verdict_id), self.approvals(verdict_id), target=target)

    def waiting(self, verdicts: Sequence[Verdict]) -> set[str]:
        """The ids of those of some verdicts that wait for a person."""
        asking_ = [one for one in verdicts if one.approve and one.outcome == "pass"]
        with self._tables.read() as conn:
            known = records.approvals(conn, caller().project, [one.id for one in asking_])
        return {one.id for one in asking_ if standing_of(one, known.get(one.id, [])) == "wait"}

    def held_out(self, model: str, version: int) -> HeldOut | None:
        """What a version said to the rows it was last judged on: what its scores mean on rows it did not learn from.

        Args:
            model: Name of the model.
            version: Number of the version.
        Returns: None when no gate judged it.
        """
        with self._tables.read() as conn:
            return records.held_out(conn, caller().project, model, version)

    def held_out_rows(self, model: str, version: int, most: int) -> HeldOutRows | None:
        """The rows a version was last judged on, with what it says to them now; of many classes there are none.

        Args:
            model: Name of the model.
            version: Number of the version.
            most: At most so many rows, drawn with a fixed seed.
        Returns: None when no gate judged it, or the rows are no stored dataset.
        """
        held = self.held_out(model, version)
        found = self._registry.get(model, version)
        if held is None or self._data is None or found.task == "multiclass":
            return None
        frame, _ = find_rows(Sources(self._data, self._splits), held.data_ref)
        frame = frame.sample(min(frame.height, most), seed=0)
        truth = truth_of(frame, held.label, found)
        answers = self._answers(found, frame, truth)
        return HeldOutRows(inputs=frame.select(found.columns), scores=answers.score, truth=truth)

    def verdict(self, verdict_id: str) -> Verdict:
        """One verdict.

        Raises:
            NotFound: There is none of that id.
        """
        with self._tables.read() as conn:
            found = records.by_id(conn, caller().project, verdict_id)
        if found is None:
            raise NotFound(f"there is no verdict {verdict_id!r}", where="verdict", hint="mainspring gate ls")
        return found

    def verdicts(self, model: str = "", *, gate: str = "", before: str = "", limit: int = 100) -> list[Verdict]:
        """Verdicts, newest first.

        Args:
            model: Only of this model.
            gate: Only of this gate.
            before: Only those older than this id, for the next page.
            limit: At most so many, 1 to 500.
        """
        with self._tables.read() as conn:
            project = caller().project
            size = min(max(limit, 1), 500)
            return records.newest(conn, project, model=model, gate=gate, before=before, limit=size)

    def objections(self, names: Sequence[str], version: int) -> list[str]:
        """What speaks against a version: of every declared gate that ever judged its model, the last word on it.

        Args:
            names: The name of its model, and those under which it was judged before it was renamed.
            version: The number.
        """
        found = []
        for spec in self.specs():
            judged = [verdict for name in names for verdict in self.verdicts(name, gate=spec.name, limit=500)]
            said = sorted(judged, key=lambda verdict: verdict.id, reverse=True)
            last = next((verdict for verdict in said if verdict.version == version), None)
            if said and last is None:
                found.append(f"gate {spec.name} has not judged it")
            elif last is not None and last.outcome != "pass":
                found.append(f"gate {spec.name} came to {last.outcome}")
            elif last is not None:
                found += self._objection(last)
        return found

    def _objection(self, last: Verdict) -> list[str]:
        """What speaks against a version that passed: that nobody approved it yet, or that somebody refused it."""
        before = self.approvals(last.id)
        told = {"wait": f"waits for {waits_for(last, before)}", "stop": f"was refused by a {last.approve.get('role')}"}
        said = told.get(standing_of(last, before))
        return [f"gate {last.gate} {said}: mainspring gate show {last.id}"] if said else []

    def uses(self, data_ref: str) -> int:
        """How many verdicts rest on a data version: a test set wears out."""
        with self._tables.read() as conn:
            return records.uses(conn, caller().project, data_ref)

    def _last_label(self, model: str) -> str:
        with self._tables.read() as conn:
            return records.last_label(conn, caller().project, model)

    def _baseline(self, model: str, alias: str, candidate: ModelVersion) -> ModelVersion | None:
        try:
            champion = self._registry.get(model, alias)
        except NotFound:
            return None
        return None if champion.number == candidate.number else champion

    def _case(
        self,
        gate: GateSpec,
        candidate: ModelVersion,
        champion: ModelVersion | None,
        frame: pl.DataFrame,
        label: str,
        seed: int,
    ) -> Case:
        if champion is not None and (champion.task, champion.classes) != (candidate.task, candidate.classes):
            raise Invalid(
                f"{champion.ref} is {champion.task} and {candidate.ref} is {candidate.task}, or of other classes"
            )
        check_usable(candidate)
        truth = truth_of(frame, label, candidate)
        predict = asking(self._registry, candidate)
        probe = self._probe
        return Case(
            candidate=candidate,
            champion=champion,
            frame=frame,
            label=label,
            task=_TASKS.get(candidate.task, "classification"),
            truth=truth,
            answers=answers_of(predict(frame), candidate, frame.height, truth),
            baseline=None if champion is None else self._answers(champion, frame, truth),
            alpha=gate.alpha,
            seed=seed,
            predict=predict,
            probe=None if probe is None else probing(probe, candidate),
            training=self._training(candidate),
            folder=self._folder,
            retrained=self._retrained(candidate, frame, truth),
        )

    def _answers(self, version: ModelVersion, frame: pl.DataFrame, truth: Floats) -> Answers:
        return answers_of(asking(self._registry, check_usable(version))(frame), version, frame.height, truth)

    def _retrained(
        self, candidate: ModelVersion, frame: pl.DataFrame, truth: Floats
    ) -> Callable[[int, float], Sequence[Answers] | NotApplicable] | None:
        retraining = self._retraining
        if retraining is None:
            return None

        def answers(seeds: int, wait_s: float) -> Sequence[Answers] | NotApplicable:
            found = retraining(candidate, seeds, wait_s)
            return found if isinstance(found, NotApplicable) else [self._answers(one, frame, truth) for one in found]

        return answers

    def _training(self, candidate: ModelVersion) -> Callable[[], pl.DataFrame] | None:
        data = self._data
        name, _, number = candidate.reference.removeprefix("datasets/").partition("/")
        if data is None or not number.isdecimal():
            return None
        return lambda: data.frame(name, int(number)).collect()

    def _verdict(
        self,
        gate: GateSpec,
        judged: Judged,
        champion: Judged | None,
        results: Sequence[CheckResult],
    ) -> Verdict:
        outcome = combine([result.outcome for result in results], undecided=gate.undecided)
        return Verdict(
            id=new_id(),
            gate=gate.name,
            model=judged.model,
            version=judged.number,
            champion=None if champion is None else champion.number,
            outcome=outcome,
            undecided=gate.undecided,
            checks=tuple(results),
            n=0,
            data_ref="",
            use=0,
            alpha=gate.alpha,
            seed=0,
            candidate_digest=judged.digest,
            champion_digest="" if champion is None else champion.digest,
            created_at=self._clock.now(),
            actor=caller().actor,
            reason=reason_for(outcome, results),
            approve=dict(gate.approve),
        )

    def _store(self, gate: GateSpec, found: Verdict, held_out: HeldOut, key: str) -> Verdict:
        project = caller().project
        with self._tables.write() as conn:
            use = records.uses(conn, project, found.data_ref) + 1 if found.data_ref else 0
            found = replace(found, use=use)
            if not records.add(conn, project, found, held_out, spec=gate, key=key):
                return records.by_key(conn, project, key) or found
            self._journal.append(conn, _reached(found))
        return found

    def _stored(self, key: str) -> Verdict | None:
        if not key:
            return None
        with self._tables.read() as conn:
            return records.by_key(conn, caller().project, key)


_TASKS: dict[str, Literal["multiclass", "regression"]] = {"multiclass": "multiclass", "regression": "regression"}


def _reached(found: Verdict) -> VerdictReached:
    return VerdictReached(
        subject=found.ref,
        gate=found.gate,
        model=found.model,
        version=found.version,
        champion=found.champion,
        outcome=found.outcome,
        rows=found.n,
        data_ref=found.data_ref,
        digest=found.candidate_digest,
        reason=found.reason,
        standing=standing_of(found, []),
    )


def _decided(found: Verdict, made: Approval, standing: Standing) -> ApprovalDecided:
    return ApprovalDecided(
        subject=found.ref,
        gate=found.gate,
        model=found.model,
        version=found.version,
        decision=made.decision,
        standing=standing,
        role=made.role,
        reason=made.reason,
        digest=made.digest,
    )


def _same(stored: Verdict, gate: GateSpec, candidate: Judged, data_ref: str) -> Verdict:
    """The stored verdict of a repeated call; the champion may have changed since, which does not make it another."""
    if (stored.gate, stored.candidate_digest, stored.data_ref) != (gate.name, candidate.digest, data_ref):
        raise Conflict("this key was used for another evaluation", where=stored.ref, hint="use a new key")
    return stored


def _seed(gate: GateSpec, candidate: Judged, champion: Judged | None, data_ref: str) -> int:
    other = "" if champion is None else champion.digest
    return int(digest(canonical_json([gate.name, candidate.digest, other, data_ref]))[:12], 16)
