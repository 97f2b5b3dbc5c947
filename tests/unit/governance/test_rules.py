"""How a model card reads, and what it lacks."""

from __future__ import annotations

import pytest

from mainspring.core.errors import Invalid
from mainspring.governance import CardContent, DatasetFacts, FieldFacts, RunFacts
from mainspring.governance.rules import check_text, gaps, markdown, with_attachment

CARD = CardContent(
    model="delay",
    version=3,
    model_digest="ab" * 32,
    signed_by="k1",
    registered_at=0,
    registered_by="owner",
    task="regression",
    flavour="sklearn",
    purpose="Minutes of delay.",
    limitations="US only.",
    inputs=(FieldFacts("carrier", "string", 16),),
    metrics={"rmse": 12.5},
    datasets=(DatasetFacts("datasets/trips/1", "training", rows=100, quarantined=2, missing={"wind": 0.125}),),
    run=RunFacts("0192", experiment="delays", seed=7, params={"depth": "3"}),
)


def test_the_markdown_says_what_is_on_the_card() -> None:
    text = markdown(CARD)
    for part in (
        "# Model card: delay 3",
        "US only.",
        "- rmse: 12.5",
        "- training: datasets/trips/1 (100 rows, 2 quarantined); missing: wind 12.5 %",
        "| carrier | string | 16 |",
        "- parameter depth: 3",
        "- seed: 7",
        "- no verdict of a gate",
    ):
        assert part in text


def test_an_attached_section_has_its_heading() -> None:
    card = with_attachment(CARD, "verdict", {"outcome": "pass", "rows": 3000})
    assert "## verdict\n\n- outcome: pass\n- rows: 3000" in markdown(card)
    assert gaps(card) == []


def test_the_same_section_is_there_once() -> None:
    once = with_attachment(CARD, "verdict", {"outcome": "pass"})
    assert with_attachment(once, "verdict", {"outcome": "pass"}) == once
    assert len(with_attachment(once, "verdict", {"outcome": "fail"}).attachments) == 2


def test_a_name_cannot_break_the_table() -> None:
    text = markdown(CardContent(**{**_values(), "inputs": (FieldFacts("a|b\nc", "string"),)}))  # type: ignore[arg-type]
    assert "| a\\|b c | string |  |" in text


def test_texts_have_an_end() -> None:
    assert check_text("  US only. \n", "limitations") == "US only."
    with pytest.raises(Invalid, match="limitations"):
        check_text("x" * 20_001, "limitations")
    with pytest.raises(Invalid, match="purpose"):
        check_text("a\0b", "purpose")


def _values() -> dict[str, object]:
    return {name: getattr(CARD, name) for name in CardContent.__dataclass_fields__}
