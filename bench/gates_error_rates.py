"""How often is a gate wrong? Every test of a gate, and whole gates, on simulated evaluations whose truth is known.

    python bench/gates_error_rates.py               # 1,000 evaluations a row, about two minutes
    python bench/gates_error_rates.py --pairs 4000  # the tables of the documentation

The first table puts the truth exactly on the line (the margin, the floor, the limit) and counts false claims: "good
enough" and "not good enough" may each be made with a chance of at most alpha = 0.05, and the bar is 1.1 alpha. The
second shows what that costs: how often a gate passes a model that is worse, equal or better, beside the plain `>`
(baseline accuracy 0.88, 6 % discordant rows, margin 0.01).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.gates import parse_gate
from mainspring.gates.case import Answers, Case
from mainspring.gates.checks import build, parse_check
from mainspring.gates.judging import run_checks
from mainspring.gates.rules.delong import compare_auc
from mainspring.gates.rules.finding import Finding
from mainspring.gates.rules.mcnemar import compare_accuracy
from mainspring.gates.rules.proportion import share_above
from mainspring.gates.rules.quantile import quantile_below
from mainspring.gates.rules.spread import spread_below
from mainspring.gates.rules.verdict import combine

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], Finding]
DISCORDANT, MARGIN, ALPHA = 0.06, 0.01, 0.05
BAR = 1.1 * ALPHA
NORMAL = NormalDist()
AUC = NORMAL.cdf(1 / 2**0.5)
AUC_AT_THE_MARGIN = NORMAL.cdf(0.85 / 2**0.5) - AUC
RIGHT = NORMAL.cdf(0.5)  # recall, specificity and accuracy of a binormal score cut half way
SETTINGS = [(2000, -0.02), (2000, -0.01), (2000, 0.0), (2000, 0.01), (10_000, -0.01), (10_000, 0.0)]


def no_model(_: pl.DataFrame) -> dict[str, NDArray[np.generic]]:
    """Nothing is asked of a model here: the answers are drawn."""
    raise NotImplementedError


def case(
    truth: Floats, mine: Answers, theirs: Answers | None = None, *, task: str = "classification", **columns: object
) -> Case:
    """A case of drawn answers."""
    return Case(
        candidate=None,
        champion=None,
        frame=pl.DataFrame({"y": truth, **columns}),
        label="y",
        task="regression" if task == "regression" else "classification",
        truth=truth,
        answers=mine,
        baseline=theirs,
        alpha=ALPHA,
        seed=int(truth[:50].sum() * 1e6) % 2**31,
        predict=no_model,
    )


def found(check: dict[str, object], one: Case) -> Finding:
    """What one check measures on a case."""
    measured = build(parse_check(check)[0]).measure(one)
    assert isinstance(measured, Finding)
    return measured


def shared(generator: np.random.Generator, n: int, *, cluster: int = 0, ar: float = 0.0) -> Floats:
    """Standard normal noise, half of it common to a cluster, or remembered from row to row."""
    noise: Floats = generator.normal(0, 1, n)
    if cluster:
        common: Floats = np.repeat(generator.normal(0, 1, -(-n // cluster)), cluster)[:n]
        return float(np.sqrt(0.5)) * (common + noise)
    for row in range(1, n if ar else 0):
        noise[row] = ar * noise[row - 1] + np.sqrt(1 - ar * ar) * noise[row]
    return noise


def of_accuracy(n: int, margin: float, discordant: float) -> Draw:
    """Counts of discordant rows at the margin."""
    chances = [(discordant - margin) / 2, (discordant + margin) / 2, 1 - discordant]

    def draw(generator: np.random.Generator) -> Finding:
        gained, lost, _ = generator.multinomial(n, chances)
        return compare_accuracy(int(gained), int(lost), n, threshold=-margin)

    return draw


def of_auc(n: int, *, cluster: int = 0, compare: bool = True) -> Draw:
    """Two binormal scores at the margin, or one at its own area."""
    check: dict[str, object] = {"metric": "roc_auc"}
    check |= {"compare": "non_inferior", "margin": -AUC_AT_THE_MARGIN} if compare else {"floor": AUC}
    check |= {"cluster": "group"} if cluster else {}

    def draw(generator: np.random.Generator) -> Finding:
        truth = (np.arange(n) % 4 == 0).astype(np.float64)
        common = shared(generator, n, cluster=cluster)
        mine, theirs = (0.9 * common + np.sqrt(0.19) * shared(generator, n, cluster=cluster) for _ in range(2))
        group = np.arange(n) // max(cluster, 1)
        scores = mine + (0.85 if compare else 1.0) * truth, theirs + truth
        return found(check, case(truth, *(Answers(score, score) for score in scores), group=group))

    return draw


def of_rmse(n: int, *, margin: float | str = 0.05, cluster: int = 0, ar: float = 0.0) -> Draw:
    """Two predictors whose errors have a root mean square of 1.05 and 1."""
    check: dict[str, object] = {"metric": "rmse", "compare": "non_inferior", "margin": margin}
    check |= {"cluster": "group"} if cluster else {"block": 20} if ar else {}

    def draw(generator: np.random.Generator) -> Finding:
        truth = generator.normal(0, 1, n)
        common = shared(generator, n, cluster=cluster, ar=ar)
        mine, theirs = (0.9 * common + np.sqrt(0.19) * shared(generator, n, cluster=cluster, ar=ar) for _ in range(2))
        said = [Answers(truth + error, truth + error) for error in (1.05 * mine, theirs)]
        return found(check, case(truth, *said, task="regression", group=np.arange(n) // max(cluster, 1)))

    return draw


def of_floor(metric: str, floor: float, n: int) -> Draw:
    """A binormal score cut half way, held against what it truly has."""

    def draw(generator: np.random.Generator) -> Finding:
        return found({"metric": metric, "floor": floor}, binormal(generator, n))

    return draw


def binormal(generator: np.random.Generator, n: int, **columns: Floats) -> Case:
    """A score of distance 1 between the classes, cut half way; every third row is of class 1."""
    truth = (np.arange(n) % 3 == 0).astype(np.float64)
    score = generator.normal(0, 1, n) + truth
    one = case(truth, Answers(score, (score > 0.5).astype(np.float64)))
    return replace(one, frame=one.frame.with_columns(**columns))


def of_fairness(rates: tuple[float, ...], n: int) -> Draw:
    """Groups whose selection rates differ by just the limit."""

    def draw(generator: np.random.Generator) -> Finding:
        group = np.arange(n) % len(rates)
        said = (generator.uniform(0, 1, n) < np.array(rates)[group]).astype(np.float64)
        truth = (np.arange(n) % 2).astype(np.float64)
        check = {"fairness": "selection_rate", "group": "group", "max_gap": max(rates) - min(rates)}
        return found(check, case(truth, Answers(said, said), group=group))

    return draw


def of_calibration(n: int) -> Draw:
    """Probabilities that are 0.05 too low everywhere."""

    def draw(generator: np.random.Generator) -> Finding:
        said = generator.uniform(0.1, 0.8, n)
        truth = (generator.uniform(0, 1, n) < said + 0.05).astype(np.float64)
        return found({"calibration": "ece", "max": 0.05}, case(truth, Answers(said, said)))

    return draw


AT_THE_LINE: dict[str, Draw] = {
    "accuracy non-inferior, McNemar and Agresti-Min, n = 300": of_accuracy(300, MARGIN, DISCORDANT),
    "accuracy non-inferior, n = 2,000": of_accuracy(2000, MARGIN, DISCORDANT),
    "accuracy superior, exact McNemar, n = 2,000": of_accuracy(2000, 0.0, DISCORDANT),
    "roc_auc non-inferior, DeLong, n = 400": of_auc(400),
    "roc_auc non-inferior, 100 clusters of 4": of_auc(400, cluster=4),
    "roc_auc at a floor, DeLong, n = 400": of_auc(400, compare=False),
    "rmse non-inferior, paired bootstrap, n = 300": of_rmse(300),
    "rmse non-inferior by 5 % of the champion's": of_rmse(300, margin="5%"),
    "rmse non-inferior, 60 clusters of 5": of_rmse(300, cluster=5),
    "rmse non-inferior, blocks of 20 in a series of 600": of_rmse(600, ar=0.5),
    "recall at a floor, exact binomial, n = 600": of_floor("recall", RIGHT, 600),
    "balanced accuracy at a floor, bootstrap, n = 600": of_floor("balanced_accuracy", RIGHT, 600),
    "selection rates of two groups, Agresti-Caffo, n = 600": of_fairness((0.75, 0.65), 600),
    "selection rates of three groups, all pairs, n = 900": of_fairness((0.75, 0.65, 0.7), 900),
    "calibration error, bootstrap, n = 2,000": of_calibration(2000),
    "behaviour test, 5 % failures allowed, n = 500": lambda g: share_above(int(g.binomial(500, 0.95)), 500, floor=0.95),
    "p95 of a latency, order statistics, n = 200": lambda g: quantile_below(
        g.exponential(1, 200).tolist(), 0.95, limit=float(-np.log(0.05))
    ),
    "spread over 5 seeds, chi-squared": lambda g: spread_below(g.normal(0.7, 0.01, 5).tolist(), limit=0.01, n=1000),
}  # fmt: skip
COSTLY = {"calibration error, bootstrap, n = 2,000"}
"""Rows that take a third of a second an evaluation: an eighth as many."""
WHOLE = ["roc_auc", "accuracy", "recall", "specificity"]


def whole_gate(generator: np.random.Generator, floors: list[float], n: int = 600) -> str:
    """The outcome of a gate of four floors."""
    checks = [{"metric": metric, "floor": floor} for metric, floor in zip(WHOLE, floors, strict=True)]
    one = binormal(generator, n)
    return combine([result.outcome for result in run_checks(parse_gate("g", {"checks": checks}), one)])


def sliced_gate(generator: np.random.Generator) -> str:
    """Whether any of ten slices that all are exactly on the floor is called bad."""
    n = 2000
    check = {"metric": "accuracy", "floor": RIGHT, "slices": ["tenth"], "min_rows": 100}
    results = run_checks(
        parse_gate("g", {"checks": [check]}), binormal(generator, n, tenth=(np.arange(n) % 10).astype(np.float64))
    )
    return "fail" if any(part.state == "bad" for part in results[0].slices) else "pass"


@dataclass(frozen=True, slots=True)
class Rates:
    """Share of evaluations that pass, by rule, and how often the gate said fail."""

    greater: float
    within_margin: float
    paired: float
    failed: float


def accuracy_rates(n: int, difference: float, *, pairs: int, seed: int) -> Rates:
    """Simulates `pairs` evaluations on `n` rows of a candidate whose accuracy differs by `difference`."""
    generator = np.random.default_rng(seed)
    gained, lost = (DISCORDANT + difference) / 2, (DISCORDANT - difference) / 2
    counts = generator.multinomial(n, [gained, lost, 1 - DISCORDANT], size=pairs)
    return _rates([compare_accuracy(int(b), int(c), n, threshold=-MARGIN) for b, c, _ in counts], MARGIN)


def auc_rates(n: int, shift: float, *, margin: float, pairs: int, seed: int) -> Rates:
    """The same for the AUC of two binormal scores: Phi(distance / sqrt 2), the candidate's distance being 1 + shift."""
    generator = np.random.default_rng(seed)
    truth = (np.arange(n) % 4 == 0).astype(np.float64)
    drawn = []
    for _ in range(pairs):
        common = generator.normal(0, 1, n)
        mine, theirs = (0.9 * common + np.sqrt(1 - 0.81) * generator.normal(0, 1, n) for _ in range(2))
        drawn.append(compare_auc(truth, mine + (1 + shift) * truth, theirs + truth, threshold=-margin))
    return _rates(drawn, margin)


