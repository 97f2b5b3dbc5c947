"""Finding the rows to judge on, and the column with the truth, from what the settings or a caller say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    import polars as pl

    from mainspring.data import Data, DatasetVersion
    from mainspring.registry import ModelVersion


def find_rows(data: Data | None, said: str) -> tuple[pl.DataFrame, str]:
    """The rows of a dataset version, and its reference.

    Args:
        data: The data room; None where callers bring the rows.
        said: "NAME" (the newest version), "NAME/NUMBER", or "NAME/PART" for the dataset "NAME-PART".
    Raises:
        Invalid: Nothing was said, or it names no dataset version.
        NotFound: There is no such dataset or version.
    """
    if data is None or not said:
        raise Invalid("it is not said on which data to judge", where="data", hint='write data = "NAME", or --data')
    version = _version(data, said.removeprefix("datasets/"))
    return data.frame(version.dataset, version.number).collect(), version.ref


def _version(data: Data, said: str) -> DatasetVersion:
    name, _, part = said.partition("/")
    if not part or part.isdecimal():
        return data.get(name, int(part) if part else None)
    if "/" in part:
        raise Invalid(f"{said!r} names no dataset version", where="data", hint="NAME, NAME/NUMBER or NAME/PART")
    try:
        return data.get(f"{name}-{part}")
    except NotFound:
        hint = f"mainspring data ingest {name}-{part} FILE, or name a version: {name}/1"
        raise NotFound(f"there is no dataset {name}-{part} for {said!r}", where="data", hint=hint) from None


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
