"""Every code block of README and docs runs, or says in a comment why it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LONG = {"batch.md", "models.md", "pipelines.md", "registry.md", "rollouts.md", "tracking.md"}
"""Pages with so many commands that they take a quarter of a minute each."""
BLOCK = re.compile(r"(?:<!-- not run here: (?P<why>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)
CUSTOMERS = "age,plan,spent,churned\n" + "".join(
    f"{20 + i % 50},{'basic' if i % 3 else 'full'},{(i * 37) % 101}.5,{int((i * 37) % 101 < 40 or i % 7 == 0)}\n"
    for i in range(600)
)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    why: str | None


def blocks_of(page: Path) -> list[Block]:
    return [Block(found["language"], found["text"], found["why"]) for found in BLOCK.finditer(page.read_text())]


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-W", "error", "-c"]
    environ = {**os.environ, "PATH": path}
    return subprocess.run(
        [*command, block.text], cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False
    )


def named(page: Path) -> ParameterSet:
    return pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=[pytest.mark.long] * (page.name in LONG))


@pytest.mark.slow
@pytest.mark.parametrize("page", [named(page) for page in PAGES])
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    for block in blocks_of(page):
        assert block.language in ("bash", "python", "toml", "text", "json", "http", ""), block.text
        if block.language in ("bash", "python") and not block.why:
            done = run(block, tmp_path)
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
