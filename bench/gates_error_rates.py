"""How often does a gate pass a model that is worse, equal or better? Three rules on the same simulated evaluations.

    python bench/gates_error_rates.py               # 1,000 evaluations a row, some seconds
    python bench/gates_error_rates.py --pairs 4000  # the table of the documentation

Baseline accuracy 0.88, 6 % discordant rows, margin 0.01, alpha 0.05.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mainspring.gates.rules.delong import compare_auc
from mainspring.gates.rules.mcnemar import compare_accuracy

DISCORDANT, MARGIN, ALPHA = 0.06, 0.01, 0.05
AUC_AT_THE_MARGIN = NormalDist().cdf(0.85 / 2**0.5) - NormalDist().cdf(1 / 2**0.5)
SETTINGS = [(2000, -0.02), (2000, -0.01), (2000, 0.0), (2000, 0.01), (10_000, -0.01), (10_000, 0.0)]


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
    found = [compare_accuracy(int(b), int(c), n, threshold=-MARGIN) for b, c, _ in counts]
    values = np.array([one.value for one in found])
    return Rates(
        greater=float((values > 0).mean()),
        within_margin=float((values >= -MARGIN).mean()),
        paired=float(np.mean([one.p_pass <= ALPHA for one in found])),
        failed=float(np.mean([one.p_fail <= ALPHA for one in found])),
    )


def auc_rates(n: int, shift: float, *, margin: float, pairs: int, seed: int) -> Rates:
    """The same for the AUC of two binormal scores: Phi(distance / sqrt 2), the candidate's distance being 1 + shift."""
    generator = np.random.default_rng(seed)
    truth = (np.arange(n) % 4 == 0).astype(np.float64)
    found = []
    for _ in range(pairs):
        shared = generator.normal(0, 1, n)
        mine, theirs = (0.9 * shared + np.sqrt(1 - 0.81) * generator.normal(0, 1, n) for _ in range(2))
        found.append(compare_auc(truth, mine + (1 + shift) * truth, theirs + truth, threshold=-margin))
    values = np.array([one.value for one in found])
    return Rates(
        greater=float((values > 0).mean()),
        within_margin=float((values >= -margin).mean()),
        paired=float(np.mean([one.p_pass <= ALPHA for one in found])),
        failed=float(np.mean([one.p_fail <= ALPHA for one in found])),
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| n | true difference | `>` | `>= -margin` | paired non-inferiority | gate says fail |")
    print("|---|---|---|---|---|---|")
    for n, difference in SETTINGS:
        show(n, difference, accuracy_rates(n, difference, pairs=options.pairs, seed=options.seed))
    print(f"\nAUC 0.76, scores correlated 0.81, margin {-AUC_AT_THE_MARGIN:.3f}")
    print("| n | true difference | `>` | `>= -margin` | paired non-inferiority | gate says fail |")
    print("|---|---|---|---|---|---|")
    for n, shift, difference in [(500, -0.15, AUC_AT_THE_MARGIN), (500, 0.0, 0.0), (2000, 0.0, 0.0)]:
        pairs = max(options.pairs // 4, 1)
        show(n, difference, auc_rates(n, shift, margin=-AUC_AT_THE_MARGIN, pairs=pairs, seed=options.seed))


def show(n: int, difference: float, found: Rates) -> None:
    """Prints one row of a table."""
    print(
        f"| {n} | {difference:+.2f} | {found.greater:.2f} | {found.within_margin:.2f} "
        f"| {found.paired:.3f} | {found.failed:.3f} |"
    )


if __name__ == "__main__":
    main()
