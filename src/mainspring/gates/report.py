"""A verdict to hand on: as Markdown for a change under review, as one HTML file, as JUnit for a build server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from mainspring.core.clock import iso
from mainspring.gates.approving import waits_for

if TYPE_CHECKING:
    from mainspring.gates.approving import Approval
    from mainspring.gates.model import CheckResult, SliceResult, Verdict

_MARKS = {"pass": "✅", "fail": "❌", "error": "⚠️", "undecided": "❔", "skipped": "➖"}
_HEADS = ("Result", "Check", "Estimate", "Interval", "Against", "p", "Rows", "Note")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #d6dae0;text-align:left}
.pass,.ok{color:#116329}.fail,.error,.bad{color:#a40e26}.undecided{color:#7a4a00}.skipped,.small{color:#57606a}
@media(prefers-color-scheme:dark){body{background:#0f1318;color:#e6e9ee}td,th{border-color:#343b44}
.pass,.ok{color:#57c97a}.fail,.error,.bad{color:#ff8a8a}.undecided{color:#e0b25c}.skipped,.small{color:#9aa4b0}}"""


def markdown(verdict: Verdict, said: Sequence[Approval] = ()) -> str:
    """The verdict as Markdown: what it came to, a table of the checks, the parts that are bad, the evidence.

    Args:
        verdict: What the gate said.
        said: What people said about it.
    """
    lines = [
        f"## {_MARKS[verdict.outcome]} Gate {_cell(verdict.gate)}: {verdict.outcome}",
        "",
        _cell(verdict.reason),
        "",
        _row(_HEADS),
        _row(["---"] * len(_HEADS)),
        *(_row(_cells(result)) for result in verdict.checks),
        "",
    ]
    lines += [f"- {_cell(title)}: {_cell(part.name)} {_cell(part.note)}".rstrip() for title, part in _bad(verdict)]
    lines += ["", *(f"- {_cell(name)}: {_cell(value)}" for name, value in evidence(verdict, said)), ""]
    return "\n".join(lines)


def html(verdict: Verdict, said: Sequence[Approval] = ()) -> str:
    """The verdict as one HTML file that loads nothing: the checks with their intervals drawn, the parts, the evidence.

    Args:
        verdict: What the gate said.
        said: What people said about it.
    """
    title = escape(f"{verdict.gate} on {verdict.model} {verdict.version}: {verdict.outcome}")
    heads = "".join(f"<th>{head}</th>" for head in (*_HEADS[:2], "", *_HEADS[2:]))
    rows = "".join(_html_row(result) for result in verdict.checks)
    facts = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in evidence(verdict, said)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f'</head><body><h1 class="{verdict.outcome}">{title}</h1><p>{escape(verdict.reason)}</p>'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f"{''.join(_html_parts(result) for result in verdict.checks if result.slices)}"
        f"<h2>Evidence</h2><table><tbody>{facts}</tbody></table></body></html>\n"
    )


