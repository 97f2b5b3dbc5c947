"""Rows that this project and the tools it is compared with both read: made by rule, the same everywhere."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from statistics import NormalDist

HERE = Path(__file__).parent
GOLDEN = 0.6180339887498949
Rows = dict[str, list[object]]


def made(rows: int, *, start: float, moved: bool) -> Rows:
    """Columns of every kind; `moved` shifts, widens and renames."""
    shares = [(start + i * GOLDEN) % 1.0 * 0.9998 + 0.0001 for i in range(1, rows + 1)]
    normal = NormalDist(0.2, 1.3) if moved else NormalDist()
    fewer = [share * (0.8 if moved else 1.0) for share in shares]
    return {
        "normal": [normal.inv_cdf(share) for share in shares],
        "skewed": [-math.log(share) * (1.1 if moved else 1.0) for share in shares],
        "gaps": [None if i % 7 == 0 else normal.inv_cdf(share) for i, share in enumerate(shares)],
        "tiny": [1e-4 * normal.inv_cdf(share) for share in shares],
        "few": [float(int(share * 4)) for share in fewer],
        "word": ["z" if moved and share < 0.05 else "abcdefg"[int(share * 7)] for share in shares],
        "two": ["no" if share < 0.7 else "yes" for share in fewer],
    }


def titanic(part: str) -> Rows:
    """Columns of the table of the Titanic that NannyML carries (Apache 2.0), `part` reference or analysis."""
    with (HERE / f"titanic_{part}.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    numbers: Rows = {name: [float(line[name]) if line[name] else None for line in lines] for name in ("Age", "Fare")}
    words: Rows = {name: [line[name] or None for line in lines] for name in ("Sex", "Embarked")}
    return numbers | words


def cases() -> dict[str, tuple[Rows, Rows]]:
    """Pairs of a reference and current rows, by name."""
    return {
        "small": (made(800, start=0.1, moved=False), made(523, start=0.3, moved=True)),
        "large": (made(12_000, start=0.2, moved=False), made(6_007, start=0.7, moved=True)),
        "titanic": (titanic("reference"), titanic("analysis")),
    }
