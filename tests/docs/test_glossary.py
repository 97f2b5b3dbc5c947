"""The glossary is true: every path, command and table it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mainspring.cli import COMMANDS
from mainspring.cli.root import root
from mainspring.server.rooms import collect_handlers
from mainspring.testing.schema import all_metadata

PAGE = Path(__file__).resolve().parents[2] / "docs" / "glossary.md"
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| term")
]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_terms_are_sorted_and_have_a_meaning() -> None:
    terms = [row[0] for row in ROWS]
    assert terms == sorted(terms)
    assert all(len(row) == 5 and row[1] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_api_has_the_path(row: list[str]) -> None:
    paths = [
        re.sub(r":\w+}", "}", path) for handler in collect_handlers().api for path in getattr(handler, "paths", ())
    ]
    for path in codes(row[2]):
        assert any(known.startswith(f"/api/v1{path}") for known in paths)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_command_is_there(row: list[str]) -> None:
    import click

    for text in codes(row[3]):
        _, name, *rest = text.split()
        assert name in COMMANDS
        with click.Context(root) as ctx:
            command = root.get_command(ctx, name) if isinstance(root, click.Group) else None
            for word in rest:
                assert isinstance(command, click.Group)
                command = command.get_command(ctx, word)
            assert command is not None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_is_there(row: list[str]) -> None:
    assert set(codes(row[4])) <= set(all_metadata().tables)
