"""How far the rates of groups lie apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.gates.rules.fairness import rates_within

counts = st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda pair: (pair[0], pair[0] + pair[1] + 10))


def test_the_interval_worked_by_hand() -> None:
    # after Agresti and Caffo 81 / 102 and 71 / 102: 10 / 102 apart
    p, q = 81 / 102, 71 / 102
    se = math.sqrt(p * (1 - p) / 102 + q * (1 - q) / 102)
    found = rates_within({"a": (80, 100), "b": (70, 100)}, limit=0.2, n=200)
    assert found.value == pytest.approx(0.1)
    assert found.low == 0.0  # 10 / 102 - 1.644854 * se is below 0
    assert found.high == pytest.approx(10 / 102 + 1.644854 * se, abs=1e-6)
    assert found.p_pass == pytest.approx(0.5 * math.erfc((0.2 - 10 / 102) / se / math.sqrt(2)))


@given(counts, counts, counts)
def test_the_names_of_the_groups_do_not_matter(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> None:
    one = rates_within({"a": a, "b": b, "c": c}, limit=0.1, n=1)
    other = rates_within({"a": c, "b": a, "c": b}, limit=0.1, n=1)
    assert (one.p_pass, one.p_fail) == pytest.approx((other.p_pass, other.p_fail))


def test_groups_at_the_limit_pass_with_a_chance_of_alpha_at_most() -> None:
    generator = np.random.default_rng(3)
    draws = generator.binomial(300, [0.7, 0.6], size=(4000, 2))
    passed = [rates_within({"a": (a, 300), "b": (b, 300)}, limit=0.1, n=600).p_pass <= 0.05 for a, b in draws.tolist()]
    assert np.mean(passed) <= 0.055 + 3 * math.sqrt(0.05 * 0.95 / 4000)


def test_equal_groups_fail_with_a_chance_of_alpha_at_most_however_many_there_are() -> None:
    generator = np.random.default_rng(4)
    draws = generator.binomial(200, 0.5, size=(500, 8)).tolist()
    failed = [
        rates_within({str(i): (hits, 200) for i, hits in enumerate(row)}, limit=0.02, n=1600).p_fail <= 0.05
        for row in draws
    ]
    assert np.mean(failed) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_a_small_group_is_named_and_left_out() -> None:
    found = rates_within({"a": (80, 100), "b": (70, 100), "c": (0, 5)}, limit=0.2, n=205)
    assert found.note == "a 0.800, b 0.700; too small: c"
    with pytest.raises(Invalid, match="1 groups have"):
        rates_within({"a": (80, 100), "c": (0, 5)}, limit=0.2, n=105)
