"""Mergeable summaries of columns, shared by ingest, training and monitoring.

A `Grid` fixes the cells of every column once, from a reference table. A `Sketch` counts a table in those cells; two
sketches on one grid merge by adding, so any window of time is a sum of stored hours and two windows are always
comparable. A `Profile` is a grid, the sketch of the reference itself, and the sketches of its days, which tell how much
ordinary days differ from each other.

Invariants: the order of rows does not matter; merging is associative and commutative; NaN counts as null; a column the
table lacks counts as null in every row; a value the grid's kind cannot read counts as `invalid`, and nothing here
raises on bad data."""

from __future__ import annotations

from mainspring.data.sketch.counting import ColumnSketch, Sketch, count_column, learn_column, no_rows, sketch
from mainspring.data.sketch.grid import Grid, GridColumn, learn_grid
from mainspring.data.sketch.profile import Profile, WindowSketch, learn_profile

__all__ = [
    "ColumnSketch",
    "Grid",
    "GridColumn",
    "Profile",
    "Sketch",
    "WindowSketch",
    "count_column",
    "learn_column",
    "learn_grid",
    "learn_profile",
    "no_rows",
    "sketch",
]
