"""Finding the rows to judge on, and the column with the truth, from what the settings or a caller say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, NotFound
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data import Data, DatasetVersion
    from mainspring.data.splits.service import Splits
    from mainspring.registry import ModelVersion

_KEPT = re.compile(r"splits/([^/]+)/(\d+)/([^/]+)")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where rows may come from: datasets, and splits of them. Without datasets callers bring the rows."""

    data: Data | None
    splits: Splits | None = None


def find_rows(sources: Sources, said: str, *, purpose: str = "") -> tuple[pl.DataFrame, str]:
    """The rows of a dataset version or of a part of a split, and their reference.

    Args:
        sources: Where to look.
        said: "NAME" (the newest version), "NAME/NUMBER", or "NAME/PART": that part of the newest split of this name
            ("eval" means its sealed rows, "test"), or the dataset "NAME-PART"; or a reference that this gave before.
        purpose: What sealed rows are opened for; that use is counted. Empty: they were opened for this before.
    Raises:
        Invalid: Nothing was said, or it names no dataset version.
        NotFound: There is no such dataset, version or part.
    """
    if sources.data is None or not said:
        raise Invalid("it is not said on which data to judge", where="data", hint='write data = "NAME", or --data')
    name, _, part = said.removeprefix("datasets/").partition("/")
    if part and not part.isdecimal():
        found = _part(sources.data, sources.splits, said, purpose)
        if found is not None:
            return found
    version = _version(sources.data, name, part)
    return sources.data.frame(version.dataset, version.number).collect(), version.ref


def _version(data: Data, name: str, part: str) -> DatasetVersion:
    if not part or part.isdecimal():
        return data.get(name, int(part) if part else None)
    if "/" in part:
        raise Invalid(f"{name}/{part} names no dataset version", where="data", hint="NAME, NAME/NUMBER or NAME/PART")
    try:
        return data.get(f"{name}-{part}")
    except NotFound:
        hint = f"mainspring data split {name}, or name a version: {name}/1"
        what = f"{name} has no part {part!r}, and there is no dataset {name}-{part}"
        raise NotFound(what, where="data", hint=hint) from None


def _part(data: Data, splits: Splits | None, said: str, purpose: str) -> tuple[pl.DataFrame, str] | None:
    """The rows of a part of a split, by "NAME/PART" or "splits/NAME/NUMBER/PART"; None when there is none."""
    import numpy as np

    from mainspring.data.splits.rules import part_names

    kept = _KEPT.fullmatch(said)
    name, _, part = f"{kept[1]}/{kept[3]}".partition("/") if kept else said.partition("/")
    number, part = int(kept[2]) if kept else None, "test" if part == "eval" else part
    try:
        split = None if splits is None else splits.get(name, number)
    except NotFound:
        return None
    if splits is None or split is None or split.part(part) is None:
        return None
    place = next(place for place, title in part_names(split.spec.folds).items() if title == part)
    if part == "test" and purpose:
        splits.open_test(split, purpose)
    rows = np.flatnonzero(splits.assignment(split) == place)
    version = data.resolve(split.dataset)
    return data.frame(version.dataset, version.number).collect()[rows.tolist()], f"{split.ref}/{part}"


def label_among(frame: pl.DataFrame, version: ModelVersion, *, known: str = "") -> str:
    """The column with the truth, where nobody says it: the one that was used before, or the only one that can be it.

    Args:
        frame: The evaluation rows.
        version: The version under judgement.
        known: The column that an earlier verdict on the model used.
    Raises: Invalid: No column can be it, or several can.
    """
    if known in frame.columns:
        return known
    fitting = [name for name in frame.columns if name not in version.columns and _may_be(frame[name], version)]
    if len(fitting) == 1:
        return fitting[0]
    found = f"{', '.join(fitting[:10])} could all be" if fitting else "no column that is not an input can be"
    hint = 'write label = "..." in the section of the gate, or --label'
    raise Invalid(f"it is not said which column holds the truth: {found} it", where="label", hint=hint)


def _may_be(column: pl.Series, version: ModelVersion) -> bool:
    if version.task == "regression":
        return column.dtype.is_numeric()
    values = column.drop_nulls().unique().to_list()
    return 0 < len(values) <= len(version.classes) and all(value in version.classes for value in values)
