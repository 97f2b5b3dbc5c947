"""What the filters of the templates say."""

from __future__ import annotations

import re

import pytest

from mainspring.core.clock import DAY_US, HOUR_US, SECOND_US
from mainspring.ui import pages


@pytest.mark.parametrize(
    ("micros", "words"),
    [
        (0, "just now"),
        (30 * SECOND_US, "30 s ago"),
        (90 * SECOND_US, "1 min ago"),
        (5 * HOUR_US, "5 h ago"),
        (DAY_US, "1 day ago"),
        (400 * DAY_US, "1 year ago"),
        (-2 * DAY_US, "in 2 days"),
    ],
)
def test_ago_uses_the_largest_unit_that_fits(micros: int, words: str) -> None:
    assert pages.ago(0, micros) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")])
def test_sizes_are_readable(number: int, words: str) -> None:
    assert pages.size(number) == words


def test_ids_are_shortened_to_their_end_where_they_differ() -> None:
    assert pages.reference("runs/0192f3a4b5c67d8e9f00112233445566") == "runs/33445566"
    assert pages.reference("models/flights/3") == "models/flights/3"


def test_a_subject_without_a_page_leads_to_its_events() -> None:
    shapes = pages.page_shapes(["/models/{name:str}/{number:int}", "/models/{name:str}/edit", "/"])
    assert pages.address("models/a b/1", shapes) == "/models/a%20b/1"
    assert pages.address("models/flights/edit", shapes) == "/models/flights/edit"
    assert pages.address("odd things/1", shapes) == "/events?subject=odd%20things/1"


def test_every_template_can_be_compiled() -> None:
    environment = pages.page_environment()
    names = environment.list_templates(extensions=["html"])
    assert "shell.html" in names
    for name in names:
        environment.get_template(name)


def test_templates_keep_to_the_policy_for_scripts_and_styles() -> None:
    environment = pages.page_environment()
    assert environment.loader is not None
    for name in environment.list_templates(extensions=["html"]):
        source, _, _ = environment.loader.get_source(environment, name)
        for forbidden in (" style=", " onclick=", " onchange=", "<script>", "|safe", "| safe", "http://", "https://"):
            assert forbidden not in source, f"{name} has {forbidden}"


def test_every_table_scrolls_in_a_frame_with_a_name_so_that_no_page_is_wider_than_its_window() -> None:
    environment = pages.page_environment()
    assert environment.loader is not None
    for name in environment.list_templates(extensions=["html"]):
        source, _, _ = environment.loader.get_source(environment, name)
        for before in re.findall(r"(.{0,120})<table", source, flags=re.S):
            assert re.search(r'<div class="scroll" tabindex="0" role="region" aria-label="[^"]+">\s*$', before), name
