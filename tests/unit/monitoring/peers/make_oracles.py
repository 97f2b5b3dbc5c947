"""Writes the numbers of other tools on the rows of `rows.py`. Run it with the Python of an environment that has one:

PYTHONPATH=. PYTHON tests/unit/monitoring/peers/make_oracles.py evidently     # evidently==0.7.23 with pandas<3
PYTHONPATH=. PYTHON tests/unit/monitoring/peers/make_oracles.py nannyml       # nannyml==0.13.1
PYTHONPATH=. PYTHON tests/unit/monitoring/peers/make_oracles.py nannyml_classes
"""

from __future__ import annotations

import json
import math
import sys
from importlib.metadata import version
from typing import Any

import pandas as pd
from tests.unit.monitoring.peers.classes import CLASSES, ROWS, draw
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


def nannyml_classes() -> None:
    """Estimated and realized performance of three classes, window by window: each measure as [estimated, realized]."""
    from nannyml import CBPE

    scores, said, truth = draw()
    table = pd.DataFrame(scores, columns=list(CLASSES))
    table["said"], table["truth"] = ([CLASSES[at] for at in part] for part in (said, truth))
    shares = ["roc_auc", "f1", "precision", "recall", "specificity", "accuracy", "average_precision"]
    made = CBPE(
        y_pred="said",
        y_pred_proba={name: name for name in CLASSES},
        y_true="truth",
        problem_type="classification_multiclass",
        metrics=[*shares, "confusion_matrix"],
        chunk_size=ROWS // 10,
    )
    found = made.fit(table[:ROWS]).estimate(table[ROWS:].reset_index(drop=True)).filter(period="analysis")
    columns = found.to_df(multilevel=False)
    names = [*shares, *(f"true_{true}_pred_{said}" for true in CLASSES for said in CLASSES)]
    windows = [
        {name: [float(row[f"{name}_value"]), float(row[f"{name}_realized"])] for name in names}
        for _, row in columns.iterrows()
    ]
    (HERE / "nannyml_classes.json").write_text(json.dumps(windows, indent=1) + "\n")


def main() -> None:
    name = sys.argv[1]
    if name == "nannyml_classes":
        nannyml_classes()
        return
    made = {"evidently": evidently, "nannyml": nannyml}[name]
    numbers = {case: made(*tables) for case, tables in cases().items()}
    found = {"tool": name, "version": version(name), "pandas": version("pandas"), "cases": numbers}
    (HERE / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
