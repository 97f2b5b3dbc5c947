"""docs/mlflow.md says what is answered and what differs, and it says so from the code."""

from __future__ import annotations

from scripts.mlflow_calls import PAGE, tables


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    page = PAGE.read_text()
    assert tables(page) == page, "run python scripts/mlflow_calls.py"
