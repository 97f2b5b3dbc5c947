"""Reason codes: how much each input moved the answer to one row, exactly.

A row's codes and the base add up to the raw output of the model: log-odds, a score of a class, a number, or the
probability of a forest. Of linear models a code is the coefficient times what the value is above the mean of training
(Lundberg and Lee 2017, corollary 1); of trees it is the Shapley value along the paths of the trees (TreeSHAP: Lundberg,
Erion and Lee 2018, "Consistent Individualized Feature Attribution for Tree Ensembles", algorithm 2). Models that are
neither have no codes here: what only approximates is not given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mainspring.core.errors import Refused
from mainspring.core.values import dataclass
from mainspring.registry.model import Field

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

Means: TypeAlias = "Mapping[str, float | Mapping[str, float]]"
"""What training had of each input: the mean of a number, the share of each level of a text."""
Cells: TypeAlias = Sequence[tuple[float | str, float]]
"""Values of one input with their weights, as the model reads them; the weights add up to 1."""
_WHICH = "they exist for linear models and trees of scikit-learn, LightGBM, XGBoost and CatBoost"


class Explainer(Protocol):
    """Explains one fitted model. `scale` says what its numbers are: log-odds, score, prediction, log or probability."""

    scale: str

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """Shares of the columns in the raw outputs.

        Args:
            inputs: The rows as the model is asked with them.
        Returns: (rows, columns + 1, outputs); the last column is the base. Each sum over the columns is a raw output.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reasons:
    """The codes of some rows.

    Attributes:
        values: How much each input moved the raw output, (rows, columns).
        base: The raw output of a row that is like training on average, (rows,).
    """

    values: NDArray[np.float64]
    base: NDArray[np.float64]


def of_chosen(shares: NDArray[np.float64], scores: NDArray[np.float64]) -> Reasons:
    """The codes of the answers that were given: of several classes, those of the most probable.

    Args:
        shares: As `Explainer.explain` gives them.
        scores: Of the same rows, (rows,) or (rows, classes).
    """
    import numpy as np

    chosen = scores.argmax(axis=1) if scores.ndim == 2 else np.zeros(len(scores), dtype=np.intp)
    picked = np.take_along_axis(shares, chosen[:, None, None], axis=2)[:, :, 0]
    return Reasons(picked[:, :-1], picked[:, -1])


def refused(what: str) -> Refused:
    """What is heard of a model that has no exact codes, by the name of what stands in the way."""
    return Refused(f"no exact reason codes for {what}", where="explain", hint=_WHICH)


def typical(fields: Sequence[Field], means: Means) -> list[Cells] | None:
    """What training had of each input, in the terms of the encoder; None where it is not known of all of them."""
    found = [_typical(entry, means.get(entry.name)) for entry in fields]
    return None if not all(found) else found


def _typical(entry: Field, known: float | Mapping[str, float] | None) -> Cells:
    if not isinstance(known, Mapping):
        return [] if known is None or entry.dtype == "string" else [(float(known), 1.0)]
    codes = {level: float(code) for code, level in enumerate(entry.levels)}
    shares = {codes.get(level, -1.0) if codes else level: share for level, share in known.items()}
    whole = sum(shares.values())
    return [(value, share / whole) for value, share in shares.items()] if whole > 0 else []
