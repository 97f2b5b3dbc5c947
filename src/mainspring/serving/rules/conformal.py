"""Prediction intervals, and sets of classes, by split conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

LABEL_SET = "label_set"
"""The output with the classes that may be true, as a JSON list: a text, which every protocol has a place for."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval around every number that an endpoint predicts; of a classifier, a set of classes with every answer.

    Args:
        data: Held-out rows, such as "datasets/flights-held-out/3": no row of them was trained on.
        label: The column of them that has the truth.
        coverage: The share of truths that shall lie within, or be in the set, in (0, 1).
    Raises:
        Invalid: A value is missing or out of range.
    """

    data: str
    label: str
    coverage: float = 0.9

    def __post_init__(self) -> None:
        if not self.data or not self.label:
            raise Invalid("an interval needs data and label", where="interval", hint='data = "datasets/NAME/VERSION"')
        if not 0.0 < self.coverage < 1.0:
            raise Invalid(f"a coverage of {self.coverage}", where="interval", hint="use a share such as 0.9")


def least_rows(coverage: float) -> int:
    """The fewest rows from which an interval of this coverage is finite.

    >>> least_rows(0.9), least_rows(0.95)
    (9, 19)
    """
    return math.ceil(round(coverage / (1.0 - coverage), 9))


def half_width(residuals: Sequence[float], coverage: float) -> float:
    """Half of the width of an interval that holds the truth of a new row with at least this probability.

    The guarantee is over calibration rows and new row together, for any model and any distribution, as long as they are
    exchangeable; it is no promise for a group of rows, nor after a drift.

    Args:
        residuals: Absolute errors on rows that the model was not trained on, each >= 0 and finite, any order.
        coverage: In (0, 1).
    Returns: The ceil((n + 1) coverage)-th smallest residual.
    Raises:
        Invalid: There are too few residuals for any finite interval.
    Source:  Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), Distribution-free predictive inference for
        regression, algorithm 2 and theorem 2; the finite-sample quantile is that of Vovk et al. (2005).

    >>> half_width([0.5, 0.1, 0.4, 0.2, 0.3, 0.9, 0.8, 0.7, 0.6], 0.5)
    0.5
    """
    place = math.ceil(round((len(residuals) + 1) * coverage, 9))
    if place > len(residuals):
        need = least_rows(coverage)
        hint = f"give {need} or more, or a smaller coverage"
        raise Invalid(f"{len(residuals)} rows with a truth are too few for {coverage:g}", where="interval", hint=hint)
    return sorted(residuals)[place - 1]


def chances_of(probability: object) -> list[float]:
    """The probability of each class, from an answer that has that of the second one where there are two.

    >>> chances_of(0.75), chances_of([0.5, 0.25, 0.25])
    ([0.25, 0.75], [0.5, 0.25, 0.25])
    """
    if isinstance(probability, list):
        return probability
    second = float(probability) if isinstance(probability, (int, float)) else math.nan
    return [1.0 - second, second]


def strangeness(chances: Sequence[float], truth: object, classes: Sequence[object]) -> float:
    """How unlikely a model found what turned out to be true: 1 less its probability; 1 of a class it does not know.

    Args:
        chances: Of each class.
        truth: The label; a number stands for the class that is written so, too.
        classes: The labels in the order of the probabilities.

    >>> strangeness([0.25, 0.75], 1.0, [0, 1])
    0.25
    """
    for chance, label in zip(chances, classes, strict=True):
        if truth == label or str(truth) == str(label):
            return 1.0 - chance
    return 1.0


def label_set(chances: Sequence[float], most: float) -> tuple[int, ...]:
    """Places of the classes that are not too unlikely to be true; the likeliest is always one of them.

    It holds the truth of a new row with at least the coverage that `most` was found for, over calibration rows and new
    row together, as intervals do; the likeliest class in an otherwise empty set only adds to it.

    Args:
        chances: Of each class.
        most: `half_width` of the `strangeness` of held-out rows.
    Source: Sadinle, Lei and Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels, section
        4.1; of all such sets these are the smallest on average.

    >>> label_set([0.6, 0.3, 0.1], 0.7), label_set([0.4, 0.35, 0.25], 0.1)
    ((0, 1), (0,))
    """
    found = tuple(place for place, chance in enumerate(chances) if 1.0 - chance <= most)
    return found or (max(range(len(chances)), key=chances.__getitem__),)
