"""Classifiers that take only 0, 1, 2, ... for classes, with the labels that a table has.

It holds labels and a model, and runs nothing but the model, so a package may hold it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Labelled(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Trains a classifier on the places of the labels, and answers with the labels.

    Args:
        estimator: The classifier, such as one of XGBoost; a copy of it is trained.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: NDArray[np.float64], y: NDArray[Any]) -> Labelled:  # noqa: N803  # scikit-learn calls it by name
        """Learn the labels, and train on their places."""
        self.classes_, places = np.unique(y, return_inverse=True)
        self.estimator_ = clone(self.estimator).fit(X, places)
        self.n_features_in_ = self.estimator_.n_features_in_
        return self

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803  # as above
        """Probabilities in the order of the labels, shape (rows, classes)."""
        found: NDArray[np.float64] = self.estimator_.predict_proba(X)
        return found

    def predict(self, X: NDArray[np.float64]) -> NDArray[Any]:  # noqa: N803  # as above
        """The label of the most likely class."""
        found: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found
