"""A small neural network, on columns of one scale."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.training.families import Params

NAME, TITLE, ORDER = "neural", "neural network", 7
SPREAD, SCALED = True, True


def is_there() -> bool:
    """scikit-learn comes with Mainspring."""
    return True


def configurations(task: str) -> Sequence[Params]:
    """One layer, and two."""
    return [
        {"hidden_layer_sizes": [32], "alpha": 1e-3},
        {"hidden_layer_sizes": [64, 32], "alpha": 1e-2},
    ]


def estimator(task: str, params: Params, seed: int) -> object:
    """A network trained for at most 200 rounds; it stops when rows kept aside get no better."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPRegressor if task == "regression" else MLPClassifier
    layers = tuple(params["hidden_layer_sizes"])
    return kind(hidden_layer_sizes=layers, alpha=params["alpha"], early_stopping=True, max_iter=200, random_state=seed)
