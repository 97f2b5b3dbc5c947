"""What it costs to import Mainspring and to ask its command line for help, beside an empty Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, cpu_seconds


def measure() -> Iterator[Figure]:
    python = sys.executable
    nothing = cpu_seconds([python, "-c", "pass"])
    yield Figure("python -c pass, CPU", nothing, "s")
    yield Figure(
        "import mainspring / python -c pass", cpu_seconds([python, "-c", "import mainspring"]) / nothing, "times", 2
    )
    helps = cpu_seconds([str(Path(python).with_name("mainspring")), "--help"]) / nothing
    yield Figure("mainspring --help / python -c pass", helps, "times", 3.5)
    count = "import sys, mainspring; print(len(sys.modules))"
    modules = int(subprocess.run([python, "-c", count], capture_output=True, text=True, check=True).stdout)
    yield Figure("modules after import mainspring", modules, "modules", 150)
