"""Compile constraints.txt from pyproject.toml: every version pinned, no index address. Needs pip-tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints.txt"
QUIET = ["--quiet", "--no-header", "--no-annotate", "--strip-extras", "--no-emit-options"]
NO_ADDRESS = ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"]


def main() -> None:
    command = [sys.executable, "-m", "piptools", "compile", *QUIET, *NO_ADDRESS, "--extra", "dev", *sys.argv[1:]]
    subprocess.run([*command, "-o", str(PINS), "pyproject.toml"], cwd=ROOT, check=True)
    lines = PINS.read_text().splitlines()
    PINS.write_text("".join(f"{line}\n" for line in lines if "==" in line and " @ " not in line))


if __name__ == "__main__":
    main()