def _rates(drawn: list[Finding], margin: float) -> Rates:
    values = np.array([one.value for one in drawn])
    return Rates(
        greater=float((values > 0).mean()),
        within_margin=float((values >= -margin).mean()),
        paired=float(np.mean([one.p_pass <= ALPHA for one in drawn])),
        failed=float(np.mean([one.p_fail <= ALPHA for one in drawn])),
    )


def held(*rates: float, pairs: int) -> str:
    """Whether rates keep the bar: yes, within two standard errors of the simulation, or no."""
    noise = 2 * (ALPHA * (1 - ALPHA) / pairs) ** 0.5
    worst = max(rates)
    return "yes" if worst <= BAR else f"within the noise of {noise:.3f}" if worst <= BAR + noise else "**no**"


def show_errors(pairs: int, seed: int, only: str = "") -> None:
    """Prints how often each test with `only` in its name makes a false claim when the truth is on the line."""
    print(f"| the truth is exactly on the line | false pass | false fail | at most {BAR:.3f} |")
    print("|---|---|---|---|")
    for name, draw in AT_THE_LINE.items():
        if only not in name:
            continue
        generator, times = np.random.default_rng(seed), max(pairs // 8, 1) if name in COSTLY else pairs
        drawn = [draw(generator) for _ in range(times)]
        passed, failed = (
            float(np.mean([getattr(one, side) <= ALPHA for one in drawn])) for side in ("p_pass", "p_fail")
        )
        print(f"| {name} | {passed:.3f} | {failed:.3f} | {held(passed, failed, pairs=times)} |", flush=True)
    if only:
        return
    for name, outcomes in (
        ("whole gate, four floors, all on the line", [AUC, RIGHT, RIGHT, RIGHT]),
        ("whole gate, four floors, one on the line", [0.4, RIGHT, 0.4, 0.4]),
    ):
        generator = np.random.default_rng(seed)
        said = [whole_gate(generator, outcomes) for _ in range(pairs)]
        passed, failed = said.count("pass") / pairs, said.count("fail") / pairs
        print(f"| {name} | {passed:.3f} | {failed:.3f} | {held(passed, failed, pairs=pairs)} |", flush=True)
    generator = np.random.default_rng(seed)
    flagged = sum(sliced_gate(generator) == "fail" for _ in range(pairs)) / pairs
    what = "ten slices on the line, Benjamini-Hochberg: any called bad"
    print(f"| {what} |  | {flagged:.3f} | {held(flagged, pairs=pairs)} |")


def show_power(pairs: int, seed: int) -> None:
    """Prints how often a gate passes models that are worse, equal and better, beside two plain rules."""
    print("\n| n | true difference | `>` | `>= -margin` | paired non-inferiority | gate says fail |")
    print("|---|---|---|---|---|---|")
    for n, difference in SETTINGS:
        show(n, difference, accuracy_rates(n, difference, pairs=pairs, seed=seed))
    print(f"\nAUC {AUC:.2f}, scores correlated 0.81, margin {-AUC_AT_THE_MARGIN:.3f}\n")
    print("| n | true difference | `>` | `>= -margin` | paired non-inferiority | gate says fail |")
    print("|---|---|---|---|---|---|")
    for n, shift, difference in [(500, -0.15, AUC_AT_THE_MARGIN), (500, 0.0, 0.0), (2000, 0.0, 0.0)]:
        some = max(pairs // 4, 1)
        show(n, difference, auc_rates(n, shift, margin=-AUC_AT_THE_MARGIN, pairs=some, seed=seed))


def show(n: int, difference: float, rates: Rates) -> None:
    """Prints one row of a table."""
    print(
        f"| {n} | {difference:+.2f} | {rates.greater:.2f} | {rates.within_margin:.2f} "
        f"| {rates.paired:.3f} | {rates.failed:.3f} |"
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="Only tests with this in their name.")
    options = parser.parse_args()
    show_errors(options.pairs, options.seed, options.only)
    if not options.only:
        show_power(options.pairs, options.seed)


if __name__ == "__main__":
    main()
