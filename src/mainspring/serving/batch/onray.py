"""Chunks of a batch answered by actors of Ray, wherever in the cluster there is room for them.

An actor reads and writes the files of the batch itself, so that they must be at the same paths on every node.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mainspring.core.errors import Failed, Unavailable
from mainspring.engines.ray import PLACES, connected, unseen

LIVES = 3
"""How often the actor of one chunk may die."""


class Actor:
    """Answers chunks on a node, with the model in memory.

    Args:
        folder: The parts of the batch.
        start: Working folder of whoever began the batch.
        threads: How many threads numeric libraries take.
    """

    def __init__(self, folder: str, start: str, threads: int) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
            os.environ[name] = str(threads)  # before they are imported
        from mainspring.serving.batch.chunks import work

        self._scorer = work(Path(folder), Path(start))

    def is_there(self) -> bool:
        """Asked first: whoever answers has the model in memory."""
        return True

    def answer(self, number: int) -> int:
        """Answer one chunk, and say which."""
        self._scorer(number)
        return number


def answer_on_ray(
    folder: Path,
    todo: Sequence[int],
    actors: int,
    tell: Callable[[int], None],
    *,
    needs: Sequence[Path] = (),
    address: str = "",
) -> None:
    """Return when all these chunks are there. A chunk whose actor dies is answered by another one, a few times.

    Args:
        folder: The parts of the batch.
        todo: Numbers of chunks.
        actors: How many answer at once, each on a core.
        tell: Hears how many are done.
        needs: What else actors read: the source, and the packages of the model.
        address: Of the cluster; "" takes that of RAY_ADDRESS, one that runs here, or starts one.
    Raises:
        Unavailable: There is no Ray, or a node does not see all of the files.
        Failed: Actors died again and again, or a chunk can't be answered.
    """
    ray, left = connected(address), list(reversed(todo))
    for node, path in unseen([folder, *needs], address).items():
        hint = "mount its folder there at the same path, or leave out --engine ray: the same command goes on"
        raise Unavailable(f"node {node} does not see {path}", where="engine ray", hint=hint)
    made, lives, places = ray.remote(Actor).options(num_cpus=1), Counter[int](), Counter[int]()
    crew: list[Any] = []
    busy: dict[Any, tuple[int, Any, Any]] = {}

    def begin(actor: Any = None, there: Any = None) -> None:
        if actor is None:
            actor = made.remote(str(folder), str(Path.cwd()), 1)
            crew.append(actor)
            there = actor.is_there.remote()
        number = left.pop()
        busy[actor.answer.remote(number)] = (number, actor, there)

    try:
        for _ in range(min(actors, len(todo))):
            begin()
        done = 0
        while busy:
            (ended,), _ = ray.wait(list(busy), num_returns=1)
            number, actor, there = busy.pop(ended)
            try:
                ray.get(ended)
            except ray.exceptions.RayActorError as reason:
                (lives if reason.actor_init_failed or _has_begun(ray, there) else places)[number] += 1
                if lives[number] >= LIVES or places[number] >= PLACES:
                    raise
                left.append(number)  # a chunk is written whole or not at all, so it may be answered again
                begin()
                continue
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


def _has_begun(ray: Any, there: Any) -> bool:
    """Whether an actor that is gone had ever answered: one that was sent to a lost node had not."""
    try:
        return bool(ray.get(there, timeout=0))
    except ray.exceptions.RayError:
        return False


def _last_line(reason: Exception) -> str:
    return next((line.strip() for line in reversed(str(reason).splitlines()) if line.strip()), "it said nothing")[:300]
