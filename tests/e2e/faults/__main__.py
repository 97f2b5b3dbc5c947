"""Lives through random schedules of faults: `python -m tests.e2e.faults sqlite --seed 7 --count 20`.

Each line of the output is one schedule as JSON. A seed that found something is run again with `--seed N --count 1
--keep`, which leaves its folder behind. The program is run by itself, as it starts its workers by forking.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.e2e.faults.judge import judge
from tests.e2e.faults.schedule import Found, Life, draw, lay_out
from tests.e2e.faults.site import Site

from mainspring.storage import FILE, open_tables
from mainspring.testing.postgres import PostgresServer

DISK = "24m"


def main() -> int:
    """Run what was asked for; 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["sqlite", "postgres"])
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds from there")
    parser.add_argument("--keep", action="store_true", help="leave the folders of those that found something")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="mainspring-faults-"))
    server = PostgresServer(durable=True) if asked.kind == "postgres" else None
    bad = 0
    try:
        template = _template(root, server)
        for seed in range(asked.seed, asked.seed + asked.count):
            found = _one(root, seed, server, template, keep=asked.keep)
            told = asdict(found) | {"plan": str(found.plan), "seed": seed, "kind": asked.kind}
            print(json.dumps(told), flush=True)
            bad += bool(found.troubles)
    finally:
        if server is not None:
            server.stop()
        if not (asked.keep and bad):
            shutil.rmtree(root, ignore_errors=True)
    return 1 if bad else 0


def _template(root: Path, server: PostgresServer | None) -> str:
    """A migrated database that nobody has open: its name on a server, else its file."""
    folder = root / "template"
    name = server.make_database() if server else ""
    tables = open_tables(server.url(name) if server else "", folder)
    tables.migrate()
    tables.close()
    return name if server else str(folder / FILE)


def _one(root: Path, seed: int, server: PostgresServer | None, template: str, *, keep: bool) -> Found:
    notes = root / str(seed)
    folder = notes / "project"
    folder.mkdir(parents=True)
    with _disk(folder) as has_disk:
        if server is not None:
            name = server.make_database(template)
            url = server.url(name)
        else:
            shutil.copy(template, folder / FILE)
            url = f"sqlite:///{folder / FILE}"
        life = Life(
            draw(seed, "postgres" if server else "sqlite", disk=has_disk),
            Site(folder, notes, url, lay_out(folder, notes)),
            server,
        )
        try:
            judge(life, life.live())
        except AssertionError as reason:
            life.found.troubles.append(str(reason))
        if life.found.troubles and keep:
            shutil.copytree(folder, notes / "kept")
            print(f"left at {notes}", file=sys.stderr)
    if server is not None:
        server.drop_database(name)
    if not (life.found.troubles and keep):
        shutil.rmtree(notes, ignore_errors=True)
    return life.found


@contextmanager
def _disk(folder: Path) -> Iterator[bool]:
    """A small disk of its own at a folder, where that is allowed; whether it is."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)]
    is_mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


if __name__ == "__main__":
    sys.exit(main())
