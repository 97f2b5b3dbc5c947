"""Rules do no input or output: what import-linter can't see, since `core` may do it and rules import `core`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3] / "src" / "mainspring"
RULES = sorted(
    {
        *ROOT.glob("*/rules/**/*.py"),
        *ROOT.glob("*/rules.py"),
        *ROOT.glob("tracking/grammar/*.py"),
        ROOT / "loop/policies.py",
    }
)
WORLDLY = {"os", "io", "pathlib", "shutil", "sqlite3", "sys", "tempfile", "threading", "time", "random", "secrets"}
CALLS = {"open", "input", "print", "exec", "eval", "__import__"}


def test_there_are_rules() -> None:
    assert len(RULES) > 30


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_rules_neither_read_nor_write_nor_look_at_the_clock(path: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {name.name.partition(".")[0] for name in names} & WORLDLY
            case ast.ImportFrom(module=str(module)):
                found |= {module.partition(".")[0]} & WORLDLY
            case ast.Call(func=ast.Name(id=name)):
                found |= {name} & CALLS
            case ast.Attribute(attr="now" | "utcnow" | "today" as name, value=ast.Name(id="datetime" | "date")):
                found.add(name)
    assert not found
