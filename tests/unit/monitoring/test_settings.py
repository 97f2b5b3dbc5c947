from __future__ import annotations

import pytest

from mainspring.core.errors import Invalid
from mainspring.core.settings import fill
from mainspring.monitoring.model import MonitorSpec


@pytest.mark.parametrize(
    "values",
    [
        {"budget": 0},
        {"budget": 1e9},
        {"tolerance": -0.1},
        {"label_share": 2.0},
        {"label_wait_days": -1},
        {"bugdet": 1},
    ],
)
def test_a_monitor_setting_that_is_wrong_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(Invalid, match=r"monitor|bugdet"):
        fill(MonitorSpec, values, where="monitor")


def test_the_budget_is_a_setting() -> None:
    assert fill(MonitorSpec, {"budget": 4}, where="monitor").budget == 4
