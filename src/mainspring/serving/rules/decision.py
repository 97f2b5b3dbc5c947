"""What a rollout does next, decided from stored counts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from math import exp, log
from typing import Literal

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.serving.rules.eprocess import BadEvents, harm, limit, no_harm

Action = Literal["continue", "promote", "rollback", "hold"]
Signal = Literal["errors", "latency", "quality", "rules"]
_E_LIMIT = 700.0  # exp() of more overflows a double


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSpec:
    """How a rollout is judged. Durations are in event time, so that a replayed year decides as the real one did.

    Attributes:
        alpha_errors: Chance that a version no worse than the champion is ever rolled back for errors, in (0, 1).
        alpha_latency: The same for answers slower than `latency_us`.
        alpha_quality: The same for wrong answers.
        alpha_rules: What rules weigh when they are judged too: the three above are the whole chance, and all that are
            judged share it in proportion.
        judges: The signals that may roll back, settled at the start. Signals that are not judged leave their share of
            false rollbacks to the others; none at all is an error. Latency is judged where there is a `latency_us`,
            rules where there are `bad_rules`.
        bad_rules: Rules of the endpoint that are a bad event where they hold, by name; "*" is any of them.
        alpha_promote: Chance that a version with a risk ratio of `harmful_ratio` or more is promoted.
        harmless_ratio: Largest ratio of bad-event risks that never should roll back.
        harmful_ratio: Ratio that promotion must rule out.
        promote_on: The signal that has to carry the proof.
        threshold: Probability from which a binary answer counts as 1.
        error_limit: For regression: an absolute error above it is a bad event; 0 leaves quality unjudged.
        latency_us: Slowest good answer; 0 leaves latency unjudged.
        min_duration_us: Least event time a step takes before promotion; a day covers a daily pattern.
        max_duration_us: Event time after which a step without a proof is held for a person to decide.
        consecutive_errors: That many errors in a row on the canary roll back at once.
        max_memory_mb: So does a worker of the model server that holds more than this; 0 is no limit.
        then: Canary shares after the first one, each with its own proof, before full traffic.
    """

    alpha_errors: float = 0.0225
    alpha_latency: float = 0.005
    alpha_quality: float = 0.0225
    alpha_rules: float = 0.01
    judges: tuple[Signal, ...] = ("errors", "latency", "quality", "rules")
    bad_rules: tuple[str, ...] = ()
    alpha_promote: float = 0.05
    harmless_ratio: float = 1.0
    harmful_ratio: float = 1.25
    promote_on: Signal = "quality"
    threshold: float = 0.5
    error_limit: float = 0.0
    latency_us: int = 0
    min_duration_us: int = DAY_US
    max_duration_us: int = 14 * DAY_US
    consecutive_errors: int = 20
    max_memory_mb: int = 0
    then: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises: Invalid: A probability, ratio, duration or share out of range."""
        alphas = (self.alpha_errors, self.alpha_latency, self.alpha_quality, self.alpha_rules, self.alpha_promote)
        good = (
            all(0.0 < alpha < 1.0 for alpha in alphas)
            and 0.0 < self.harmless_ratio < self.harmful_ratio
            and 0 <= self.min_duration_us <= self.max_duration_us
            and self.consecutive_errors >= 1
            and self.max_memory_mb >= 0
            and self.judged
            and all(0.0 < share < 1.0 for share in self.then)
        )
        if not good:
            raise Invalid(f"a rollout cannot be judged by {self}", where="serving.RolloutSpec", hint="check its ranges")

    @property
    def judged(self) -> tuple[Signal, ...]:
        """The signals that may roll back."""
        absent = {*(() if self.latency_us else ("latency",)), *(() if self.bad_rules else ("rules",))}
        return tuple(signal for signal in self.judges if signal not in absent)

    def alpha(self, signal: str) -> float:
        """The chance that a version no worse than the champion is ever rolled back for a signal that is judged.

        >>> round(RolloutSpec(judges=("errors",)).alpha("errors"), 4)
        0.05
        """
        shares: dict[str, float] = {
            "errors": self.alpha_errors,
            "latency": self.alpha_latency,
            "quality": self.alpha_quality,
        }
        whole = sum(shares.values())
        shares["rules"] = self.alpha_rules
        return shares[signal] * whole / sum(shares[judged] for judged in self.judged)

    def limit(self, signal: str, counts: Sequence[BadEvents]) -> float:
        """Log of the e-value at which a signal rolls back.

        A rollout of one share is judged by the exact law of the crossing, one with more of them by Ville's inequality.
        Which it is follows from `then`, which is settled at the start, and not from what was seen.

        >>> round(exp(RolloutSpec(then=(0.5,)).limit("quality", ())))
        40
        """
        alpha = self.alpha(signal)
        if self.then or len(counts) != 1:
            return log(1.0 / alpha)
        return limit(counts[0].share, alpha, ratio=self.harmless_ratio)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a decision looks at, counted from logged predictions and their feedback.

    Attributes:
        counts: For each judged signal the bad events per canary share, all steps of the rollout.
        step: The same for the present step alone.
        requests: Predictions per arm: (champion, canary).
        labelled: Predictions with a label per arm: (champion, canary).
        error_run: Most errors in a row on the canary.
        trouble: What a hard guard found: the version can't be loaded, its server dies again and again, or memory.
        elapsed_us: Event time since the present step began.
    """

    counts: Mapping[str, tuple[BadEvents, ...]] = field(default_factory=dict)
    step: Mapping[str, tuple[BadEvents, ...]] = field(default_factory=dict)
    requests: tuple[int, int] = (0, 0)
    labelled: tuple[int, int] = (0, 0)
    error_run: int = 0
    trouble: str = ""
    elapsed_us: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and the e-values behind it (1 means no evidence; `RolloutSpec.limit` says what is enough)."""

    action: Action
    reason: str
    harm: Mapping[str, float] = field(default_factory=dict)
    no_harm: float = 1.0
    evidence: Evidence = field(default_factory=Evidence)


