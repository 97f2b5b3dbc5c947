"""Linear models: a code is the coefficient times what the value is above the mean of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from mainspring.registry.reasons import Cells
from mainspring.registry.reasons.columns import dense

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_OF_LOG = ("PoissonRegressor", "GammaRegressor")


def is_linear(model: object) -> bool:
    """Whether it is a fitted linear model of scikit-learn whose raw outputs are its coefficients times the columns."""
    return type(model).__module__.startswith("sklearn.linear_model.") and hasattr(model, "coef_")


class LinearExplainer:
    """Explains a linear model of scikit-learn.

    Args:
        model: It, fitted.
        means: Of the columns it takes, over training, (columns,).
        scale: What its raw outputs are.
    """

    def __init__(self, model: Any, means: NDArray[np.float64], scale: str) -> None:
        import numpy as np

        self.scale = scale
        self._weights = np.atleast_2d(np.asarray(dense(model.coef_), dtype=np.float64))
        self._means = means
        shift = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (len(self._weights),))
        self._base = shift + self._weights @ means

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One product for each column and output."""
        import numpy as np

        above = np.asarray(inputs, dtype=np.float64) - self._means
        base = np.broadcast_to(self._base, (len(above), 1, len(self._base)))
        return np.concatenate([above[:, :, None] * self._weights.T, base], axis=1)


def scale_of(model: object, task: str) -> str:
    """What the raw outputs of a linear model are."""
    if task == "regression":
        link, power = vars(model).get("link"), vars(model).get("power", 0)
        is_log = type(model).__name__ in _OF_LOG or link == "log" or (link == "auto" and power > 0)
        return "log" if is_log else "prediction"
    is_odds = type(model).__name__.startswith("LogisticRegression") or vars(model).get("loss") == "log_loss"
    return "log-odds" if task == "binary" and is_odds else "score"


def means_of(steps: Any, found: Sequence[int], cells: Sequence[Cells], names: Sequence[str]) -> NDArray[np.float64]:
    """The mean over training of each number that the steps of a pipeline make, each from one input alone.

    Args:
        steps: What comes before the model; None when nothing does.
        found: The input of each of those numbers.
        cells: What training had of each input.
        names: Of the inputs, when the steps take a frame; empty when they take a matrix.
    """
    import numpy as np

    tried = [(column, value, weight) for column, values in enumerate(cells) for value, weight in values]
    rows: list[list[float | str]] = [[values[0][0] for values in cells] for _ in tried]
    for row, (column, value, _) in zip(rows, tried, strict=True):
        row[column] = value
    made = dense(_inputs(rows, names) if steps is None else steps.transform(_inputs(rows, names)))
    weights = np.array([weight for _, _, weight in tried])
    own = np.array([column for column, _, _ in tried])[:, None] == np.asarray(found)[None, :]
    return cast("NDArray[np.float64]", np.where(own, made, 0.0).T @ weights)


def _inputs(rows: list[list[float | str]], names: Sequence[str]) -> object:
    import numpy as np

    if not names:
        return np.array(rows, dtype=np.float64)
    import polars as pl

    return pl.DataFrame({name: [row[i] for row in rows] for i, name in enumerate(names)})
