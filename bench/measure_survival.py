"""A million points into a real server while it and the program that logs are killed with -9 at random moments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from figure import Figure
from place import folder

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.e2e.points import Storm

POINTS, KILLS = 1_000_000, 5


def measure() -> Iterator[Figure]:
    with folder() as root:
        found = Storm(root, points=POINTS, kills=KILLS, seed=7, pause_s=0.002).run()
    what = f"of {POINTS:,} points, {found.client_kills} kills of the client and {found.server_kills} of the server"
    yield Figure(f"points that are missing or doubled, {what}", len(set(range(POINTS)) ^ set(found.steps)), "points", 0)
    yield Figure("points stored twice", len(found.steps) - len(set(found.steps)), "points", 0)
    yield Figure("most points a killed client took with it (logged again by the next)", max(found.lost), "points")
    yield Figure("time from the first client to the last point, restarts included", found.seconds, "s")
