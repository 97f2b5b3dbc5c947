"""Pure decisions of governance: what a card lacks, and how it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mainspring.core.clock import iso
from mainspring.core.errors import Invalid
from mainspring.governance.model import Attachment, CardContent, FieldFacts

LONGEST_TEXT = 20_000


def check_text(text: str, what: str) -> str:
    """Return a text that a person wrote, without space around it.

    Raises:
        Invalid: It is longer than 20,000 characters or holds a NUL character.
    """
    if len(text) > LONGEST_TEXT or "\0" in text:
        raise Invalid(f"the {what} cannot be kept", where=what, hint=f"use at most {LONGEST_TEXT} characters of text")
    return text.strip()


def with_attachment(content: CardContent, section: str, payload: Mapping[str, object]) -> CardContent:
    """The content with one more section; the same section with the same payload is there once."""
    added = Attachment(section, payload)
    return content if added in content.attachments else replace(content, attachments=(*content.attachments, added))


def gaps(content: CardContent) -> list[str]:
    """What a reader of the card would miss, in words.

    >>> gaps(CardContent(model="m", version=1, model_digest="", signed_by="", registered_at=0, registered_by="",
    ...                  task="binary", flavour="sklearn", purpose="late flights", metrics={"roc_auc": 0.7}))
    ['no limitations', 'no training data on record', 'no run on record', 'no verdict of a gate']
    """
    found = {
        "no purpose": not content.purpose,
        "no limitations": not content.limitations,
        "no metrics": not content.metrics,
        "no training data on record": not content.datasets,
        "no run on record": content.run is None,
        "no verdict of a gate": not any(entry.section == "verdict" for entry in content.attachments),
    }
    return [what for what, is_missing in found.items() if is_missing]


def markdown(content: CardContent) -> str:
    """The card as Markdown, the same text for the same content."""
    sections = [
        f"# Model card: {content.model} {content.version}",
        "## Purpose\n\n" + _words(content.purpose),
        "## Limitations\n\n" + _words(content.limitations),
        "## Model\n\n" + _list(_model_facts(content)),
        "## Data\n\n" + _data(content),
        "## Metrics\n\n" + _list((name, f"{value:.6g}") for name, value in sorted(content.metrics.items())),
        "## Signature\n\n" + _fields("Input", content.inputs) + "\n\n" + _fields("Output", content.outputs),
        "## Environment\n\n" + _list(sorted(content.environment.items())),
    ]
    sections += [f"## {_cell(entry.section)}\n\n" + _list(_flat(entry.payload)) for entry in content.attachments]
    if missing := gaps(content):
        sections.append("## Not on this card\n\n" + "\n".join(f"- {what}" for what in missing))
    return "\n\n".join(sections) + "\n"


def _model_facts(content: CardContent) -> list[tuple[str, str]]:
    run = content.run
    facts = [
        ("task", content.task + (f" ({', '.join(content.classes)})" if content.classes else "")),
        ("format", f"{content.flavour}, {content.size_bytes} bytes"),
        ("digest", content.model_digest),
        ("signed by key", content.signed_by),
        ("registered", f"{iso(content.registered_at)} by {content.registered_by}"),
        ("run", "" if run is None else f"{run.id} {run.experiment} {run.status}".rstrip()),
        ("seed", "" if run is None or run.seed is None else str(run.seed)),
        ("code", "" if run is None else run.code),
    ]
    facts += [] if run is None else [(f"parameter {name}", value) for name, value in sorted(run.params.items())]
    return [(name, value) for name, value in facts if value]


def _data(content: CardContent) -> str:
    lines = []
    for entry in content.datasets:
        known = "not known here" if entry.rows is None else f"{entry.rows} rows, {entry.quarantined} quarantined"
        missing = ", ".join(f"{name} {100 * share:.1f} %" for name, share in sorted(entry.missing.items())[:10])
        lines.append(f"- {entry.role}: {entry.ref} ({known})" + (f"; missing: {missing}" if missing else ""))
    return "\n".join(lines) or "Nothing on record."


def _fields(head: str, entries: Sequence[FieldFacts]) -> str:
    rows = [f"| {_cell(one.name)} | {one.dtype} | {one.levels or ''} |" for one in entries]
    return "\n".join([f"| {head} | Type | Levels |", "|---|---|---|", *rows])


def _flat(payload: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(str(name), _cell(str(value))) for name, value in payload.items()]


def _list(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {_cell(name)}: {_cell(value)}" for name, value in pairs) or "Nothing on record."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _words(text: str) -> str:
    return text or "Nobody has said."
