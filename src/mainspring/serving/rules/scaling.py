"""How many workers a load wants: more at once, fewer one by one after a calm time. Times come in as arguments."""

from __future__ import annotations

import math
from dataclasses import replace

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

MOST_WORKERS = 64


@dataclass(frozen=True, slots=True)
class Scaling:
    """Between which numbers of workers, and at which load there is another.

    Two signals, since each is blind where the other sees. How busy workers are, time in line for a core included, tells
    of a load before anybody waits, and is smooth. How long requests wait for the model tells of what an average hides:
    few large ones that come together. Requests under way would tell less: slow ones look like many.

    Args:
        least: Fewest workers.
        most: Most of them.
        busy: Above this share of its time that a worker is busy on average, there shall be more, in (0, 1).
        calm: Only when those that stay would be busy for no more than this share may one go; below `busy`.
        wait_s: When rows wait longer than this for the model on average, there shall be more.
        calm_s: For so long it must have been calm before one goes, and again before the next.
    """

    least: int = 1
    most: int = 1
    busy: float = 0.7
    calm: float = 0.5
    wait_s: float = 0.05
    calm_s: float = 60.0

    def __post_init__(self) -> None:
        """Raises: Invalid: Numbers or shares that make no sense together."""
        if not 1 <= self.least <= self.most <= MOST_WORKERS:
            hint = f"use 1 to {MOST_WORKERS}, the least first"
            raise Invalid(f"{self.least} to {self.most} workers", where="workers", hint=hint)
        if not 0.0 < self.calm < self.busy < 1.0:
            raise Invalid(f"calm {self.calm:g}, busy {self.busy:g}", where="workers", hint="use 0 < calm < busy < 1")
        if self.wait_s <= 0.0 or self.calm_s < 0.0:
            raise Invalid(f"wait_s {self.wait_s:g}, calm_s {self.calm_s:g}", where="workers", hint="use 0 or more")


@dataclass(frozen=True, slots=True)
class Load:
    """What workers did since the look before.

    Args:
        workers: How many told of it; one that starts does not yet.
        busy: Share of the time that they were busy, summed over them.
        wait_s: How long a request waited for its model on average.
    """

    workers: int
    busy: float = 0.0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How many workers there shall be, and since when it is calm; `reason` is why the last step changed the number."""

    wanted: int
    calm_since: float | None = None
    reason: str = ""


def next_pace(scaling: Scaling, pace: Pace, load: Load, now: float) -> Pace:
    """How many workers there shall be after one more look.

    Nothing grows while workers asked for before still start, so a burst is not answered twice. The number that a load
    is given is the least that is not too busy with it, and one worker goes only if the others stay below a lower mark:
    by how busy they are, a constant load never has it go down after it went up, nor up after it went down.

    Args:
        scaling: The limits.
        pace: What the look before found.
        load: What workers did since then.
        now: Seconds of any clock that never goes back.

    >>> grown = next_pace(Scaling(1, 4), Pace(1), Load(1, busy=1.0), 0.0)
    >>> grown.wanted, grown.reason
    (2, 'workers were busy for 100 % of the time')
    """
    wanted = min(max(pace.wanted, scaling.least), scaling.most)
    if wanted != pace.wanted:
        return Pace(wanted, None, f"{scaling.least} to {scaling.most} workers are declared")
    if load.workers < wanted:
        return replace(pace, calm_since=None, reason="")
    more = _more(scaling, load)
    if more:
        grown = max(wanted, min(max(load.workers + 1, math.ceil(load.busy / scaling.busy)), scaling.most))
        return Pace(grown, None, more if grown > wanted else "")
    if wanted == scaling.least or load.busy > scaling.calm * (wanted - 1):
        return Pace(wanted)
    since = now if pace.calm_since is None else pace.calm_since
    if now - since < scaling.calm_s:
        return Pace(wanted, since)
    return Pace(wanted - 1, now, f"one fewer would be busy for {_share(load.busy / (wanted - 1))} of the time")


def _more(scaling: Scaling, load: Load) -> str:
    """Why there shall be more workers; "" where there is no reason."""
    if load.busy > scaling.busy * load.workers:
        return f"workers were busy for {_share(load.busy / load.workers)} of the time"
    if load.wait_s > scaling.wait_s:
        return f"requests waited {1000 * load.wait_s:.0f} ms for the model"
    return ""


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"
