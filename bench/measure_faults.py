"""Random schedules of faults on SQLite and Postgres: `./ms bench faults`, or `python bench/measure_faults.py 20`.

What found something is printed with its seed; `python -m tests.e2e.faults KIND --seed N --keep` runs it again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from figure import Figure

ROOT = Path(__file__).resolve().parent.parent
FIRST, SCHEDULES = 1000, 200
LEASE_S, SLACK_S = 1.5, 2.0


def measure() -> Iterator[Figure]:
    for kind in ("sqlite", "postgres"):
        yield from of(kind, SCHEDULES)


def of(kind: str, count: int) -> Iterator[Figure]:
    """So many schedules on one database."""
    command = [sys.executable, "-m", "tests.e2e.faults", kind, "--seed", str(FIRST), "--count", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for each in found:
        if each["troubles"]:
            print(
                f"seed {each['seed']} on {kind}: {each['plan']}\n  {each['hits']}\n  {each['troubles']}",
                file=sys.stderr,
            )
    bad = count - sum(not each["troubles"] for each in found)
    slots = [slot for each in found for slot in each["slots_s"]]
    hits = sum(len(each["hits"]) for each in found)
    what = f"{kind}: {count} random schedules with {hits} faults"
    yield Figure(f"{what}: that left something wrong, or did not end", bad, "schedules", 0)
    zombies = sum(each["zombies"] for each in found)
    yield Figure(f"{kind}: workers that slept through their lease, woke up and were refused", zombies, "workers")
    late = max(slots, default=0.0)
    yield Figure(f"{kind}: a lost worker's run with another, latest of {len(slots)}", late, "s", LEASE_S + SLACK_S)


if __name__ == "__main__":
    for name in ("sqlite", "postgres"):
        for figure in of(name, int(sys.argv[1]) if len(sys.argv) > 1 else SCHEDULES):
            print(figure.line(), flush=True)
