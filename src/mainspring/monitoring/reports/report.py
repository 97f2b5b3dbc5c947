"""A drift report as an object: what drifted, by how much, and the same as HTML, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from mainspring.core.values import dataclass
from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules import statistics
from mainspring.monitoring.rules.statistics import Estimate


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column of a report.

    Attributes:
        name: The column.
        kind: How its values were read.
        drifted: Whether it changed by more than chance and more than the floor.
        estimate: What the method of the report says.
        severity: What the value is above the floor, times the importance of the column; 0 below it.
        cause: The likely cause in a word, "" when it did not drift.
        text: The likely cause in a sentence, or what of the column could not be compared.
        reference: The reference, counted.
        current: The current rows, counted.
        peer: What the tool that was asked for says, by its measure, for each part of the current rows.
    """

    name: str
    kind: str
    drifted: bool
    estimate: Estimate
    severity: float
    cause: str
    text: str
    reference: ColumnSketch = field(repr=False)
    current: ColumnSketch = field(repr=False)
    peer: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The value in words: that of the tool that was asked for, else that of the method."""
        said = (f"{measure} {' '.join(map(_short, values))}" for measure, values in self.peer.items())
        return "; ".join(said) or self.estimate.text

    def by(self, method: str) -> Estimate:
        """What another method says of this column.

        Raises:
            NotFound: There is no method of that name.
        """
        return statistics.compare(method, self.reference, self.current)

    def estimates(self) -> dict[str, Estimate]:
        """What every method says that is for this kind of column."""
        return {name: self.by(name) for name in statistics.names() if self.kind in statistics.method(name).KINDS}


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What changed between two tables. In a notebook it shows itself.

    Attributes:
        method: The method that judged, or the tool whose numbers are shown beside the verdict of "shift".
        reference: Where the reference came from.
        current: Where the current rows came from.
        reference_rows: Rows of the reference.
        current_rows: Current rows.
        columns: Every column, drifted ones first, the most severe first.
        together: What methods on whole rows say, when they were asked for.
        absent: Columns of the reference that the current table lacks.
        added: Columns that only the current table has; they are not compared.
    """

    method: str
    reference: str
    current: str
    reference_rows: int
    current_rows: int
    columns: tuple[ColumnDrift, ...]
    together: Mapping[str, Estimate] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[str, ...]:
        """The names of the columns that drifted, the most severe first; falsy when none did."""
        return tuple(column.name for column in self.columns if column.drifted)

    @property
    def summary(self) -> str:
        """The report in a line."""
        unknown = [column.estimate.reason for column in self.columns if column.estimate.value is None]
        known, rows = len(self.columns) - len(unknown), f"{_rows(self.current_rows)} against {self.reference_rows:,}"
        if unknown and not known:
            return f"not estimable: {unknown[0]} ({rows})"
        changed = f"{len(self.drifted)} of {known} columns drifted" if self.drifted else f"no drift in {known} columns"
        return f"{changed}{f', {len(unknown)} not estimable' if unknown else ''}: {rows}"

    def __str__(self) -> str:
        """The summary, and a line for each column that drifted."""
        found = [f"{c.name}: {c.estimate.text} ({c.text})" for c in self.columns if c.drifted]
        return "\n".join([self.summary, *found])

    def __repr__(self) -> str:
        return f"<DriftReport {self.summary}>"

    def column(self, name: str) -> ColumnDrift | None:
        """A column by its name, None when it was not compared."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def html(self) -> str:
        """A page of its own: no script, nothing from elsewhere, light and dark."""
        from mainspring.monitoring.reports.html import page

        return page(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from mainspring.monitoring.reports.html import fragment

        return fragment(self)

    def json(self) -> str:
        """The report as JSON text: every figure, with its interval or the reason why there is none."""
        return json.dumps(_plain(self), ensure_ascii=False, indent=1)

    def markdown(self) -> str:
        """The report as a table in Markdown, such as for a pull request."""
        head = ["| column | kind | drifted | value | likely cause |", "|---|---|---|---|---|"]
        rows = [
            f"| {_cell(column.name)} | {column.kind} | {'**yes**' if column.drifted else 'no'} "
            f"| {_cell(column.said)} | {_cell(column.text)} |"
            for column in self.columns
        ]
        notes = [f"- {what}: {found.text}" for what, found in self.together.items()]
        notes += [f"- not in {_cell(self.current)}: {_cell(', '.join(self.absent))}"] if self.absent else []
        notes += [f"- only in {_cell(self.current)}: {_cell(', '.join(self.added))}"] if self.added else []
        title = f"**{self.summary}** (`{self.method}`, {_cell(self.current)} against {_cell(self.reference)})"
        return "\n".join([title, "", *head, *rows, *(["", *notes] if notes else []), ""])

    def save(self, path: str | Path) -> Path:
        """Write the report to a file: `.html`, `.json` or `.md`.

        Raises:
            Invalid: The file ends otherwise.
        """
        from mainspring.core.errors import Invalid

        target = Path(path)
        texts = {".html": lambda: self.html, ".json": self.json, ".md": self.markdown}
        if target.suffix not in texts:
            raise Invalid(
                f"no report is written as {target.suffix or 'a file without an ending'}",
                where=str(target),
                hint="end the name in .html, .json or .md",
            )
        target.write_text(texts[target.suffix](), encoding="utf-8")
        return target


def _cell(text: str) -> str:
    """Text that stays in its cell, and is no markup."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    for special in "\\`*_[]<>|#":
        plain = plain.replace(special, f"\\{special}")
    return plain


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _estimate(found: Estimate) -> dict[str, object]:
    if found.value is None:
        return {"value": None, "not_estimable": found.reason}
    kept = {"value": found.value, "low": found.low, "high": found.high, "p": found.p, "usual": found.usual}
    return {key: entry for key, entry in kept.items() if entry is not None}


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _plain(report: DriftReport) -> dict[str, object]:
    return {
        "summary": report.summary,
        "method": report.method,
        "reference": {"name": report.reference, "rows": report.reference_rows},
        "current": {"name": report.current, "rows": report.current_rows},
        "drifted": list(report.drifted),
        "absent": list(report.absent),
        "added": list(report.added),
        "together": {name: _estimate(found) for name, found in report.together.items()},
        "columns": [
            {
                "name": column.name,
                "kind": column.kind,
                "drifted": column.drifted,
                "severity": column.severity,
                **_estimate(column.estimate),
                **({"cause": column.cause} if column.drifted else {}),
                **({"text": column.text} if column.text else {}),
                **({"peer": {name: list(values) for name, values in column.peer.items()}} if column.peer else {}),
                "methods": {name: _estimate(found) for name, found in column.estimates().items()},
            }
            for column in report.columns
        ],
    }
