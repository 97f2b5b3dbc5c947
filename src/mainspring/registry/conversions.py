"""Versions of scikit-learn as ONNX, when somebody asks a server for them: made by a job, in a process of its own.

To convert a version its model is loaded, and hundreds of modules with it, and both are asked thousands of rows. Neither
is the server's to do: it looks at what is asked for, puts it on a queue, and tells what became of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, NotFound, Refused
from mainspring.core.values import dataclass
from mainspring.data import Data
from mainspring.engines import Ask, Message
from mainspring.pipelines.childwork import opened
from mainspring.registry.converting import compared_by, require_convertible, rows_for
from mainspring.storage.jobs import Job, NewJob

if TYPE_CHECKING:
    from mainspring.registry.model import ModelVersion
    from mainspring.registry.service import Registry
    from mainspring.storage.ports import Queue, Tables

QUEUE, KIND = "models", "models.onnx"
ENTRY = "mainspring.registry.conversions:convert_in_child"
_ATTEMPTS = 2
_STATES = {"finished": "made", "dead": "failed"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion that was asked for.

    Attributes:
        job: The id of its job.
        state: "queued", "running", "cancelled", "made", "refused" where both do not say the same or it can't be
            converted, "failed" where its process did not come to an end.
        data: The dataset version by whose rows both are compared.
        version: The number of the version that was made, None before.
        why: Why there is none; "" else.
    """

    job: str
    state: str
    data: str
    version: int | None = None
    why: str = ""

    @property
    def is_under_way(self) -> bool:
        """Whether it is still to be made."""
        return self.state in ("queued", "running")


class Conversions:
    """Has versions converted, and says what became of it.

    Args:
        registry: Where versions are.
        data: Gives the rows by which they are compared.
        tables: Where the queue is kept.
        queue: Where the work waits.
    """

    def __init__(self, *, registry: Registry, data: Data, tables: Tables, queue: Queue) -> None:
        self._registry, self._data, self._tables, self._queue = registry, data, tables, queue

    def ask(self, name: str, version: int | str, dataset: str = "") -> Conversion:
        """Have a version converted soon. Asked again before it is done, it is done once.

        Args:
            name: The model.
            version: Number or alias.
            dataset: By whose rows it is compared; "" = the version's reference.
        Raises:
            NotFound: No such model, version or dataset.
            Refused: It is of another format, or there are no rows to compare it by.
            Unavailable: The queue takes nothing in.
        """
        found = self._registry.get(name, version)
        require_convertible(found)
        data = compared_by(self._data, found, dataset).ref
        payload = {"model": found.model, "version": found.number, "data": data}
        key = f"{found.model}/{found.number}/{data}"
        job = NewJob(queue=QUEUE, kind=KIND, key=key, payload=payload, max_attempts=_ATTEMPTS)
        with self._tables.write() as conn:
            asked = self._queue.put(conn, job)
        return _told(self._queue.get(asked))

    def last(self, version: ModelVersion) -> Conversion | None:
        """What was asked for last of a version, None where nothing was."""
        named = (version.model, version.number)
        jobs = (job for job in self._queue.find(queue=QUEUE) if job.kind == KIND)
        found = next((job for job in jobs if (job.payload["model"], job.payload["version"]) == named), None)
        return None if found is None else _told(found)


def convert_in_child(payload: Message, ask: Ask) -> Message:
    """Open the house and convert the version that the job names. A refusal is what was found, and no failure."""
    from mainspring.registry.service import Registry

    with opened(payload) as wiring:
        registry, name, number = wiring.get(Registry), str(payload["model"]), int(str(payload["version"]))
        try:
            rows, data = rows_for(wiring.get(Data), registry.get(name, number), str(payload["data"]))
            return {"version": registry.accelerate(name, number, rows, data=data).number}
        except (Invalid, NotFound, Refused) as reason:
            return {"refused": reason.what}


def _told(job: Job) -> Conversion:
    found = job.result or {}
    data, version, why = str(job.payload["data"]), found.get("version"), str(found.get("refused") or job.error)
    state = "refused" if "refused" in found else _STATES.get(str(job.state), str(job.state))
    return Conversion(job.id, state, data, int(str(version)) if version else None, why)
