"""Chunks of a batch answered by actors of Ray, wherever in the cluster there is room for them.

Where every node sees the files of the batch at the same paths, actors read and write these themselves. Else job and
model go to each actor once, rows go to it and answers come back, through Ray and through here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.core.errors import Failed, Unavailable
from mainspring.engines.ray import PLACES, connected, unseen

if TYPE_CHECKING:
    from mainspring.serving.batch.carried import Carried
    from mainspring.serving.batch.job import Job, Parts

LIVES = 3
"""How often the actor of one chunk may die."""


class Actor:
    """Answers chunks on a node, with the model in memory.

    Args:
        folder: The parts of the batch.
        start: Working folder of whoever began the batch.
        threads: How many threads numeric libraries take.
        given: The batch itself, for a node that does not see the folder.
    """

    def __init__(self, folder: str, start: str, threads: int, given: Carried | None) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
            os.environ[name] = str(threads)  # before they are imported
        from mainspring.serving.batch.carried import Away
        from mainspring.serving.batch.chunks import work

        if given is not None:
            self._answer: Callable[[int, bytes], bytes | None] = Away(given)
        else:
            scorer = work(Path(folder), Path(start))
            self._answer = lambda number, _: scorer(number)

    def is_there(self) -> bool:
        """Asked first: whoever answers has the model in memory."""
        return True

    def answer(self, number: int, rows: bytes) -> bytes | None:
        """Answer one chunk: its file, where it was given the rows; else it has written it."""
        return self._answer(number, rows)


def answer_on_ray(
    parts: Parts, job: Job, todo: Sequence[int], actors: int, tell: Callable[[int], None], *, address: str = ""
) -> None:
    """Return when all these chunks are there. A chunk whose actor dies is answered by another one, a few times.

    Args:
        parts: The folder of the batch.
        job: The batch.
        todo: Numbers of chunks.
        actors: How many answer at once, each on a core.
        tell: Hears how many are done.
        address: Of the cluster; "" takes that of RAY_ADDRESS, one that runs here, or starts one.
    Raises:
        Unavailable: There is no Ray, or a node does not see a file that can't travel.
        Failed: Actors died again and again, or a chunk can't be answered.
    """
    from mainspring.serving.batch.carried import rows_of
    from mainspring.serving.batch.job import write_whole

    ray, left = connected(address), list(reversed(todo))
    travels = _travels(parts, job, address)
    given = None if travels is None else ray.put(travels)
    made, lives, places = ray.remote(Actor).options(num_cpus=1), Counter[int](), Counter[int]()
    crew: list[Any] = []
    busy: dict[Any, tuple[int, Any, Any]] = {}

    def begin(actor: Any = None, there: Any = None) -> None:
        if actor is None:
            actor = made.remote(str(parts.folder.absolute()), str(Path.cwd()), 1, given)
            crew.append(actor)
            there = actor.is_there.remote()
        number = left.pop()
        rows = rows_of(parts, job, number) if given is not None else b""
        busy[actor.answer.remote(number, rows)] = (number, actor, there)

    try:
        for _ in range(min(actors, len(todo))):
            begin()
        done = 0
        while busy:
            (ended,), _ = ray.wait(list(busy), num_returns=1)
            number, actor, there = busy.pop(ended)
            try:
                answers = ray.get(ended)
            except ray.exceptions.RayActorError as reason:
                (lives if reason.actor_init_failed or _has_begun(ray, there) else places)[number] += 1
                if lives[number] >= LIVES or places[number] >= PLACES:
                    raise
                left.append(number)  # a chunk is written whole or not at all, so it may be answered again
                begin()
                continue
            if answers is not None:
                write_whole(parts.chunk(number), answers)
            done += 1
            tell(done)
            if left:
                begin(actor, there)
    except ray.exceptions.RayError as reason:
        hint = "the same command goes on where it was"
        raise Failed(f"an actor of the batch failed: {_last_line(reason)}", where="batch", hint=hint) from None
    finally:
        for actor in crew:
            ray.kill(actor)


def _travels(parts: Parts, job: Job, address: str) -> Carried | None:
    """The batch as it goes to nodes that do not see its files; None where all see them.

    Raises: Unavailable: A node does not, and what is missing there can't travel.
    """
    from mainspring.serving.batch.carried import carried, needs

    missing = unseen(needs(parts, job), address)
    found = carried(job) if missing else None
    if missing and found is None:
        node, path = next(iter(missing.items()))
        hint = "mount its folder there at the same path, or leave out --engine ray: the same command goes on"
        raise Unavailable(f"node {node} does not see {path}", where="engine ray", hint=hint)
    return found


def _has_begun(ray: Any, there: Any) -> bool:
    """Whether an actor that is gone had ever answered: one that was sent to a lost node had not."""
    try:
        return bool(ray.get(there, timeout=0))
    except ray.exceptions.RayError:
        return False


def _last_line(reason: Exception) -> str:
    return next((line.strip() for line in reversed(str(reason).splitlines()) if line.strip()), "it said nothing")[:300]
