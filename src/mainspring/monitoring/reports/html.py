"""A drift report as HTML: small, without script, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mainspring.core.clock import iso
from mainspring.monitoring.reports.report import ColumnDrift, DriftReport
from mainspring.monitoring.reports.shapes import pair
from mainspring.monitoring.rules import multivariate, parity, statistics
from mainspring.monitoring.rules.statistics import Estimate

_WIDTH, _HEIGHT = 180, 44
_STYLE = """
.ms-drift{color-scheme:light dark;--paper:#fff;--ink:#1a2024;--soft:#566168;--line:#d8dedd;--was:#c3cccc;--now:#0b5f82;
--bad:#ab231c;font:14px/1.5 system-ui,sans-serif;background:var(--paper);color:var(--ink);padding:16px}
@media(prefers-color-scheme:dark){.ms-drift{--paper:#121619;--ink:#e4e9eb;--soft:#9ba8af;--line:#2c3439;--was:#465158;
--now:#74bfe3;--bad:#ff948a}}
.ms-drift h1{font-size:1.4em;margin:0 0 4px}.ms-drift p{margin:0 0 10px;color:var(--soft)}
.ms-drift .scroll{overflow-x:auto}.ms-drift table{border-collapse:collapse;width:100%;min-width:720px;color:inherit}
.ms-drift th,.ms-drift td{text-align:left;vertical-align:top;padding:6px 10px 6px 0;border-bottom:1px solid var(--line);
background:none}.ms-drift th{font-weight:600}.ms-drift .bad{color:var(--bad);font-weight:600}
.ms-drift small,.ms-drift summary{color:var(--soft);font-size:.86em}.ms-drift summary{cursor:pointer}
.ms-drift dl{display:grid;grid-template-columns:max-content auto;gap:0 10px;margin:4px 0;font-size:.86em}
.ms-drift dd{margin:0}.ms-drift svg{display:block}.ms-drift .was{fill:var(--was)}
.ms-drift .now{fill:none;stroke:var(--now);stroke-width:1.5}.ms-drift .key{display:inline-block;width:1em;height:.7em}
.ms-drift .key.was{background:var(--was)}.ms-drift .key.now{border:2px solid var(--now)}
""".replace("\n", "")


def page(report: DriftReport) -> str:
    """A whole page."""
    title = escape(f"Drift: {report.current} against {report.reference}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>body{{margin:0}}</style></head><body><main>{fragment(report)}</main></body></html>"
    )


def fragment(report: DriftReport) -> str:
    """The report as a part of a page, with a style that reaches nothing else."""
    says = escape((parity.peer if report.method in parity.names() else statistics.method)(report.method).SAYS)
    parts = [
        f"<style>{_STYLE}</style><h1>{escape(report.summary)}</h1>",
        f"<p>{escape(report.current)} against {escape(report.reference)}; judged by {escape(report.method)} ({says}), "
        "Benjamini-Hochberg at 1 % and a floor.</p>",
        *_notes(report),
        '<p><span class="key was"></span> reference &nbsp; <span class="key now"></span> now</p>',
        '<div class="scroll" tabindex="0" role="region" aria-label="Columns"><table><thead><tr>',
        *(f'<th scope="col">{head}</th>' for head in ("column", "change", "likely cause", "shares of rows")),
        "</tr></thead><tbody>",
        *map(_row, report.columns),
        "</tbody></table></div>",
    ]
    return f'<div class="ms-drift">{"".join(parts)}</div>'


def _notes(report: DriftReport) -> list[str]:
    notes = []
    if report.absent:
        notes.append(f'<p class="bad">Missing columns: {escape(", ".join(report.absent))}</p>')
    if report.added:
        notes.append(f"<p>New columns, not compared: {escape(', '.join(report.added))}</p>")
    if report.together:
        says = [
            (name, multivariate.method(name.rpartition(": ")[2]).SAYS, found) for name, found in report.together.items()
        ]
        notes.append(f"<h2>All columns together</h2>{_list(says)}<h2>Column by column</h2>")
    return notes


def _row(column: ColumnDrift) -> str:
    verdict = '<span class="bad">drifted</span>' if column.drifted else "no drift"
    if column.estimate.value is None:
        verdict = "not estimable"
    every = [(name, statistics.method(name).SAYS, found) for name, found in column.estimates().items()]
    return (
        f'<tr><th scope="row">{escape(column.name)}<br><small>{column.kind}</small></th>'
        f"<td>{verdict}<br><small>{escape(column.said)}</small></td>"
        f"<td>{escape(column.text)}<details><summary>every method</summary>{_list(every)}</details></td>"
        f"<td>{_drawn(column)}</td></tr>"
    )


def _list(found: Sequence[tuple[str, str, Estimate]]) -> str:
    entries = (
        f'<dt title="{escape(says)}">{escape(name.replace("_", " "))}</dt><dd>{escape(one.text)}</dd>'
        for name, says, one in found
    )
    return f"<dl>{''.join(entries)}</dl>"


def _drawn(column: ColumnDrift) -> str:
    before, now, first, last = pair(column.reference, column.current)
    if column.kind == "timestamp" and last != "missing":
        first, last = _moment(column.reference.least), _moment(column.reference.most)
    top = max(*before, *now, 1e-9)
    label = escape(f"{column.name}: shares of rows before and now, from {first} to {last}, at most {top:.1%}")
    low, high = escape(_short(first)), escape(_short(last))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">'
        f'<path class="was" d="{_steps(before, top, closed=True)}"/><path class="now" d="{_steps(now, top)}"/></svg>'
        f"<small>{low}{f' … {high}' if high != low else ''}</small>"
    )


def _steps(shares: Sequence[float], top: float, *, closed: bool = False) -> str:
    """The outline of bars: across and up or down, from the foot."""
    width = _WIDTH / len(shares)
    parts = [f"M0 {_HEIGHT}"]
    for place, share in enumerate(shares, start=1):
        parts.append(f"V{_HEIGHT - 1 - share / top * (_HEIGHT - 3):.1f}H{place * width:.1f}")
    return "".join(parts) + f"V{_HEIGHT}" + ("Z" if closed else "")


def _moment(at: float) -> str:
    try:
        return iso(int(at))[:16].replace("T", " ")
    except (OverflowError, ValueError):
        return "unknown"


def _short(text: str) -> str:
    return text if len(text) <= 16 else text[:15] + "…"