def junit(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as JUnit XML: a suite for each, a case for each check; doubt is a failure when the gate calls it one.

    Args:
        verdicts: In the order they are to be shown.
    """
    root = ElementTree.Element("testsuites", name="gates")
    for verdict in verdicts:
        name = f"gate {verdict.gate}: {verdict.model} {verdict.version}"
        suite = ElementTree.SubElement(root, "testsuite", name=_xml(name), timestamp=iso(verdict.created_at))
        states = [_state(verdict, result) for result in verdict.checks]
        suite.set("tests", str(len(states)))
        for attribute, state in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(attribute, str(states.count(state)))
        for state, result in zip(states, verdict.checks, strict=True):
            case = ElementTree.SubElement(
                suite, "testcase", name=_xml(result.title), classname=_xml(f"gate.{verdict.gate}")
            )
            if state:
                ElementTree.SubElement(case, state, message=_xml(_sentence(result)))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def evidence(verdict: Verdict, said: Sequence[Approval] = ()) -> list[tuple[str, str]]:
    """What a verdict rests on, as names and texts."""
    against = "none" if not verdict.champion_digest else f"version {verdict.champion or '-'}, {verdict.champion_digest}"
    found = [
        ("candidate", f"{verdict.model} {verdict.version}, {verdict.candidate_digest}"),
        ("champion", against),
        ("rows", f"{verdict.n} of {verdict.data_ref or 'a table that was given'}"),
        ("use of the data version", f"verdict {verdict.use} on it" if verdict.data_ref else "not counted"),
        ("alpha and seed", f"{verdict.alpha}, one-sided, Holm over the checks; seed {verdict.seed}"),
        ("reached", f"{iso(verdict.created_at)} by {verdict.actor}"),
        ("verdict", verdict.id),
    ]
    found += [
        ("approval", f"{each.decision} by {each.actor} as {each.role} at {iso(each.at)}: {each.reason}")
        for each in said
    ]
    if verdict.outcome == "pass" and (left := waits_for(verdict, said)):
        found.append(("approval", f"waits for {left}"))
    return found


def _cells(result: CheckResult) -> list[str]:
    interval = f"{_number(result.low)} to {_number(result.high)}" if result.low is not None else ""
    numbers = (_number(result.value), interval, _number(result.threshold), _number(result.p, 2), str(result.n or ""))
    return [f"{_MARKS[result.outcome]} {result.outcome}", result.title, *numbers, _note(result)]


def _note(result: CheckResult) -> str:
    needed = f"about {result.rows_needed} rows would decide" if result.rows_needed is not None else ""
    return "; ".join(text for text in (result.note, needed) if text)


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    """One line that Markdown takes for text."""
    return re.sub(r"([|<>\[\]`*_])", r"\\\1", " ".join(text.split()))


def _bad(verdict: Verdict) -> list[tuple[str, SliceResult]]:
    return [(result.title, part) for result in verdict.checks for part in result.slices if part.state == "bad"]


def _html_row(result: CheckResult) -> str:
    cells = _cells(result)
    drawn = _drawn(result.low, result.value, result.high, result.threshold, result.title)
    shown = [
        f'<td class="{result.outcome}">{escape(cells[0])}</td>',
        f"<td>{escape(cells[1])}</td>",
        f"<td>{drawn}</td>",
    ]
    return f"<tr>{''.join(shown)}{''.join(f'<td>{escape(cell)}</td>' for cell in cells[2:])}</tr>"


def _html_parts(result: CheckResult) -> str:
    rows = "".join(
        f'<tr><td class="{part.state}">{part.state}</td><td>{escape(part.name)}</td>'
        f"<td>{_drawn(part.low, part.value, part.high, part.threshold, part.name)}</td>"
        f"<td>{_number(part.value)}</td><td>{part.n}</td><td>{escape(part.note)}</td></tr>"
        for part in result.slices
    )
    heads = "<th>Result</th><th>Part</th><th></th><th>Estimate</th><th>Rows</th><th>Note</th>"
    return f"<h2>{escape(result.title)}</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _drawn(low: float | None, value: float | None, high: float | None, line: float | None, label: str) -> str:
    """An interval as a bar with its estimate as a dot and the line it is held against."""
    if low is None or value is None or high is None:
        return ""
    known = [low, value, high] if line is None else [low, value, high, line]
    spread = (max(known) - min(known)) or 1.0

    def place(n: float) -> float:
        return round(8 + 184 * (n - min(known)) / spread, 1)

    dashed = "" if line is None else f'<path d="M{place(line)} 2V22" stroke="currentColor" stroke-dasharray="3 3"/>'
    return (
        f'<svg width="200" height="24" role="img" aria-label="{escape(label)}">'
        f'<path d="M{place(low)} 12H{place(high)}" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{place(value)}" cy="12" r="4" fill="currentColor"/>{dashed}</svg>'
    )


def _state(verdict: Verdict, result: CheckResult) -> str:
    states = {"fail": "failure", "error": "error", "skipped": "skipped", "pass": ""}
    return states.get(result.outcome, "failure" if verdict.undecided == "fail" else "skipped")


def _sentence(result: CheckResult) -> str:
    numbers = [text for text in _cells(result)[2:4] if text]
    return ": ".join(text for text in (result.outcome, ", ".join(numbers), _note(result)) if text)


def _xml(text: str) -> str:
    return _NO_XML.sub("", text)
