"""Which input each number comes from that the steps of a pipeline make, where each comes from one alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainspring.registry.reasons import Explainer, refused

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_EACH_BY_ITSELF = frozenset(
    ["StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "QuantileTransformer", "PowerTransformer",
     "OrdinalEncoder", "KBinsDiscretizer", "Binarizer", "SimpleImputer"]
)  # fmt: skip
"""Steps that make one number of each; where an option has them make more or fewer, that is found by the count."""


def sources(step: Any, columns: Sequence[int]) -> list[int]:
    """The input behind each number that a fitted step makes of columns that come from these inputs.

    Raises: Refused: A number comes from several inputs, or it can't be told.
    """
    if step == "drop":
        return []
    if step == "passthrough" or step is None:
        return list(columns)
    name = type(step).__name__
    if not type(step).__module__.startswith("sklearn."):
        raise refused(f"a pipeline with a {name}, which is not of scikit-learn")
    if name == "Pipeline":
        for _, inner in step.steps:
            columns = sources(inner, columns)
        return list(columns)
    if name == "FeatureUnion":
        return [source for _, inner in step.transformer_list for source in sources(inner, columns)]
    if name == "ColumnTransformer":
        return _of_parts(step, columns)
    if name == "OneHotEncoder":
        return _checked(step, [source for source, n in zip(columns, _levels(step), strict=True) for _ in range(n)])
    if name == "FunctionTransformer" and step.func is None:
        return list(columns)  # what a fitted ColumnTransformer makes of "passthrough"
    if hasattr(step, "get_support"):
        return [source for source, kept in zip(columns, step.get_support(), strict=True) if kept]
    if name in _EACH_BY_ITSELF:
        return _checked(step, list(columns))
    raise refused(f"a pipeline with a {name}, which may mix columns")


def _of_parts(step: Any, columns: Sequence[int]) -> list[int]:
    named = list(getattr(step, "feature_names_in_", ()))
    found: dict[int, int] = {}
    for name, inner, given in step.transformers_:
        places = step.output_indices_[name]
        taken = _places(given, named, len(columns))
        of_part = sources(inner, [columns[place] for place in taken])
        if len(of_part) != places.stop - places.start:
            raise refused(f"a ColumnTransformer whose part {name!r} makes an unexpected number of columns")
        found |= dict(zip(range(places.start, places.stop), of_part, strict=True))
    return [found[place] for place in sorted(found)]


def _places(given: Any, named: Sequence[str], width: int) -> list[int]:
    """Columns as their places, however a ColumnTransformer was told them."""
    if isinstance(given, slice):
        if isinstance(given.start, str) or isinstance(given.stop, str):
            raise refused("a ColumnTransformer with a slice of names")
        return list(range(width))[given]
    listed = [given] if isinstance(given, (str, int)) else list(given)
    if listed and all(type(entry).__name__ in ("bool", "bool_") for entry in listed):
        return [place for place, taken in enumerate(listed) if taken]
    return [named.index(entry) if isinstance(entry, str) else int(entry) % width for entry in listed]


def _levels(step: Any) -> list[int]:
    """How many columns each input of a OneHotEncoder becomes."""
    counts = []
    rare = getattr(step, "infrequent_categories_", None) or [None] * len(step.categories_)
    for index, levels in enumerate(step.categories_):
        count = len(levels) - (0 if rare[index] is None else len(rare[index]) - 1)
        dropped = step.drop_idx_ is not None and step.drop_idx_[index] is not None
        counts.append(count - 1 if dropped else count)
    return counts


def _checked(step: Any, found: list[int]) -> list[int]:
    if len(step.get_feature_names_out()) != len(found):
        raise refused(f"a pipeline with a {type(step).__name__} that adds or drops columns")
    return found


def dense(made: Any) -> NDArray[np.float64]:
    """What a step made as a plain matrix."""
    import numpy as np

    return np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=np.float64)


class Gathered:
    """An explainer of the last step of a pipeline, whose codes are added up to those of the inputs."""

    def __init__(self, steps: Any, found: Sequence[int], width: int, last: Explainer) -> None:
        self.scale = last.scale
        self._steps, self._last = steps, last
        self._found, self._width = list(found), width

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """The codes of the inputs."""
        import numpy as np

        shares = self._last.explain(dense(self._steps.transform(inputs)))
        gathered = np.zeros((shares.shape[0], self._width + 1, shares.shape[2]))
        for place, source in enumerate([*self._found, self._width]):
            gathered[:, source] += shares[:, place]
        return gathered
