"""What a step takes of the machine, measured: processor time and the most memory."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Measures from its making to `stop`. Memory is the most in that time; not on Linux, the most of the process."""

    def __init__(self) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
        self._cpu_s = _cpu_s()

    def stop(self) -> tuple[float, int]:
        """Seconds of processor time, of children that have ended too, and bytes of memory."""
        return round(_cpu_s() - self._cpu_s, 6), _peak()


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak() -> int:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(line.split()[1]) * 1024


def memory_of(pid: int) -> int:
    """Bytes of memory that a process has now; 0 when that cannot be seen."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def limit_memory(size: int) -> None:
    """Let this process take at most so many bytes more than now; what asks for more gets a MemoryError."""
    with suppress(OSError, ValueError, StopIteration):
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next(line for line in file if line.startswith("VmData:"))
        now = int(line.split()[1]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (now + size, resource.getrlimit(resource.RLIMIT_DATA)[1]))
