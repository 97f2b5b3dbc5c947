"""The programs of `flows`: the same pipelines, each written as the documentation of its tool says.

`SERVED` are programs that stay and do on request what they are asked by name: `cached` and `first` are four steps in a
row, `wide` is a hundred side by side, `long` as many in a row as the second word says. A work returns what shows that
it was done: the states of its steps, or the results. `WHOLE` are commands that run four steps and end; `FILES` is what
they need.
"""

from __future__ import annotations

from collections.abc import Mapping

HEAD = """
import json, os, sys, time
def serve(**works):
    ask = iter(sys.stdin.readline, "")
    print("FOUND {}", flush=True)
    for line in ask:
        name, runs, *words = line.split()
        started = time.perf_counter()
        for _ in range(int(runs)): said = works[name](*map(int, words))
        wall_s = (time.perf_counter() - started) / int(runs)
        print("\\nFOUND " + json.dumps({"wall_s": wall_s, "said": said}), flush=True)  # some leave a line open
    sys.stdout.flush(); os._exit(0)
fresh = iter(range(1000, 10**9, 1000))
"""
OURS = '''"""Four steps in a row, and others."""
import mainspring as ms


@ms.step
def first(number: int) -> int:
    return number + 1


@ms.step
def second(number: int) -> int:
    return number + 2


@ms.step
def third(number: int) -> int:
    return number + 3


@ms.step
def fourth(number: int) -> int:
    return number + 4


@ms.pipeline
def chain(number: int = 0) -> int:
    return fourth(third(second(first(number))))


@ms.step
def numbers(count: int) -> list[int]:
    return list(range(count))


@ms.step
def same(number: int) -> int:
    return number


@ms.pipeline
def wide(count: int = 100) -> list[int]:
    return same.map(numbers(count), limit=1)


@ms.pipeline
def crew(count: int = 100) -> list[int]:
    return same.map(numbers(count))


@ms.pipeline
def long(count: int = 100) -> int:
    number = first(count)
    for _ in range(count):
        number = first(number)
    return number
'''
SERVED: Mapping[str, str] = {
    "mainspring": """
from pathlib import Path
from mainspring.core.settings import load
from mainspring.pipelines.service import Pipelines
from mainspring.server.house import open_house
house = open_house(load(Path.cwd()))
pipelines = house.get(Pipelines)
def run(name, cache=True, **params):
    found = pipelines.run_inline(f"{Path.cwd() / 'chain.py'}:{name}", params, cache=cache)
    assert found.error == "", found.error
    return found
def states(found): return [str(step.state) for step in found.steps]
run("chain")
serve(cached=lambda: states(run("chain")), first=lambda: states(run("chain", number=next(fresh))),
      wide=lambda: run("crew", cache=False).result, here=lambda: run("wide", cache=False).result,
      crew=lambda count: len(run("crew", cache=False, count=count).result),
      long=lambda count: run("long", cache=False, count=count).result)
""",
    "pool": """
from concurrent.futures import ProcessPoolExecutor
def same(number): return number
def wide():
    with ProcessPoolExecutor() as pool: return list(pool.map(same, range(100)))
serve(wide=wide)
""",
    "prefect": """
from prefect import flow, task
from prefect.cache_policies import INPUTS
@task(cache_policy=INPUTS, persist_result=True)
def plus(number: int, by: int) -> int: return number + by
@flow
def chain(number: int):
    states = []
    for by in (1, 2, 3, 4):
        state = plus(number, by, return_state=True); number = state.result(); states.append(state.name)
    return states
@flow
def wide(): return plus.with_options(cache_policy=None, persist_result=False).map(list(range(100)), 0).result()
chain(0)
serve(cached=lambda: chain(0), first=lambda: chain(next(fresh)), wide=wide)
""",
    "zenml": """
from zenml import pipeline, step
@step
def plus(number: int, by: int) -> int: return number + by
@pipeline(enable_cache=True)
def chain(): plus(plus(plus(plus(0, 1), 2), 3), 4)
@pipeline(enable_cache=False)
def again(): plus(plus(plus(plus(0, 1), 2), 3), 4)
@pipeline(enable_cache=False)
def wide():
    for number in range(100): plus(number, 0, id=f"plus{number}")
def states(run): return [str(getattr(step.status, "value", step.status)) for step in run.steps.values()]
chain()
serve(cached=lambda: states(chain()), first=lambda: states(again()), wide=lambda: states(wide()))
""",
    "dagster": """
from dagster import DagsterInstance, DynamicOut, DynamicOutput, job, op
def made(by):
    @op(name=f"plus{by}")
    def plus(number): return number + by
    return plus
@op
def first(): return 1
ops = [made(by) for by in (2, 3, 4)]
@job
def chain():
    found = first()
    for each in ops: found = each(found)
@op(out=DynamicOut())
def numbers():
    for number in range(100): yield DynamicOutput(number, mapping_key=str(number))
@op
def same(number): return number
@op
def all_of(numbers): return numbers
@job
def wide(): all_of(numbers().map(same).collect())
instance = DagsterInstance.get()
def states():
    run = chain.execute_in_process(instance=instance)
    return ["finished"] * len([each for each in run.all_events if each.is_step_success])
serve(first=states, wide=lambda: wide.execute_in_process(instance=instance).output_for_node("all_of"))
""",
    "kedro": """
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner
def plus(number): return number + 1
def same(number): return number
chain = pipeline([node(plus, f"n{i}", f"n{i + 1}", name=f"s{i}") for i in range(4)])
wide = pipeline([node(same, f"n{i}", f"m{i}", name=f"w{i}") for i in range(100)])
def first():
    SequentialRunner().run(chain, DataCatalog({"n0": MemoryDataset(next(fresh))}))
    return ["finished"] * 4
def side():
    made = SequentialRunner().run(wide, DataCatalog({f"n{i}": MemoryDataset(i) for i in range(100)}))
    return [made[f"m{i}"].load() for i in range(100)]
serve(first=first, wide=side)
""",
    "kfp": """
from kfp import dsl, local
local.init(runner=local.SubprocessRunner(use_venv=False), raise_on_error=True)
@dsl.component
def plus(number: int, by: int) -> int: return number + by
@dsl.pipeline
def chain() -> int:
    found = plus(number=0, by=1)
    for by in (2, 3, 4): found = plus(number=found.output, by=by)
    return found.output
@dsl.pipeline
def wide():
    with dsl.ParallelFor(list(range(100))) as number: plus(number=number, by=0)
def results():
    wide()
    from pathlib import Path
    made = max(Path("local_outputs").glob("wide-*"), key=lambda each: each.stat().st_mtime)
    found = [json.loads(each.read_text()) for each in made.glob("*/plus/executor_output.json")]
    return sorted(each["parameterValues"]["Output"] for each in found)
def first():
    assert chain().outputs["Output"] == 10
    return ["finished"] * 4
serve(first=first, wide=results)
""",
    "dbos": """
import sqlalchemy
from dbos import DBOS
@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def as_often_synced_as_ours(connection, record):
    if type(connection).__module__ == "sqlite3":
        connection.execute("PRAGMA journal_mode=WAL"); connection.execute("PRAGMA synchronous=NORMAL")
DBOS(config={"name": "bench", "system_database_url": os.environ.get("DBOS_URL", "sqlite:///dbos.sqlite"),
             "run_admin_server": False, "log_level": "ERROR"})
@DBOS.step()
def plus(number): return number + 1
@DBOS.workflow()
def chain(count):
    number = count
    for _ in range(count + 1): number = plus(number)
    return number
DBOS.launch()
def first():
    chain(3)
    return ["finished"] * 4
serve(first=first, long=chain)
""",
}
METAFLOW = """
from metaflow import FlowSpec, step
class Chain(FlowSpec):
    @step
    def start(self): self.n = 1; self.next(self.second)
    @step
    def second(self): self.n += 2; self.next(self.third)
    @step
    def third(self): self.n += 3; self.next(self.end)
    @step
    def end(self): print("it makes", self.n + 4)
if __name__ == "__main__": Chain()
"""
METAFLOW_WIDE = """
from metaflow import FlowSpec, step
class Wide(FlowSpec):
    @step
    def start(self): self.items = list(range(100)); self.next(self.each, foreach="items")
    @step
    def each(self): self.n = self.input; self.next(self.join)
    @step
    def join(self, inputs): self.n = [one.n for one in inputs]; self.next(self.end)
    @step
    def end(self): print("it makes", sum(self.n))
if __name__ == "__main__": Wide()
"""
FILES: Mapping[str, Mapping[str, str]] = {
    "mainspring": {"chain.py": OURS},
    "metaflow": {"chain.py": METAFLOW, "wide.py": METAFLOW_WIDE},
    "dagster": {"chain.py": SERVED["dagster"].partition("@op(out=")[0], "dagster.yaml": "telemetry: {enabled: false}"},
}
"""What lies in a folder, of the served programs too."""
WHOLE: Mapping[str, tuple[str, ...]] = {
    "mainspring": ("PYTHON", "-m", "mainspring", "pipeline", "run", "chain.py:chain", "-p", "number=NUMBER"),
    "metaflow": ("PYTHON", "chain.py", "run"),
    "dagster": ("PYTHON", "-m", "dagster", "job", "execute", "-f", "chain.py", "-j", "chain"),
}
"""Four steps, from the start of a process to its end. NUMBER is another one each time: nothing is taken again."""
DONE: Mapping[str, str] = {"mainspring": "result NUMBER", "metaflow": "it makes 10", "dagster": "RUN_SUCCESS"}
"""What it prints when all four steps were done; NUMBER is ten more than the one given."""
