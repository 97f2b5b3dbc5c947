"""What a trial of a search costs beside the same trial by raw Optuna: python bench/measure_tuning.py [TRIALS].

Both try the same parameters space with the same sampler. Optuna is measured twice: with its study in memory, which
nothing survives, and in SQLite, as it recommends for studies that are to survive. A trial of ours is a run of a
pipeline: cached, tracked, durable. Two trials are measured: one that does nothing (all of it is cost), and one that
trains LightGBM with the rows made in a step in front, which ours takes from the cache.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna

from mainspring import pipeline, search, step
from mainspring.core.settings import load
from mainspring.pipelines.search.service import Searches
from mainspring.server.house import open_house

ROWS, TREES = 10_000, 60
SPACE: dict[str, object] = {
    "rate": {"low": 0.01, "high": 0.3, "log": True},
    "leaves": {"low": 7, "high": 63},
}


def draw(rows: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 20))
    late = x[:, 0] + x[:, 1] * x[:, 2] + generator.normal(size=rows) > 0
    return np.column_stack([x, late])


def trained(table: np.ndarray, rate: float, leaves: int) -> float:
    import lightgbm as lgb
    from sklearn.metrics import roc_auc_score

    half = len(table) // 2
    model = lgb.LGBMClassifier(n_estimators=TREES, learning_rate=rate, num_leaves=leaves, n_jobs=1, verbose=-1)
    model.fit(table[:half, :-1], table[:half, -1])
    score = model.booster_.predict(table[half:, :-1], num_threads=1)
    return float(roc_auc_score(table[half:, -1], score))


@step
def table(rows: int) -> np.ndarray:
    return draw(rows)


@step
def fit(table: np.ndarray, rate: float, leaves: int) -> float:
    return trained(table, rate, leaves)


@step
def nothing(rate: float, leaves: int) -> float:
    return rate * leaves


@search(space=SPACE, objective={"value": "maximize"})
@pipeline
def training(rate: float = 0.1, leaves: int = 31) -> float:
    return fit(table(ROWS), rate, leaves)


@search(space=SPACE, objective={"value": "maximize"})
@pipeline
def idle(rate: float = 0.1, leaves: int = 31) -> float:
    return nothing(rate, leaves)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(work: Callable[[], object], trials: int) -> tuple[float, float]:
    """Milliseconds of processor and of the clock for each trial."""
    cpu, clock = cpu_s(), time.perf_counter()
    work()
    return (cpu_s() - cpu) * 1000 / trials, (time.perf_counter() - clock) * 1000 / trials


def raw(objective: Callable[[float, int], float], trials: int, storage: str | None) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0), storage=storage)

    def one(trial: optuna.Trial) -> float:
        return objective(trial.suggest_float("rate", 0.01, 0.3, log=True), trial.suggest_int("leaves", 7, 63))

    study.optimize(one, n_trials=trials)


def ours(target: object, trials: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = open_house(load(Path(folder), environ={}))
        searches = house.get(Searches)
        study = searches.start(target, {"trials": trials, "sampler": "tpe"})  # type: ignore[arg-type]
        done = searches.run(study.id, pipeline=target)  # type: ignore[arg-type]
        assert len(done.trials) == trials and done.state == "finished", done.error
        house.close()


def compared(objective: Callable[[float, int], float], target: object, trials: int) -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        return {
            "optuna, memory": timed(lambda: raw(objective, trials, None), trials),
            "optuna, sqlite": timed(lambda: raw(objective, trials, f"sqlite:///{folder}/study.db"), trials),
            "mainspring": timed(lambda: ours(target, trials), trials),
        }


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    known = draw(ROWS)
    ours(idle, 2)  # imports
    trained(known, 0.1, 7)
    cases: dict[str, tuple[Callable[[float, int], float], object]] = {
        "does nothing": (lambda rate, leaves: rate * leaves, idle),
        "trains": (lambda rate, leaves: trained(known, rate, leaves), training),
    }
    for name, (objective, target) in cases.items():
        measured = compared(objective, target, trials)
        for who, (cpu, clock) in measured.items():
            ratios = {f"x {other}": round(cpu / measured[other][0], 2) for other in list(measured)[:2]}
            print(
                json.dumps({"trial": name, "who": who, "cpu_ms": round(cpu, 2), "ms": round(clock, 2), **ratios}),
                flush=True,
            )


if __name__ == "__main__":
    main()
