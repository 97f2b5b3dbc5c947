"""How often is a harmless version rolled back, and how soon is a harmful one caught? The product's own rule, simulated.

    python bench/rollout_error_rates.py                  # 2,000 rollouts a row, about ten seconds
    python bench/rollout_error_rates.py --rollouts 200   # sooner, and coarser

Every rollout is 200,000 requests, 10 % of them on the canary, judged 400 times by
`mainspring.serving.rules.decision.decide` and ended by its first decision to roll back. Each judged signal has bad
events, 1 % of the champion's answers, and by one of them the version is worse; labels come with the answers. Two rules
that are in use elsewhere see the same rollouts: "the canary's rate is above 1.5 times the champion's in the last 500
requests", and a z test at 5 % on every look. The seed is another one than those that the weights were chosen on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mainspring.serving.rules.decision import Evidence, RolloutSpec, Signal, decide
from mainspring.serving.rules.eprocess import BadEvents

SHARE, BASE, REQUESTS, LOOKS = 0.1, 0.01, 200_000, 400
PER_LOOK = REQUESTS // LOOKS
RATIOS = (1.0, 1.5, 2.0, 3.0, 10.0)
SPECS = {
    "errors alone": RolloutSpec(judges=("errors",)),
    "as it comes: errors and quality": RolloutSpec(),
    "errors, latency and quality": RolloutSpec(latency_us=1),
    "errors and quality, before a second step": RolloutSpec(then=(0.5,)),
}
WORSE: Signal = "errors"
OTHERS: tuple[Signal, ...] = ("latency", "quality")
NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Running sums at every look, shape (rollouts, looks): requests of the canary, bad events of both arms."""

    asked: NDArray[np.int64]
    canary: NDArray[np.int64]
    champion: NDArray[np.int64]


def simulate(ratio: float, rollouts: int, *, seed: int) -> Rollouts:
    """Rollouts of a version `ratio` times as bad as the champion."""
    generator = np.random.default_rng(seed)
    asked = generator.binomial(PER_LOOK, SHARE, (rollouts, LOOKS))
    canary = generator.binomial(asked, min(1.0, BASE * ratio))
    champion = generator.binomial(PER_LOOK - asked, BASE)
    return Rollouts(asked.cumsum(1), canary.cumsum(1), champion.cumsum(1))


@cache
def least(spec: RolloutSpec, signal: Signal, most: int) -> NDArray[np.int64]:
    """For each count of the champion's bad events up to `most`, the fewest of the canary at which it is rolled back.

    The product decides; more events of the canary never speak for it, so one count says all.
    """
    found, canary = [], 1
    for champion in range(most + 1):
        while not rolls_back(spec, signal, canary, champion):
            canary += 1
        found.append(canary)
    return np.array(found)


def rolls_back(spec: RolloutSpec, signal: Signal, canary: int, champion: int) -> bool:
    """What the product decides on these bad events."""
    found = Evidence(counts={signal: (BadEvents(SHARE, canary, champion),)})
    return decide(found, spec).action == "rollback"


def rolled_back(harmless: Rollouts, others: Rollouts, spec: RolloutSpec) -> NDArray[np.int64]:
    """As `caught`, by any of the judged signals: the version is as good as the champion by all of them."""
    after = caught(harmless, spec)
    for signal in spec.judged:
        if signal != WORSE:  # parts of the other rollouts, so that no two signals see the same events
            place = OTHERS.index(signal)
            after = np.minimum(after, caught(others, spec, signal, slice(place, None, len(OTHERS))))
    return after


def caught(found: Rollouts, spec: RolloutSpec, signal: Signal = WORSE, rows: slice = slice(None)) -> NDArray[np.int64]:
    """The canary requests after which each rollout was rolled back by a signal; `NEVER` where it was not."""
    asked, canary, champion = found.asked[rows], found.canary[rows], found.champion[rows]
    back = canary >= least(spec, signal, 2 * round(BASE * REQUESTS))[champion]
    return np.where(back.any(1), np.take_along_axis(asked, back.argmax(1)[:, None], 1)[:, 0], NEVER)


def threshold_rule(found: Rollouts) -> float:
    """The share of rollouts that a threshold on the last window ever rolls back."""
    asked, canary, champion = (np.diff(part, axis=1, prepend=0) for part in (found.asked, found.canary, found.champion))
    rates = canary / np.maximum(asked, 1), champion / np.maximum(PER_LOOK - asked, 1)
    return float((rates[0] > 1.5 * rates[1]).any(axis=1).mean())


def z_rule(found: Rollouts) -> float:
    """The share of rollouts that a one-sided z test at 5 % on every look ever rolls back."""
    others = np.arange(1, LOOKS + 1) * PER_LOOK - found.asked
    pooled = (found.canary + found.champion) / (found.asked + others)
    spread = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / found.asked + 1 / others))
    return float(((found.canary / found.asked - found.champion / others) / spread > 1.6449).any(axis=1).mean())


def main() -> int:
    """Simulate, print a table, and say by the exit code whether the promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20261121)
    given = parser.parse_args()
    runs = {ratio: simulate(ratio, given.rollouts, seed=given.seed + i) for i, ratio in enumerate(RATIOS)}
    others = simulate(1.0, len(OTHERS) * given.rollouts, seed=given.seed + len(RATIOS))
    print(f"{given.rollouts} rollouts a row, {SHARE:.0%} canary, {BASE:.0%} bad events at the champion")
    print("| judged | risk ratio | rolled back | median canary requests | within 2,000 | within 3,000 |")
    print("|---|---|---|---|---|---|")
    kept = True
    for name, spec in SPECS.items():
        for ratio, found in runs.items():
            after = rolled_back(found, others, spec) if ratio == 1.0 else caught(found, spec)
            back = after < NEVER
            median = f"{np.median(after[back]):.0f}" if back.mean() > 0.5 else "-"
            within = [f"{(after <= limit).mean():.1%}" for limit in (2000, 3000)]
            print(f"| {name} | {ratio:g} | {back.mean():.1%} | {median} | {' | '.join(within)} |")
            if ratio == 1.0:
                kept &= bool(back.mean() <= 0.05)
            if ratio == 2.0 and not spec.then:
                kept &= bool(np.median(after) <= 1000 and (after <= 3000).mean() >= 0.95 and back.all())
    for name, rule in (("threshold at 1.5 x", threshold_rule), ("z test on every look", z_rule)):
        print(f"| {name} | 1 | {rule(runs[1.0]):.1%} | - | - | - |")
    print("kept" if kept else "NOT kept")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
