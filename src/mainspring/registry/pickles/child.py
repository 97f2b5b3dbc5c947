"""The scanning process: reads parts from its standard input, says what it found, and may do nothing else."""

from __future__ import annotations

import codecs
import json
import resource
import sys
from typing import NoReturn

from mainspring.registry.pickles.allowed import use_of
from mainspring.registry.pickles.look import Claim, look
from mainspring.registry.pickles.report import Limits

_NEVER = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.", "marshal.", "urllib.", "http.", "pty.")
_NOT_NOW = frozenset({"import", "open", "exec", "compile", "code.__new__", "function.__new__"})


def main() -> None:
    """One scan."""
    source = sys.stdin.buffer
    asked = json.loads(source.readline())
    limits = Limits(**asked["limits"])
    size = sum(entry["size"] for entry in asked["parts"])
    _limit(limits, size)
    for name in ("ascii", "utf-8", "latin1", "cp437", "raw-unicode-escape"):
        codecs.lookup(name)
    use_of("builtins", "object")  # the allow-list is read now, while modules may still be imported
    sys.addaudithook(_refuse)
    parts = [(entry["name"], Claim(entry["claim"]), source.read(entry["size"])) for entry in asked["parts"]]
    report = look(parts, limits)
    findings = [(entry.part, entry.offset, entry.reason) for entry in report.findings]
    answer = {"findings": findings, "names": report.names, "pickles": report.pickles}
    sys.stdout.write(json.dumps(answer))


def _limit(limits: Limits, size: int) -> None:
    memory = limits.memory + 4 * size
    seconds = max(1, int(limits.seconds) + 1)
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _refuse(event: str, _: tuple[object, ...]) -> None:
    """Nothing that is looked at is executed; should that ever go wrong, the process ends here."""
    if event in _NOT_NOW or event.startswith(_NEVER):
        _end(event)


def _end(event: str) -> NoReturn:
    raise SystemExit(f"refused: {event}")


if __name__ == "__main__":
    main()
