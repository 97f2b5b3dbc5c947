"""What a search costs while it waits for a trial: python bench/measure_waiting_search.py [TRIALS].

The search has so many trials behind it. One more runs for 25 seconds in a process of its own; the figure is what the
process that drives the search takes of a processor in ten of them.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

from mainspring.core.settings import load
from mainspring.pipelines.search import Trial, TrialState, records
from mainspring.pipelines.search.sampling import Sampling
from mainspring.pipelines.search.service import Searches
from mainspring.server.house import open_house
from mainspring.storage.ports import Tables

SLOW = """
import time

from mainspring import pipeline, search, step


@step(cache=False)
def wait(x: float) -> float:
    time.sleep(25)
    return x


@search(space={"x": {"low": 0.0, "high": 2.0}}, objective={"s": "maximize"}, sampler="random")
@pipeline
def slow(x: float = 0.0) -> dict[str, float]:
    return {"s": wait(x)}
"""


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(trials: int) -> None:
    found: list[float] = []

    def look() -> None:
        time.sleep(8)
        before = cpu_s()
        time.sleep(10)
        found.append(cpu_s() - before)

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "slow.py").write_text(SLOW)
        house = open_house(load(Path(folder), environ={}))
        searches = house.get(Searches)
        study = searches.start("slow.py:slow", {"trials": trials + 1})
        sampling = Sampling(study.search, ())
        with house.get(Tables).write() as conn:  # type: ignore[type-abstract]  # the wiring knows ports by name
            for number in range(trials):
                params = sampling.ask(number)
                trial = Trial(
                    number=number,
                    state=TrialState.FINISHED,
                    params=params,
                    values={"s": float(str(params["x"]))},
                    started_at=2 * number + 1,
                    finished_at=2 * number + 2,
                )
                sampling.tell(trial)
                records.put_trial(conn, study.id, trial)
        threading.Thread(target=look, daemon=True).start()
        state = searches.run(study.id, workers=1).state
        house.close()
    print(json.dumps({"trials": trials, "cpu_s_in_10_s": round(found[0], 3), "state": state}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
