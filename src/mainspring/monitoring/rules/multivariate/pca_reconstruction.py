"""How much worse the main directions of the reference describe the current rows."""

from __future__ import annotations

import math

import numpy as np

from mainspring.monitoring.rules.multivariate.encoding import Floats
from mainspring.monitoring.rules.statistics.estimates import Z95, Estimate, between, normal_tail

SAYS = "mean reconstruction error now over that of held-out reference rows, less 1"
_KEPT = 0.65


def measure(reference: Floats, current: Floats, *, seed: int) -> Estimate:
    """Directions that hold 65 % of the variance are learned on half of the reference; the other half is compared.

    Source: Rabanser et al. (2019), Failing loudly, section 3; Welch's test on the errors of rows.
    """
    order = np.random.default_rng(seed).permutation(len(reference))
    half = len(order) // 2
    learned, held = reference[order[:half]], reference[order[half:]]
    centre, spread = learned.mean(axis=0), learned.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    _, sizes, directions = np.linalg.svd((learned - centre) / spread, full_matrices=False)
    shares = np.cumsum(np.square(sizes)) / max(float(np.square(sizes).sum()), 1e-300)
    kept = directions[: int(np.searchsorted(shares, _KEPT)) + 1]
    before, now = (_errors((side - centre) / spread, kept) for side in (held, current))
    base = float(before.mean())
    if base <= 1e-9:  # the directions kept describe the reference whole
        base = 1e-9
    value = (float(now.mean()) - base) / base
    error = math.sqrt(before.var() / len(before) + now.var() / len(now)) / base
    p = normal_tail(value / error) if error > 0 else 1.0 if value == 0 else 0.0
    return between(value, value - Z95 * error, value + Z95 * error, p, least=-1.0)


def _errors(rows: Floats, directions: Floats) -> Floats:
    found: Floats = np.linalg.norm(rows - rows @ directions.T @ directions, axis=1)
    return found
