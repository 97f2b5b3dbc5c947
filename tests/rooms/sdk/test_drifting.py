"""Versions of datasets are compared by their names, from Python and from the command line."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import mainspring as ms
from mainspring.core.errors import NotFound
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.monitoring.report_commands import drift


def test_two_versions_of_a_dataset_are_compared_by_name(house: Wiring, tmp_path: Path) -> None:
    data = house.get(Data)
    for shift in (0, 900):
        data.ingest("flights", pl.DataFrame({"x": [float(i + shift) for i in range(1000)]}))
    session = ms.connect(tmp_path / "data")
    try:
        report = ms.drift("flights/1", "datasets/flights/2")
        assert (report.drifted, report.reference, report.current) == (("x",), "flights/1", "flights/2")
        assert not ms.drift("flights", "flights/2").drifted
        with pytest.raises(NotFound, match="flights has no version 9"):
            ms.drift("flights/9", "flights")
    finally:
        session.close()
    said = CliRunner().invoke(drift, ["flights/1", "flights/2"], obj=lambda: house, standalone_mode=False)
    assert "1 of 1 columns drifted" in said.output
