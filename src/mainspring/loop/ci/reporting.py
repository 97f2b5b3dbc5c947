"""A report as Markdown, for people and comments, and as JUnit XML, for machines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from mainspring.loop.ci.model import ERROR, FAILED, SKIPPED, Case, Report

MARKER = "<!-- mainspring ci -->"
"""The first line, by which a comment that is there already can be found."""
_MARKS = {"passed": "✅", "failed": "❌", "refused": "⛔", "error": "❌", "skipped": "➖"}
_TITLES = {"data": "Data", "pipeline": "Pipeline", "gate": "Gate"}
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [MARKER, f"# {_MARKS[report.outcome]} Mainspring: {report.outcome}", "", _cell(report.reason), ""]
    if report.version:
        lines += [f"Version: `{report.version}`", ""]
    for suite in ("data", "pipeline"):
        cases = [case for case in report.cases if case.suite == suite]
        if cases:
            lines += [f"## {_TITLES[suite]}", "", "| | what | took | note |", "|---|---|---|---|"]
            lines += [
                f"| {_MARKS[each.state]} | {_cell(each.name)} | {each.seconds:.1f} s | {_cell(each.note)} |"
                for each in cases
            ]
            lines.append("")
    return "\n".join([*lines, report.verdict]).rstrip() + "\n"


def junit(report: Report) -> str:
    """The report as JUnit XML: a suite each for data, pipeline and gate, a case for each thing that was looked at."""
    root = ElementTree.Element("testsuites", name="mainspring ci", time=f"{report.seconds:.3f}")
    for suite in _TITLES:
        cases = [case for case in report.cases if case.suite == suite]
        if cases:
            root.append(_suite(suite, cases))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(name: str, cases: Sequence[Case]) -> ElementTree.Element:
    made = ElementTree.Element("testsuite", name=name, tests=str(len(cases)))
    for attribute, state in (("failures", FAILED), ("errors", ERROR), ("skipped", SKIPPED)):
        made.set(attribute, str(sum(case.state == state for case in cases)))
    made.set("time", f"{sum(case.seconds for case in cases):.3f}")
    for each in cases:
        case = ElementTree.SubElement(made, "testcase", classname=f"mainspring.{name}", name=_xml(each.name))
        case.set("time", f"{each.seconds:.3f}")
        tag = {FAILED: "failure", ERROR: "error", SKIPPED: "skipped"}.get(each.state)
        if tag:
            ElementTree.SubElement(case, tag, message=_xml(each.note.partition("\n")[0])).text = _xml(each.note)
    return made


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
