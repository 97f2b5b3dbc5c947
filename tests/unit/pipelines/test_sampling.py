"""A search that is cut off and goes on proposes what it would have proposed without that."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from mainspring.core.errors import Invalid
from mainspring.pipelines.search import Search, Trial, TrialState
from mainspring.pipelines.search.rules import search_of
from mainspring.pipelines.search.sampling import Sampling, check_installed

SPACE = {"x": {"low": -2.0, "high": 2.0}, "n": {"low": 1, "high": 9}}


def wanted(sampler: str, **more: Any) -> Search:
    objective = {"loss": "minimize", "size": "minimize"} if sampler == "nsga2" else {"loss": "minimize"}
    return search_of({"space": SPACE, "objective": objective, "sampler": sampler, **more}, where="search")


class Drive:
    """Asks and tells as a search does, `parallel` at a time, with a clock of its own."""

    def __init__(self, search: Search, trials: list[Trial]) -> None:
        self.search, self.sampling = search, Sampling(search, trials)
        self.trials = {trial.number: trial for trial in trials}
        self.at = 1 + max((max(t.started_at, t.finished_at) for t in trials), default=0)

    def until(self, count: int) -> list[Trial]:
        """Go on until so many were asked for; what is open then stays open."""
        while len(self.trials) < count:
            running = [t for t in self.trials.values() if t.state is TrialState.RUNNING]
            if len(running) < self.search.parallel:
                number, self.at = len(self.trials), self.at + 1
                params = self.sampling.ask(number)
                self.trials[number] = Trial(number=number, state=TrialState.RUNNING, params=params, started_at=self.at)
            else:
                self.end(running[0 if len(running) < 3 else 1])  # not in the order in which they began
        return [self.trials[number] for number in sorted(self.trials)]

    def end(self, trial: Trial) -> None:
        self.at += 1
        x, n = float(str(trial.params["x"])), int(str(trial.params["n"]))
        values = {"loss": (x - 0.5) ** 2 + abs(n - 4), "size": float(n)}
        failed = trial.number % 7 == 6
        ended = replace(
            trial,
            state=TrialState.FAILED if failed else TrialState.FINISHED,
            values={} if failed else {name: values[name] for name in self.search.objective},
            finished_at=self.at,
        )
        self.trials[trial.number] = ended
        self.sampling.tell(ended)


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize(("sampler", "count"), [("tpe", 24), ("cmaes", 40), ("nsga2", 70), ("random", 12)])
def test_a_search_that_goes_on_proposes_what_it_would_have(sampler: str, count: int, parallel: int) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    search = wanted(sampler, parallel=parallel)
    whole = Drive(search, []).until(count)
    for cut in (count // 3, count - 4):
        stored = Drive(search, []).until(cut)
        again = Drive(search, stored).until(count - 1)
        twice = Drive(search, again).until(count)  # cut off once more
        assert [trial.params for trial in twice] == [trial.params for trial in whole]


def test_trials_that_the_sampler_would_not_draw_are_taken_as_results() -> None:
    stored = Drive(wanted("tpe"), []).until(6)
    moved = [replace(trial, params={**trial.params, "x": 0.125 * trial.number}) for trial in stored]
    drive = Drive(wanted("tpe"), moved)
    assert [trial.params for trial in drive.until(8)[:6]] == [trial.params for trial in moved]
    assert len({str(trial.params) for trial in drive.trials.values()}) == 8


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is here")
def test_gaussian_processes_say_what_they_need() -> None:
    with pytest.raises(Invalid, match="torch is not installed here, and Optuna fits its Gaussian") as told:
        check_installed("gp")
    assert told.value.hint.startswith("pip install 'mainspring[torch]' for it, or take the sampler tpe")


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"sampler": "cmaes", "space": {"kind": ["deep", "wide"]}}, "search.deep.sampler"),
        ({"objective": {"loss": "smallest"}}, "search.deep.objective"),
        ({"trials": 0}, "search.deep.trials"),
    ],
)
def test_what_is_wrong_with_a_search_says_in_which_one(wrong: dict[str, object], where: str) -> None:
    with pytest.raises(Invalid) as told:
        search_of({"space": SPACE, "objective": {"loss": "minimize"}, **wrong}, where="search.deep")
    assert told.value.where == where
