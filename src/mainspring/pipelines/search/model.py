"""Values of searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass
from mainspring.pipelines.model import Json

SAMPLERS = ("tpe", "gp", "cmaes", "nsga2", "random")
PRUNERS = ("", "median", "halving")
MOST_TRIALS = 10_000


class SearchState(StrEnum):
    """Where a search stands. `queued` waits for a process that drives it; the last three are final.

    A failed or cancelled one can be resumed, and a finished one be given more trials.
    """

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing is being done for it any more."""
        return self not in OPEN


OPEN = (SearchState.QUEUED, SearchState.RUNNING)
"""Where a search stands that is not over."""


class TrialState(StrEnum):
    """Where a trial stands. `pruned` was behind others at the same step, and stopped for that."""

    RUNNING = "running"
    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones when both are.

    `log` draws by powers, `step` only every so many.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        ends = (self.low, self.high) if self.step is None else (self.low, self.high, self.step)
        return all(isinstance(end, int) for end in ends)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[str | int | float | bool | None, ...]


Space = Mapping[str, Range | Choice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """`[search.NAME]` and `@search(...)`: what is searched for.

    Attributes:
        space: By parameter of the pipeline a range `{"low": 1, "high": 9}`, also with `log` and `step`, or a list.
        objective: By metric "maximize" or "minimize". A metric is looked for in what the pipeline returns (also below
            `metrics`), then among the metrics of its tracked run. Several are searched for together.
        trials: How many runs.
        sampler: "tpe", "gp" (needs torch), "cmaes" (ranges only), "nsga2" or "random"; empty: tpe, or nsga2 when
            there are several objectives.
        prune: "median" or "halving" stops trials by the metric that they log step by step; empty: none.
        parallel: How many trials run at once.
        retries: How often a trial that failed or was killed is tried again.
        params: Parameters that stay the same.
        winner: The best parameters run once more with these besides, such as `{"publish": true}`; what was done
            before is taken from the cache. Empty: no such run.
        seed: The sampler's.
    """

    space: Space
    objective: Mapping[str, str]
    trials: int = 20
    sampler: str = ""
    prune: str = ""
    parallel: int = 1
    retries: int = 1
    params: Mapping[str, Json] = field(default_factory=dict)
    winner: Mapping[str, Json] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.space:
            raise Invalid(
                "nothing to search", where="search space", hint="space = { rate = { low = 0.01, high = 0.3 } }"
            )
        if not self.objective:
            raise Invalid("no objective", where="search objective", hint='objective = { roc_auc = "maximize" }')
        for name, way in self.objective.items():
            if way not in ("maximize", "minimize"):
                hint = did_you_mean(way, ("maximize", "minimize")) or "use maximize or minimize"
                raise Invalid(f"{name} is to be {way!r}", where="search objective", hint=hint)
        for value, known, what in ((self.sampler, ("", *SAMPLERS), "sampler"), (self.prune, PRUNERS, "prune")):
            if value not in known:
                hint = did_you_mean(value, known) or "known are " + ", ".join(filter(None, known))
                raise Invalid(f"no {what} {value!r}", where=f"search {what}", hint=hint)
        for number, least, most, what in (
            (self.trials, 1, MOST_TRIALS, "trials"),
            (self.parallel, 1, 256, "parallel"),
            (self.retries, 0, 10, "retries"),
            (self.seed, 0, 2**32 - 1, "seed"),
        ):
            if not least <= number <= most:
                raise Invalid(f"{number} {what}", where=f"search {what}", hint=f"use {least} to {most}")
        if self.prune and len(self.objective) > 1:
            raise Invalid("trials with several objectives are not pruned", where="search prune", hint="take it out")
        if len(self.objective) > 1 and self.sampler == "cmaes":
            raise Invalid("cmaes has one objective", where="search sampler", hint="use nsga2 or tpe")
        if self.sampler == "cmaes" and any(isinstance(each, Choice) for each in self.space.values()):
            raise Invalid("cmaes searches ranges, not lists", where="search sampler", hint="use tpe, or ranges only")

    @property
    def method(self) -> str:
        """The sampler that is used."""
        return self.sampler or ("nsga2" if len(self.objective) > 1 else "tpe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One try: its parameters, the run they were tried in, and what came of it. Values are by metric.

    `steps` are the values it was pruned by, or could have been: pairs of step and value.
    """

    number: int
    state: TrialState
    params: Mapping[str, Json]
    run: str = ""
    tries: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[tuple[int, float], ...] = ()
    note: str = ""
    started_at: int = 0
    finished_at: int = 0

    @property
    def seconds(self) -> float | None:
        """How long it took, None while that is not known."""
        return (self.finished_at - self.started_at) / 1e6 if self.finished_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A search as it stands, with its trials in order.

    Attributes:
        winner: The run that is made of the best, once it was asked for.
        error: Why it ended without an answer; of a queued one, why it has to be taken up again.
        job_id: The job of whoever drives it.
    """

    id: str
    pipeline: str
    target: str
    search: Search
    state: SearchState
    trials: tuple[Trial, ...] = ()
    winner: str = ""
    error: str = ""
    job_id: str = ""
    created_at: int = 0
    finished_at: int = 0

    @property
    def ended(self) -> int:
        """How many trials are over, whatever came of them."""
        return sum(trial.state is not TrialState.RUNNING for trial in self.trials)

    def standing(self, trial: Trial) -> str:
        """Where a trial stands, in a word: one that was open when the search ended is `cut off`, until it goes on."""
        return "cut off" if self.state.is_final and trial.state is TrialState.RUNNING else trial.state.value

    @property
    def standings(self) -> dict[str, int]:
        """How many trials stand where."""
        return Counter(map(self.standing, self.trials))

    @property
    def ref(self) -> str:
        """Its reference, such as `searches/0199...`."""
        return f"searches/{self.id}"
