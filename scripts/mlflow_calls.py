"""Write the tables of `docs/mlflow.md`: the calls that are answered, and where the server of MLflow differs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mlflow.md"


def tables(page: str) -> str:
    """The page with its tables as they must be."""
    sys.path.insert(0, str(ROOT))
    from tests.mlflow.differences import OURS_IS_BETTER

    from mainspring.mlflow.routes import PARTS

    seen = sorted({(one.path, one.methods, _said(one.function.__doc__)) for part in PARTS for one in part.calls})
    calls = _table(("call", "what it does"), ((f"`{' '.join(m)} {p}`", text) for p, m, text in seen))
    named = ((name.removeprefix("test_").replace("_", " "), text) for name, text in OURS_IS_BETTER.items())
    better = _table(("here", "MLflow's server instead"), sorted(named))
    return _put(_put(page, "calls", calls), "differences", better)


def _said(doc: str | None) -> str:
    return re.sub(r"\s+", " ", (doc or "").strip().split("\n\n")[0]).replace("|", "\\|")


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)


def _put(page: str, name: str, text: str) -> str:
    before, after = f"<!-- {name}: made by scripts/mlflow_calls.py -->", f"<!-- end of {name} -->"
    start, end = page.index(before) + len(before), page.index(after)
    return f"{page[:start]}\n\n{text}\n\n{page[end:]}"


if __name__ == "__main__":
    PAGE.write_text(tables(PAGE.read_text()))
