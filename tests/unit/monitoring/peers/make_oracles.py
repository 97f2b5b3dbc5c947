"""Writes the numbers of other tools on the rows of `rows.py`. Run it with the Python of an environment that has one:

PYTHONPATH=. PYTHON tests/unit/monitoring/peers/make_oracles.py evidently     # evidently==0.7.23 with pandas<3
PYTHONPATH=. PYTHON tests/unit/monitoring/peers/make_oracles.py nannyml       # nannyml==0.13.1
"""

from __future__ import annotations

import json
import math
import sys
from importlib.metadata import version
from typing import Any

import pandas as pd
from tests.unit.monitoring.peers.rows import HERE, Rows, cases


def evidently(reference: Rows, current: Rows) -> dict[str, dict[str, list[float | None]]]:
    """The report of ValueDrift for every column."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    numbers = [name for name, values in reference.items() if any(isinstance(value, float) for value in values)]
    definition = DataDefinition(
        numerical_columns=numbers, categorical_columns=[name for name in reference if name not in numbers]
    )
    before, now = (Dataset.from_pandas(pd.DataFrame(rows), data_definition=definition) for rows in (reference, current))
    found: dict[str, dict[str, list[float | None]]] = {}
    for name in reference:
        snapshot: Any = Report([ValueDrift(column=name)]).run(now, before)
        (metric,) = snapshot.dict()["metrics"]
        test = str(metric["config"]["method"])
        found[name] = {test: [float(metric["value"])]}
    return found


def nannyml(reference: Rows, current: Rows) -> dict[str, dict[str, list[float | None]]]:
    """Every univariate method, chunk by chunk."""
    from nannyml import UnivariateDriftCalculator

    calculator = UnivariateDriftCalculator(
        column_names=list(reference),
        continuous_methods=["jensen_shannon", "kolmogorov_smirnov", "wasserstein", "hellinger"],
        categorical_methods=["jensen_shannon", "chi2", "l_infinity", "hellinger"],
    )
    before, now = (pd.DataFrame(rows) for rows in (reference, current))
    table = calculator.fit(before).calculate(now).filter(period="analysis").to_df()
    found: dict[str, dict[str, list[float | None]]] = {}
    for column, method, part in table.columns:
        if part == "value":
            values = [float(value) for value in table[(column, method, part)]]
            found.setdefault(column, {})[method] = [value if math.isfinite(value) else None for value in values]
    return found


def main() -> None:
    name = sys.argv[1]
    made = {"evidently": evidently, "nannyml": nannyml}[name]
    numbers = {case: made(*tables) for case, tables in cases().items()}
    found = {"tool": name, "version": version(name), "pandas": version("pandas"), "cases": numbers}
    (HERE / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
