"""What other shares would have brought, from answers whose probability was logged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.serving.rules.bandit import Estimate

FOLDS = 5
_Z = 1.959963984540054
_RIDGE = 1.0
_LEAST_ROWS = 10
Array = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Logged:
    """Answers with a reward.

    Attributes:
        rewards: Of each.
        propensities: With which probability the version was chosen that answered.
        arms: Which one it was, by its place.
        clusters: Answers with one number were drawn together, and depend on each other.
    """

    rewards: Array
    propensities: Array
    arms: Whole
    clusters: Whole

    def __post_init__(self) -> None:
        """Raises: Invalid: No rows, or a probability that is none."""
        if not len(self.rewards):
            raise Invalid("no answer has a reward", where="bandit", hint="send feedback, or look at an earlier time")
        if not ((self.propensities > 0.0) & (self.propensities <= 1.0)).all():
            raise Invalid("an answer has no probability above 0", where="propensity")


def mean(logged: Logged) -> Estimate:
    """What was done: the mean of the rewards."""
    return _mean("mean", logged.rewards, logged.clusters)


def ips(logged: Logged, target: Array) -> Estimate:
    """The mean of rewards, each weighed by how much more often the policy would have chosen that version.

    Unbiased whatever the shares were, as long as they were above 0 where those of the policy are; wide where the policy
    is far from what was done.

    Args:
        logged: What was answered.
        target: The share that the policy gives each arm, (arms,).
    Source: Horvitz and Thompson (1952), A generalization of sampling without replacement, section 3.
    """
    parts = _weights(logged, target) * logged.rewards
    return _mean("IPS", parts, logged.clusters)


def snips(logged: Logged, target: Array) -> Estimate:
    """The same, divided by the mean of the weights: a little biased, less so the more rows, and far steadier.

    Source: Swaminathan and Joachims (2015), The self-normalized estimator for counterfactual learning, equation 6; the
        error by linearisation.
    """
    weights = _weights(logged, target)
    whole = float(weights.sum())
    if whole <= 0.0:
        hint = "share the traffic with a version that has answered, or wait for more answers"
        raise Invalid("no answer is of a version that the policy would choose", where="bandit", hint=hint)
    value = float((weights * logged.rewards).sum() / whole)
    parts = weights * (logged.rewards - value) * (len(weights) / whole)
    return _shifted("SNIPS", value, parts, logged.clusters)


def doubly_robust(logged: Logged, target: Array, modelled: Array) -> Estimate:
    """What a model of the reward expects of the policy, put right by the weighed errors of that model.

    Unbiased if either the probabilities or the model are right; these probabilities are. A good model makes it narrow.

    Args:
        logged: What was answered.
        target: The share that the policy gives each arm, (arms,).
        modelled: The reward that is expected of each arm for each answer, (rows, arms), without having seen its reward.
    Source: Dudik, Langford and Li (2011), Doubly robust policy evaluation and learning, equation 2.
    """
    own = modelled[np.arange(len(logged.arms)), logged.arms]
    return _mean("DR", modelled @ target + _weights(logged, target) * (logged.rewards - own), logged.clusters)


def effective_rows(logged: Logged, target: Array) -> float:
    """As many answers chosen by the policy itself would tell as much, about: Kish (1965)."""
    weights = _weights(logged, target)
    return float(weights.sum() ** 2 / max(float((weights**2).sum()), 1e-300))


def expected_rewards(features: Array, logged: Logged, arms: int, *, most: tuple[float, float] = (0.0, 1.0)) -> Array:
    """What each arm is expected to bring for each answer: a ridge regression an arm, fitted on other draws' answers.

    Args:
        features: (rows, columns), finite; no column is the mean of the arm.
        logged: What was answered.
        arms: How many there are.
        most: The range of the rewards, which the expectation is kept to.
    Returns: (rows, arms).
    """
    middle, scale = features.mean(axis=0), features.std(axis=0)
    x = np.hstack([(features - middle) / np.where(scale > 0.0, scale, 1.0), np.ones((len(features), 1))])
    penalty = _RIDGE * np.diag([*[1.0] * features.shape[1], 0.0])
    found = np.empty((len(x), arms))
    folds = logged.clusters % FOLDS
    for fold in np.unique(folds):
        out = folds == fold
        usual = float(logged.rewards[~out].mean()) if (~out).any() else float(logged.rewards.mean())
        for arm in range(arms):
            rows = ~out & (logged.arms == arm)
            if rows.sum() < _LEAST_ROWS:
                found[out, arm] = usual
                continue
            inner = x[rows].T @ x[rows] + penalty
            found[out, arm] = x[out] @ np.linalg.lstsq(inner, x[rows].T @ logged.rewards[rows], rcond=None)[0]
    return np.clip(found, *most)


def _weights(logged: Logged, target: Array) -> Array:
    return np.asarray(target[logged.arms] / logged.propensities, dtype=np.float64)


def _mean(method: str, parts: Array, clusters: Whole) -> Estimate:
    value = float(parts.mean())
    return _shifted(method, value, parts - value, clusters)


def _shifted(method: str, value: float, deviations: Array, clusters: Whole) -> Estimate:
    """An estimate with the error that deviations of mean 0 make of it, those that were drawn together as one."""
    sums = np.bincount(clusters, weights=deviations)
    groups = len(np.unique(clusters))
    if groups < 2:
        return Estimate(method, value, -np.inf, np.inf)
    error = float(np.sqrt((sums**2).sum() * groups / (groups - 1)) / len(deviations))
    return Estimate(method, value, value - _Z * error, value + _Z * error)
