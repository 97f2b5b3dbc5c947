"""The pipeline that is run while faults happen: its steps say when they begin, and one writes outside exactly once."""

import os
import sqlite3
import time
from contextlib import closing

from mainspring import context, pipeline, step

NUMBERS = 3


def mark() -> None:
    """A line that a step began: when, which, in which process, and in which attempt."""
    line = f"{time.time_ns() // 1000} {context().step} {os.getpid()} {context().attempt}\n"
    with open(f"{os.environ['FAULTS_NOTES']}/marks.txt", "a") as file:
        file.write(line)


def work(pause: float) -> None:
    mark()
    time.sleep(pause)


@step
def load(pause: float, seed: int) -> list[int]:
    work(pause)
    return [seed + number for number in range(NUMBERS)]


@step
def double(number: int, pause: float) -> int:
    work(pause)
    return 2 * number


@step(process=True)
def weigh(numbers: list[int], pause: float) -> bytes:
    work(pause)
    return b"".join(number.to_bytes(8, "big") for number in numbers) * 4096


@step(side_effect=True)
def pay(weights: bytes, numbers: list[int], pause: float) -> int:
    """Writes to a table elsewhere, by its key: the second time changes nothing."""
    work(pause / 2)
    with closing(sqlite3.connect(os.environ["FAULTS_ELSEWHERE"], timeout=60)) as conn:
        conn.execute("INSERT OR IGNORE INTO paid VALUES(?, ?)", (context().key, sum(numbers)))
        conn.execute("INSERT INTO tries VALUES(?)", (context().key,))
        conn.commit()
    time.sleep(pause / 2)
    return sum(numbers)


@step
def tell(what: dict[str, object]) -> None:
    mark()


@pipeline(lastly=tell)
def flow(pause: float = 0.1, seed: int = 0) -> int:
    numbers = double.map(load(pause, seed), pause=pause, limit=1)
    return pay(weigh(numbers, pause), numbers, pause)
