"""Processes for the contracts: each a fork of one that has imported what they run and has done nothing else.

Whoever starts several processes for a test waits for their work, not for their imports. The process they are forked
from has no threads and no connections, and ends with the tests.
"""

from __future__ import annotations

import multiprocessing

apart = multiprocessing.get_context("forkserver")
"""Starts processes. They see the environment as it was when the first of them was started."""

apart.set_forkserver_preload([f"mainspring.testing.{name}" for name in ("journal", "queue", "tables")])
