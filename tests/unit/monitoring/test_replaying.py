"""Settings of monitors over tables of the past."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mainspring.core.clock import DAY_US
from mainspring.core.errors import Invalid
from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.replaying import replay_frame, spec_of


def days(count: int, shift: float = 0.0, first: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(first)
    at = np.repeat(np.arange(first, first + count), 300) * DAY_US + 1000
    return pl.DataFrame({"x": rng.normal(shift, 1, len(at)), "at": pl.Series(at).cast(pl.Datetime("us"))})


def test_a_table_is_judged_against_its_first_half_or_another_table() -> None:
    moved = pl.concat([days(30), days(20, 0.8, 30)])
    found = replay_frame(moved, MonitorSpec(), time_column="at", reference=None)
    assert [alarm.cause for alarm in found.alarms] == ["drift"]
    assert found.alarms[0].window_start >= 25 * DAY_US
    calm = replay_frame(days(20, first=40), MonitorSpec(), time_column="at", reference=days(30))
    assert (calm.alarms, calm.windows) == ((), 20)
    assert calm.years == pytest.approx(20 / 365)


def test_a_column_that_tells_no_time_is_refused_with_one_that_does() -> None:
    with pytest.raises(Invalid, match="no column of times") as found:
        replay_frame(days(3), MonitorSpec(), time_column="x", reference=None)
    assert found.value.hint == "use --time at"


def test_settings_are_given_as_text_and_checked() -> None:
    assert spec_of(MonitorSpec(), {"budget": "4"}).budget == 4
    for wrong in ({"bugdet": "4"}, {"budget": "many"}, {"budget": "0"}):
        with pytest.raises(Invalid):
            spec_of(MonitorSpec(), wrong)
