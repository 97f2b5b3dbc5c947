"""One process that has everything imported and forks for each command: thirty commands cost their own work alone.

What runs is what a shell would start: a process of its own with its own folder, environment, standard streams and exit
code; the imports, half a second or more for each, are there already. `SHIM` stands in the shell's path as `mainspring`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests import warm as processes

_MOST = 1 << 22
SHIM = """#!{python} -IS
import json, os, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
socket.send_fds(link, [b"f"], [0, 1, 2])
asked = {{"args": sys.argv[1:], "folder": os.getcwd(), "environ": dict(os.environ), "code": {code}}}
link.sendall(json.dumps(asked).encode() + b"\\n")
sys.exit(int(link.recv(16) or b"1"))
"""


@contextlib.contextmanager
def warm(folder: Path) -> Iterator[Path]:
    """Yields the folder with `mainspring` and `warm-python` to put into the path; ends what runs it."""
    address = str(folder / "socket")
    for name, code in (("mainspring", "None"), ("warm-python", "sys.stdin.read()")):
        (folder / name).write_text(SHIM.format(python=sys.executable, address=address, code=code))
        (folder / name).chmod(0o755)
    with processes.Warm(
        [sys.executable, "-m", "tests.docs.warm", address], cwd=processes.ROOT, stdin=subprocess.PIPE
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not Path(address).exists():
                assert process.poll() is None and time.monotonic() < deadline, "it does not start"
                time.sleep(0.02)
            yield folder
        finally:
            process.kill()


def _serve(address: str) -> None:
    """Fork for each connection, until the test that started this ends."""
    processes.load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who watches a command is nobody's to wait for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        os.rename(f"{address}.new", address)
        while True:
            ready, _, _ = select.select([listener.fileno(), 0], [], [])
            if 0 in ready:
                return
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _watch(link)
                return
            link.close()


def _watch(link: socket.socket) -> None:
    """Run one command in a process of its own and tell its exit code; who asked has gone: end it."""
    _, streams, _, _ = socket.recv_fds(link, 1, 3)
    text = b""
    while not text.endswith(b"\n"):
        part = link.recv(_MOST)
        if not part:
            return
        text += part
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        link.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _become(json.loads(text))
        return
    for stream in streams:
        os.close(stream)
    watched = os.pidfd_open(child)
    ready, _, _ = select.select([link.fileno(), watched], [], [])
    if watched not in ready:
        os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        link.sendall(str(os.waitstatus_to_exitcode(status) & 255).encode())
    os._exit(0)


def _become(asked: dict[str, object]) -> None:
    """Be the command, with what it starts as warm as it is."""
    environ, args, code = asked["environ"], asked["args"], asked["code"]
    assert isinstance(environ, dict) and isinstance(args, list)
    processes.plant()
    processes.settle(str(asked["folder"]), environ)
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    if code is None:
        from mainspring.cli import main as run

        sys.argv = ["mainspring", *args]
        processes.run(run)
    sys.argv = ["-c"]
    sys.path.insert(0, "")
    warnings.simplefilter("error")
    processes.run(lambda: exec(compile(str(code), "<string>", "exec"), main.__dict__))


if __name__ == "__main__":
    del sys.path[0]
    _serve(sys.argv[1])
