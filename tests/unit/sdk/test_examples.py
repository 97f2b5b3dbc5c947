"""The examples in the docstrings of the SDK run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("warm_programs")
MODULES = (
    "mainspring.sdk.autologging",
    "mainspring.sdk.rendering",
    "mainspring.sdk.run",
    "mainspring.sdk.seeds",
    "mainspring.sdk.session",
    "mainspring.tracking.reproduction.comparing",
    "mainspring.tracking.reproduction.rebuilding",
    "mainspring.tracking.secrets",
    "mainspring.tracking.wire",
)


@pytest.mark.usefixtures("warm_programs")
@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module: str, tmp_path: Path) -> None:
    script = tmp_path / "examples.py"
    script.write_text(
        f"import doctest, importlib, sys; importlib.import_module({module!r})\n"
        f"found = doctest.testmod(sys.modules[{module!r}])\n"
        "sys.exit(found.failed or not found.attempted)"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAINSPRING_")}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
