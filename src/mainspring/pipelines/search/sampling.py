"""What Optuna is for: which parameters to try next, and which trials to stop. It keeps nothing: we do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid
from mainspring.pipelines.model import Json
from mainspring.pipelines.search.model import Choice, Range, Search, Space, Trial, TrialState

if TYPE_CHECKING:
    import optuna

_NEEDS = {"tpe": ("optuna",), "gp": ("optuna", "torch"), "cmaes": ("optuna", "cmaes")}
_EXTRA = {"optuna": "tune", "cmaes": "tune", "torch": "torch"}

_MOST_REPLAYED = {"tpe": 500, "cmaes": 10_000, "nsga2": 10_000, "random": 10_000}
"""So many trials are asked for again when a search goes on. For TPE, 500 take a few seconds; a Gaussian process is
fitted anew for each, and has nothing but results to remember."""
_TRIALS_BEFORE_MEDIAN = 3
"""A trial is not behind the median of fewer."""


def check_installed(method: str) -> None:
    """Return when the packages of a sampler are installed.

    Raises:
        Invalid: One is not; the hint names the extra.
    """
    for package in _NEEDS.get(method, ("optuna",)):
        if find_spec(package) is None:
            hint = f"pip install 'mainspring[{_EXTRA[package]}]'"
            what = f"the package {package} is not installed here"
            if method == "gp":
                what += ", and Optuna fits its Gaussian processes with torch"
                hint += " for it, or take the sampler tpe, which needs nothing more"
            raise Invalid(what, where=f"sampler {method}", hint=hint)


class Sampling:
    """Draws parameters for new trials from what is known of the old ones.

    Args:
        search: The declaration.
        trials: What is known already; trials that are running count as open.
    """

    def __init__(self, search: Search, trials: Sequence[Trial]) -> None:
        import optuna

        check_installed(search.method)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search = search
        self._distributions = distributions(search.space)
        self._open: dict[int, optuna.Trial] = {}
        self._study = _study(search, search.seed)
        if not self._replay(trials):
            self._take(trials)

    def _replay(self, trials: Sequence[Trial]) -> bool:
        """Ask and tell once more as it went, so that the sampler stands where it stood when the search was cut off.

        Populations, covariances and the numbers that were drawn are in the sampler alone; they come about again where
        the same is asked and told in the same order. False when a trial is not what the sampler draws now: its
        parameters were drawn by another release of Optuna, or times do not tell the order.
        """
        if len(trials) > _MOST_REPLAYED.get(self._search.method, 0):
            return False
        ended = [trial for trial in trials if trial.state is not TrialState.RUNNING]
        went = [(trial.started_at, 1, trial.number, trial) for trial in trials]
        went += [(trial.finished_at, 0, trial.number, trial) for trial in ended]
        for _, is_asked, number, trial in sorted(went, key=lambda each: each[:3]):
            if is_asked:
                if self.ask(number) != dict(trial.params):
                    return False
                self.report(number, trial.steps)
            elif number not in self._open:
                return False
            else:
                self.tell(trial)
        return True

    def _take(self, trials: Sequence[Trial]) -> None:
        """Go on from results alone; a search must not draw again what it drew before, hence another seed."""
        done = [trial for trial in trials if trial.state is not TrialState.RUNNING]
        self._open, self._study = {}, _study(self._search, self._search.seed + len(done))
        for trial in done:
            self._study.add_trial(self._frozen(trial))
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                self._study.enqueue_trial(dict(trial.params))
                self._open[trial.number] = self._study.ask(self._distributions)
                self.report(trial.number, trial.steps)

    def ask(self, number: int) -> dict[str, Json]:
        """Parameters for a new trial."""
        trial = self._study.ask(self._distributions)
        self._open[number] = trial
        return dict(trial.params)

    def tell(self, trial: Trial) -> None:
        """Say what came of a trial."""
        import optuna

        states = {
            TrialState.FINISHED: optuna.trial.TrialState.COMPLETE,
            TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
            TrialState.FAILED: optuna.trial.TrialState.FAIL,
        }
        values = [trial.values[name] for name in self._search.objective] if trial.state is TrialState.FINISHED else None
        self._study.tell(self._open.pop(trial.number), values, state=states[trial.state])

    def report(self, number: int, steps: Sequence[tuple[int, float]]) -> None:
        """Take the values that an open trial logged since it was last reported of."""
        for step, value in steps:
            self._open[number].report(value, step)

    def is_behind(self, number: int) -> bool:
        """Whether an open trial should stop, by what was reported of it and of others."""
        return bool(self._search.prune) and bool(self._open[number].should_prune())

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        import optuna

        states = {
            TrialState.FINISHED: optuna.trial.TrialState.COMPLETE,
            TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
        }
        state = states.get(trial.state, optuna.trial.TrialState.FAIL)
        values = [trial.values[name] for name in self._search.objective] if trial.state is TrialState.FINISHED else None
        return optuna.trial.create_trial(
            state=state,
            values=values,
            params=dict(trial.params),
            distributions=self._distributions,
            intermediate_values=dict(trial.steps),
        )


def _study(search: Search, seed: int) -> optuna.Study:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = _sampler(search, seed)
        return optuna.create_study(sampler=sampler, pruner=_pruner(search), directions=_directions(search))


def distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """A space in the words of Optuna."""
    return {name: _distribution(each) for name, each in space.items()}


def _distribution(each: Range | Choice) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(each, Choice):
        return CategoricalDistribution(each.values)
    if each.is_whole:
        return IntDistribution(int(each.low), int(each.high), log=each.log, step=int(each.step or 1))
    return FloatDistribution(each.low, each.high, log=each.log, step=each.step)


def _directions(search: Search) -> list[optuna.study.StudyDirection]:
    from optuna.study import StudyDirection

    return [
        StudyDirection.MAXIMIZE if way == "maximize" else StudyDirection.MINIMIZE for way in search.objective.values()
    ]


def _sampler(search: Search, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    made: Mapping[str, type[samplers.BaseSampler]] = {
        "gp": samplers.GPSampler,
        "cmaes": samplers.CmaEsSampler,
        "nsga2": samplers.NSGAIISampler,
        "random": samplers.RandomSampler,
    }
    if search.method == "tpe":
        return samplers.TPESampler(seed=seed, constant_liar=search.parallel > 1)
    return made[search.method](seed=seed)  # type: ignore[call-arg]


def _pruner(search: Search) -> optuna.pruners.BasePruner:
    from optuna import pruners

    if search.prune == "median":
        return pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_MEDIAN)
    return pruners.SuccessiveHalvingPruner() if search.prune == "halving" else pruners.NopPruner()
