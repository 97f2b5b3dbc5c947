"""`mainspring demo` in a folder of its own: seconds by step as it says them, and from the first byte to the last."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator

from figure import Figure
from place import folder

LIMIT_S = 90
GIVE_UP_S = 1200
STEP = re.compile(r"^\s*(?P<at>\d+\.\d) s\s+(?P<mark>ok|FAILED)\s+(?P<name>\w+)", re.MULTILINE)


def measure() -> Iterator[Figure]:
    with folder() as root:
        command = [sys.executable, "-m", "mainspring", "demo", "--dir", str(root / "demo")]
        began = time.perf_counter()
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=GIVE_UP_S)
        total = time.perf_counter() - began
    steps = list(STEP.finditer(done.stdout))
    if not steps:
        raise RuntimeError(f"the demo said no step: {done.stdout[-500:]} {done.stderr[-500:]}")
    before = 0.0
    for step in steps:
        yield Figure(f"demo, step {step['name']}", float(step["at"]) - before, "s")
        before = float(step["at"])
    failed = sum(step["mark"] == "FAILED" for step in steps)
    yield Figure("demo, steps whose check failed", max(failed, int(done.returncode != 0)), "steps", 0)
    yield Figure("demo, all of it", total, "s", LIMIT_S)
