"""A process that answers chunks: it says when it can, their numbers come on standard input, and go back when done.

It ends with its parent, whose end of the pipe the kernel closes on any death.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from mainspring.serving.batch.chunks import work


def main() -> None:
    """Answer chunks until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it, and says when to end
    scorer = work(Path(sys.argv[1]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        scorer(int(line))
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