def _e(log_value: float) -> float:
    return exp(min(log_value, _E_LIMIT))


def _proof(counts: Sequence[BadEvents], spec: RolloutSpec) -> float:
    return no_harm(counts, ratio=spec.harmful_ratio) if counts else 0.0


def decide(evidence: Evidence, spec: RolloutSpec) -> Decision:
    """Judge a rollout: harm first, then proof of no harm, then time.

    Args:
        evidence: Counts over stored rows; the same rows give the same decision.
        spec: The limits.
    Returns: `rollback` when a signal's e-value reaches its limit or the hard guard trips; `promote` when the mirror
        e-value of the step reaches 1 / alpha_promote after the least time; `hold` when time is up without a proof.
    """
    judged = {signal: evidence.counts[signal] for signal in spec.judged if signal in evidence.counts}
    logs = {signal: harm(counts, ratio=spec.harmless_ratio) for signal, counts in judged.items()}
    proof = _proof(evidence.step.get(spec.promote_on, ()), spec)

    def say(action: Action, reason: str) -> Decision:
        return Decision(action, reason, {k: _e(v) for k, v in logs.items()}, _e(proof), evidence)

    if evidence.trouble:
        return say("rollback", evidence.trouble)
    if evidence.error_run >= spec.consecutive_errors:
        return say("rollback", f"{evidence.error_run} errors in a row")
    for signal, value in logs.items():
        enough = spec.limit(signal, judged[signal])
        if value >= enough:
            return say("rollback", f"{signal}: e-value {_e(value):.3g} reached {_e(enough):.3g}")
    if proof >= log(1.0 / spec.alpha_promote) and evidence.elapsed_us >= spec.min_duration_us:
        return say("promote", f"{spec.promote_on}: risk ratio below {spec.harmful_ratio:g}, e-value {_e(proof):.3g}")
    if evidence.elapsed_us >= spec.max_duration_us:
        return say("hold", "inconclusive: time is up without a proof; a person has to decide")
    return say("continue", "collecting evidence")
