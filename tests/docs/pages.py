"""The code blocks of README and docs, with what a mark or a title says about each.

````
<!-- not run here: why -->       it is parsed only, and a test holds how many there are
<!-- made once for all pages -->  the block that makes the example project: a page gets a copy of it
<!-- goes on until it is stopped -->  it runs beside the rest of its page
<!-- needs torch -->              it runs where that package is installed
```toml title="rules.toml"       a file that the commands after it may read; mainspring.toml is added to
```text title="output"           what the block before it prints, but for numbers and ids
````
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LANGUAGES = ("bash", "python", "toml", "yaml", "text")
ONCE = "made once for all pages"
STAYS = "goes on until it is stopped"
NOT_RUN = "not run here: "
NEEDS = "needs "
_BLOCK = re.compile(
    r'(?:^<!-- (?P<mark>[^\n]+) -->\n)?^```(?P<language>\w*)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    title: str
    mark: str
    text: str

    @property
    def why_not(self) -> str:
        """Why it is not run; empty when it is."""
        return self.mark.removeprefix(NOT_RUN) if self.mark.startswith(NOT_RUN) else ""

    @property
    def lacks(self) -> bool:
        """Whether it is about a package that is not installed."""
        return self.mark.startswith(NEEDS) and find_spec(self.mark.removeprefix(NEEDS)) is None


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    return [
        Block(page, found["language"], found["title"] or "", found["mark"] or "", found["text"])
        for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page)]
