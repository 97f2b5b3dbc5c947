"""Histories of metrics as Arrow streams, which every library of tables reads without an object a point."""

from __future__ import annotations

from io import BytesIO

from mainspring.tracking.model import Packed

ARROW = "application/vnd.apache.arrow.stream"


def arrow_of(found: Packed) -> bytes:
    """A stream of one batch.

    Args:
        found: Points of a metric.
    Returns: Columns `step` (int64), `at` (timestamp in microseconds, UTC) and `value` (double), not compressed.
    """
    import numpy as np
    import polars as pl

    columns = {
        "step": np.frombuffer(found.steps, np.int64),
        "at": np.frombuffer(found.times, np.int64),
        "value": np.frombuffer(found.values, np.float64),
    }
    made = BytesIO()
    pl.DataFrame(columns).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC"))).write_ipc_stream(made)
    return made.getvalue()
