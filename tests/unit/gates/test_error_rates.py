"""How often a gate is wrong, by simulation. Bounds are 1.1 alpha and three standard errors of the simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mainspring.gates.rules.bootstrap import bootstrap
from mainspring.gates.rules.delong import compare_auc
from mainspring.gates.rules.mcnemar import compare_accuracy
from mainspring.gates.rules.metrics import METRICS

ALPHA = 0.05


def bound(repeats: int) -> float:
    return 1.1 * ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / repeats)


def accuracy_pass_rate(
    n: int, difference: float, margin: float, *, discordant: float, repeats: int
) -> tuple[float, float]:
    """Shares that pass by the test and by `>`."""
    chances = [(discordant + difference) / 2, (discordant - difference) / 2, 1 - discordant]
    counts = np.random.default_rng(n).multinomial(n, chances, size=repeats)
    passed = [compare_accuracy(int(b), int(c), n, threshold=-margin).p_pass <= ALPHA for b, c, _ in counts]
    return float(np.mean(passed)), float((counts[:, 0] > counts[:, 1]).mean())


@pytest.mark.parametrize(("n", "discordant"), [(300, 0.06), (2000, 0.06), (2000, 0.012), (10_000, 0.2)])
def test_a_model_worse_by_the_margin_passes_with_a_chance_of_alpha_at_most(n: int, discordant: float) -> None:
    passed, _ = accuracy_pass_rate(n, -0.01, 0.01, discordant=discordant, repeats=4000)
    assert passed <= bound(4000)


@pytest.mark.parametrize("n", [100, 2000])
def test_an_equal_model_is_called_superior_with_a_chance_of_alpha_at_most(n: int) -> None:
    passed, _ = accuracy_pass_rate(n, 0.0, 0.0, discordant=0.06, repeats=4000)
    assert passed <= bound(4000)


def test_an_equal_model_passes_where_the_plain_rule_tosses_a_coin() -> None:
    passed, plain = accuracy_pass_rate(10_000, 0.0, 0.01, discordant=0.06, repeats=2000)
    assert passed > 0.98
    assert 0.45 < plain < 0.53
    small, _ = accuracy_pass_rate(2000, 0.0, 0.01, discordant=0.06, repeats=2000)
    assert small == pytest.approx(0.57, abs=0.05)


def auc_pass_rate(shift: float, margin: float, *, repeats: int, n: int = 400) -> float:
    generator = np.random.default_rng(17)
    truth = (np.arange(n) % 4 == 0).astype(np.float64)
    passed = 0
    for _ in range(repeats):
        shared = generator.normal(0, 1, n)
        mine, theirs = (0.9 * shared + math.sqrt(0.19) * generator.normal(0, 1, n) for _ in range(2))
        found = compare_auc(truth, mine + (1 + shift) * truth, theirs + truth, threshold=-margin)
        passed += found.p_pass <= ALPHA
    return passed / repeats


def test_delong_keeps_its_level_at_the_margin() -> None:
    # the AUC of the champion is Phi(1 / sqrt 2) = 0.7602; a distance of 0.85 gives 0.7261, which is 0.0341 less
    worse = 0.760250 - 0.726104
    assert auc_pass_rate(-0.15, worse, repeats=2000) <= bound(2000)


def test_delong_finds_an_equal_model_not_inferior() -> None:
    assert auc_pass_rate(0.0, 0.05, repeats=300, n=800) > 0.95


def rmse_pass_rate(worse: float, margin: float, *, repeats: int, n: int = 150) -> float:
    generator = np.random.default_rng(23)
    metric = METRICS["rmse"]
    passed = 0
    for repeat in range(repeats):
        truth = generator.normal(0, 1, n)
        shared = generator.normal(0, 0.9, n)
        mine, theirs = (shared + generator.normal(0, math.sqrt(0.19), n) for _ in range(2))
        parts = [metric.rows(truth, truth + error, error) for error in (mine * (1 + worse), theirs)]
        draws = bootstrap(
            np.hstack(parts), lambda t: metric.value(t[..., 2:]) - metric.value(t[..., :2]), seed=repeat, repeats=400
        )
        passed += draws.p_above(-margin) <= ALPHA
    return passed / repeats


def test_the_bootstrap_keeps_its_level_at_the_margin() -> None:
    # both errors have a root mean square of 1; the candidate's is 1.05 times that
    assert rmse_pass_rate(0.05, 0.05, repeats=1000) <= bound(1000)


def test_the_bootstrap_finds_an_equal_model_not_inferior() -> None:
    assert rmse_pass_rate(0.0, 0.15, repeats=100, n=300) > 0.9
