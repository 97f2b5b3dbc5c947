"""Composed models: the codes of a member are those of the inputs that its columns come from, each from one alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mainspring.core.values import dataclass
from mainspring.registry.reasons import Explainer, refused

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_ADDED_UP = ("prediction", "probability")
"""Scales of which a mean of answers is the mean: log-odds and scores of a mean of probabilities are something else."""


@dataclass(frozen=True, slots=True)
class Member:
    """One model of the ensemble.

    Attributes:
        name: For messages.
        weight: Its part of the whole; all add up to 1.
        explainer: Its own.
        inputs: Its inputs from what the ensemble is asked with.
        sources: For each of its columns the input of the ensemble that it comes from.
    """

    name: str
    weight: float
    explainer: Explainer
    inputs: Callable[[object], NDArray[np.float64] | pl.DataFrame]
    sources: Sequence[int]


class MeanExplainer:
    """Explains the mean of members, or a single one, on their common scale.

    Args:
        members: In any order.
        width: How many inputs the ensemble has.
        prepared: What the members' inputs are taken from, of the inputs of the ensemble.
    Raises: Refused: The mean of the answers is not on the scale of the members' codes.
    """

    def __init__(
        self,
        members: Sequence[Member],
        width: int,
        prepared: Callable[[NDArray[np.float64] | pl.DataFrame], object],
    ) -> None:
        scales = {member.explainer.scale: member.name for member in members}
        if len(scales) > 1:
            said = " and ".join(f"{name!r} in {scale}" for scale, name in scales.items())
            raise refused(f"a mean of members that are explained on different scales, {said}")
        (self.scale,) = scales
        if len(members) > 1 and self.scale not in _ADDED_UP:
            raise refused(f"a mean of members that are explained in {self.scale}: that of the mean is another")
        self._members, self._width, self._prepared = members, width, prepared

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """The codes of each member, added up by the inputs they come from and by the weights."""
        import numpy as np

        rows = self._prepared(inputs)
        total: NDArray[np.float64] | None = None
        for member in self._members:
            shares = member.explainer.explain(member.inputs(rows))
            if total is None:
                total = np.zeros((shares.shape[0], self._width + 1, shares.shape[2]))
            for place, source in enumerate([*member.sources, self._width]):
                total[:, source] += member.weight * shares[:, place]
        assert total is not None  # there is no composed model without a member
        return total
