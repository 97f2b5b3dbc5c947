"""A disk that is really full: a small one of its own, mounted where only this test sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("full_disk.py")
SIZE = "64m"


@pytest.fixture
def own_disk(tmp_path: Path) -> list[str]:
    """The beginning of a command that runs with a small disk mounted at `tmp_path / "disk"`.

    In CI it must be possible; elsewhere the test is skipped where nobody may mount anything.
    """
    (tmp_path / "disk").mkdir()
    apart = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = f'mount -t tmpfs -o size={SIZE} none {tmp_path / "disk"} && exec "$@"'
    begin = [*apart, "sh", "-c", mount, "sh"]
    try:
        tried = subprocess.run([*begin, "true"], capture_output=True, text=True, check=False)
        why = tried.stderr.strip() if tried.returncode else ""
    except FileNotFoundError:
        why = "there is no unshare"
    if why and os.environ.get("CI") == "true":
        pytest.fail(f"CI must let a test mount a disk of its own: {why}")
    if why:
        pytest.skip(f"nobody may mount a disk here: {why}")
    return begin


@pytest.mark.slow
@pytest.mark.long
def test_on_a_full_disk_nothing_is_half_written_and_work_goes_on_when_there_is_room(
    own_disk: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*own_disk, sys.executable, str(SCRIPT), str(tmp_path / "disk")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    acts = json.loads(done.stdout)
    assert len(acts) == 7
    for name, said, before, after, left, again, _ in acts:
        what, where, hint = said.splitlines()
        assert what == "the disk is full; nothing was stored", name
        assert where.startswith("where: "), name
        assert hint == "try: free some space, then run it again", name
        assert after == before, name
        assert after["parquet"] == after["versions"], name
        assert left == [], name
        assert again == "", name
    assert acts[-1][-1] == {
        "datasets": [400_000],
        "versions": 2,
        "parquet": 2,
        "files": ["big.bin"],
        "models": [1],
    }
