"""The reference says what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from mainspring.core.errors import error_codes
from mainspring.core.events import fact_kinds
from mainspring.core.settings import SECTIONS
from mainspring.server.rooms import collect_handlers

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference.md"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(script: ModuleType) -> None:
    assert PAGE.read_text(encoding="utf-8") == script.render(), "run: python scripts/reference.py"


def test_every_route_setting_error_and_event_is_on_the_page(script: ModuleType) -> None:
    text = script.render()
    handlers = collect_handlers()
    for handler in (*handlers.api, *handlers.pages):
        for path in handler.paths:
            assert f"`{script.shown(path)}` | `{handler.opt['permission']}`" in text
    for section in SECTIONS:
        assert f"`[{section}]`" in text
    for name in (*error_codes(), *(kind for kind in fact_kinds() if fact_kinds()[kind].__module__.endswith(".events"))):
        assert f"| `{name}` |" in text


def test_every_row_has_a_meaning(script: ModuleType) -> None:
    assert "|  |" not in script.render()
