"""The log of a step on a disk that is full, in a process of its own as its output is taken."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import resource
import sys
from pathlib import Path

from mainspring.core.errors import NoRoom
from mainspring.core.wiring import Wiring
from mainspring.pipelines import step
from mainspring.pipelines.hand import Hand
from mainspring.pipelines.secrets import Secrets
from mainspring.storage.ports import Blobs

folder = Path(sys.argv[1])
(folder / "logs").mkdir()
(folder / "logs" / "loud-1.txt").write_text("of the try before\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file takes a byte from here on


class Full:
    def put(self, data: bytes) -> str:
        assert data == b"of the try before\\n"
        raise NoRoom("the disk is full; nothing was stored")


def talk(n: int) -> int:
    for _ in range(n):
        print("." * 1023)
    raise ZeroDivisionError("seven by none")


loud = step(secrets=["TOKEN"])(talk) if sys.argv[2] == "masked" else step(talk)
wiring = Wiring()
wiring.add(Blobs, lambda _: Full())
secrets = Secrets(environ={"TOKEN": "a long secret"})
hand = Hand(wiring, run_id="r", folder=folder, params={}, secrets=secrets, owns_process=sys.argv[2] == "masked")
call = {"step": "loud", "attempt": 1, "function": "", "arguments": {"n": {"value": int(sys.argv[3])}}, "room": 100}
done = hand.do(loud, call)
print(done["error"]["what"], done["log"] == "")
"""


@pytest.mark.parametrize(("how", "lines"), [("masked", 1000), ("plain", 0)])
def test_a_step_whose_log_has_no_room_goes_on_and_says_what_it_raised(
    tmp_path_factory: pytest.TempPathFactory, how: str, lines: int
) -> None:
    """A megabyte goes through the pipe that keeps secrets out of the log: nobody waits for a reader that is gone."""
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path_factory.mktemp("run")), how, str(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "step loud raised ZeroDivisionError: seven by none True\n"
