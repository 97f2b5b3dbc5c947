"""Drift reports: two tables, compared column by column, to read in a notebook, a browser, a pull request or a program.

A table is a frame, a file of CSV or Parquet, or a version of a dataset; columns are read and counted one at a time, so
memory grows with the longest column and not with the table.
"""

from __future__ import annotations

from mainspring.monitoring.reports.comparing import compare_sketches, compare_tables
from mainspring.monitoring.reports.report import ColumnDrift, DriftReport
from mainspring.monitoring.reports.tables import Table, open_named, open_table

__all__ = ["ColumnDrift", "DriftReport", "Table", "compare_sketches", "compare_tables", "open_named", "open_table"]
