"""Trees of scikit-learn, explained by LightGBM's TreeSHAP on the very same trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring.core.errors import Refused
from mainspring.registry import forests
from mainspring.registry.reasons import refused

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_MOST_LEAVES = 2_000_000
_FEW_ROWS = 32


def is_tree(model: object) -> bool:
    """Whether it is a tree, a forest or a boosted ensemble of trees of scikit-learn."""
    return forests.kind_of(model) != ""


class TreeExplainer:
    """Explains them.

    Args:
        model: The fitted estimator.
        task: Its task; of a binary one the second class is explained.
    Raises: Refused: It splits by categories, begins with a model of its own, or is too large.
    """

    def __init__(self, model: Any, task: str) -> None:
        if why := forests.obstacle(model):
            raise refused(why)
        found = forests.ensemble(model, task)
        if found.leaves > _MOST_LEAVES:
            what = f"{found.leaves} leaves, at most {_MOST_LEAVES} are explained"
            raise Refused(what, where="explain", hint="limit max_depth or max_leaf_nodes")
        self.scale = _scale(model, task)
        self._dtype, self._start, self._divisor = found.dtype, found.start, found.divisor
        self._booster = found.booster()

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """The codes of all outputs."""
        import numpy as np

        rows = np.asarray(inputs, dtype=self._dtype).astype(np.float64)
        threads = 1 if len(rows) <= _FEW_ROWS else 0
        found = np.asarray(self._booster.predict(rows, pred_contrib=True, num_threads=threads))
        shares = found.reshape(len(rows), len(self._start), -1).transpose(0, 2, 1) / self._divisor
        shares[:, -1, :] += self._start
        return shares


def _scale(model: Any, task: str) -> str:
    if forests.is_averaged(model):
        return "prediction" if task == "regression" else "probability"
    if task == "regression":
        return "log" if model.loss in ("poisson", "gamma") else "prediction"
    return "log-odds" if task == "binary" and model.loss == "log_loss" else "score"
