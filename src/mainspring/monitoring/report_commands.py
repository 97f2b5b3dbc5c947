"""Drift reports on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mainspring.core.console import json_option, printable, room

if TYPE_CHECKING:
    from mainspring.monitoring.reports import DriftReport

DRIFTED = 4
"""The exit code of `--fail-on-drift`: a check said no."""


@click.command("drift")
@click.argument("reference")
@click.argument("current")
@click.option("--method", default="shift", show_default=True, help="How columns are compared.")
@click.option("--column", "columns", multiple=True, help="Only this column; may be given again.")
@click.option("--together", is_flag=True, help="Also compare whole rows: classifier, PCA, MMD, energy.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the report to this file.")
@click.option("--markdown", is_flag=True, help="Print a table in Markdown.")
@click.option("--fail-on-drift", is_flag=True, help="Exit with 4 when a column drifted.")
@json_option
@click.pass_context
def drift(
    ctx: click.Context,
    reference: str,
    current: str,
    method: str,
    columns: tuple[str, ...],
    together: bool,
    html: Path | None,
    markdown: bool,
    fail_on_drift: bool,
    as_json: bool,
) -> int:
    """Compare two tables: files, or versions of datasets.  Example: mainspring monitor drift june.csv july.csv"""
    from mainspring.data import Data
    from mainspring.monitoring.reports import compare_tables, open_named

    before, now = (open_named(source, lambda: room(ctx, Data)) for source in (reference, current))
    report = compare_tables(before, now, method=method, columns=columns, together=together)
    if html:
        html.write_text(report.html, encoding="utf-8")
    if as_json:
        click.echo(report.json())
    elif markdown:
        click.echo(report.markdown())
    else:
        click.echo(printable(_lines(report)))
    return DRIFTED if fail_on_drift and report.drifted else 0


def _lines(report: DriftReport) -> str:
    """What stands in a terminal: the columns that drifted, and what could not be compared."""
    lines = [report.summary]
    for column in report.columns:
        if column.drifted:
            lines.append(f"  {column.name}: {column.text}; {report.method} {column.estimate.text}")
        elif column.estimate.value is None:
            lines.append(f"  {column.name}: {column.estimate.text}")
    lines += [f"  {name}: {found.text}" for name, found in report.together.items()]
    lines += [f"  not in {report.current}: {', '.join(report.absent)}"] if report.absent else []
    return "\n".join([*lines, *([f"  only in {report.current}: {', '.join(report.added)}"] if report.added else [])])
