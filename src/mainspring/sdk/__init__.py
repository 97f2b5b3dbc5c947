"""The SDK: log runs from any Python program, into the data folder of this project or over HTTP.

Logging never waits for disk or network: points go to a buffer, from there within 50 ms to a spool file, and from the
spool to the target. A process that is killed loses at most the last moments; the next session sends what it left.

    with mainspring.run("first try", experiment="flights") as run:
        run.params({"depth": 6})
        run.log({"loss": 0.5}, step=1)
"""

from __future__ import annotations

from mainspring.sdk.autologging import autolog
from mainspring.sdk.drifting import drift
from mainspring.sdk.run import ActiveRun, current
from mainspring.sdk.seeds import seed
from mainspring.sdk.session import Session, connect, files, run
from mainspring.sdk.training import train

__all__ = ["ActiveRun", "Session", "autolog", "connect", "current", "drift", "files", "run", "seed", "train"]
