"""What spool files hold, taken by the services of this process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Conflict
from mainspring.tracking.model import Run
from mainspring.tracking.shelf import LocalShelf
from mainspring.tracking.spool import EMBEDDED, recover
from mainspring.tracking.wire import NewRun, decode

if TYPE_CHECKING:
    from mainspring.tracking.files import Files
    from mainspring.tracking.service import Tracking


class LocalTaker:
    """Gives entries to tracking and files, on behalf of whoever calls: see `spool.Taker`."""

    def __init__(self, tracking: Tracking, files: Files) -> None:
        self._tracking = tracking
        self._files = files

    def recover(self, folder: Path) -> list[str]:
        """Take what killed or offline processes left for this data folder; killed runs end as killed.

        Args:
            folder: Where spool files are.
        Returns: Ids of those runs.
        """
        return recover(folder, EMBEDDED, self)

    def create(self, run_id: str, new: NewRun) -> str:
        """See `Taker.create`."""
        made = self._tracking.create_run(
            new.experiment,
            name=new.name,
            parent=new.parent,
            tags=new.tags,
            code=new.code,
            environment=new.environment,
            seed=new.seed,
            run_id=run_id,
            started_at=new.started_at,
        )
        return made.name

    def resume(self, run_id: str) -> Run:
        """See `Taker.resume`."""
        return self._tracking.resume(run_id)

    def log(self, run_id: str, batch: bytes) -> None:
        """See `Taker.log`."""
        found = decode(batch)
        self._tracking.log_batch(run_id, metrics=found.points(), params=found.params, tags=found.tags)

    def artifact(self, run_id: str, path: str, content: bytes | Path) -> None:
        """See `Taker.artifact`."""
        LocalShelf(self._files).keep(run_id, path, content)

    def input(self, run_id: str, dataset: str, context: str) -> None:
        """See `Taker.input`."""
        self._tracking.log_input(run_id, dataset, context)

    def finish(self, run_id: str, status: str, ended_at: int = 0) -> None:
        """See `Taker.finish`."""
        with suppress(Conflict):
            self._tracking.finish(run_id, status, ended_at=ended_at)
