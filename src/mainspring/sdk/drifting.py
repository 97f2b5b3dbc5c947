"""What changed between two tables, in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainspring.data import Data
    from mainspring.monitoring.reports import DriftReport, Table


def drift(
    reference: object,
    current: object,
    *,
    method: str = "shift",
    columns: Sequence[str] = (),
    together: bool = False,
    importance: Mapping[str, float] | None = None,
    seed: int = 0,
) -> DriftReport:
    """Compare two tables column by column; a notebook shows the report by itself.

    Args:
        reference: A frame of polars or pandas, a mapping of columns, a file of CSV or Parquet, or a version of a
            dataset such as "flights/3".
        current: Likewise.
        method: How columns are compared, such as "shift", "ks", "psi" or "wasserstein".
        columns: Which columns; all of the reference when empty.
        together: Also compare whole rows, which finds changes that no single column shows.
        importance: How much each column matters to the model; it orders the columns that drifted.
        seed: For the rows that `together` draws.
    Returns:
        The report: `drifted`, `columns`, `html`, `json()`, `markdown()`, `save(path)`.
    Raises:
        NotFound: There is no such file, dataset version or method.
        Invalid: One of them is no table.

    >>> drift({"x": [1.0, 2.0, 3.0] * 99}, {"x": [3.0, 4.0, 5.0] * 99}).drifted
    ('x',)
    """
    from mainspring.monitoring.reports import compare_tables

    before, now = _opened(reference), _opened(current)
    return compare_tables(
        before, now, method=method, columns=columns, together=together, importance=importance, seed=seed
    )


def _opened(source: object) -> Table:
    from mainspring.monitoring.reports import open_named, open_table

    return open_named(source, _datasets) if isinstance(source, str) else open_table(source)


def _datasets() -> Data:
    from mainspring.data import Data
    from mainspring.sdk.session import default_session

    return default_session().get(Data)
