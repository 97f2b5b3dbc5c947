"""Other pipeline tools, each from an environment of its own below the folder `MAINSPRING_FLOWS`; what is not there is
left out.

Each does the same: four no-op steps in a row, run again and again in one process, and a hundred no-op steps side by
side. What a tool can keep, it keeps in a fresh folder; nothing leaves the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LIMIT_S = 240.0
_TIMED = """
import json, os, statistics, sys, time
def timed(work, runs=5):
    work(); found = []
    for _ in range(runs):
        start = time.perf_counter(); work(); found.append(time.perf_counter() - start)
    return 1000 * statistics.median(found)
def say(**found):
    print("FOUND " + json.dumps(found))
"""
SOURCES: Mapping[str, str] = {
    "prefect": """
from prefect import flow, task
from prefect.cache_policies import INPUTS
@task(cache_policy=INPUTS, persist_result=True)
def plus(number: int, by: int) -> int: return number + by
@flow
def chain(): return plus(plus(plus(plus(0, 1), 2), 3), 4)
@flow
def wide(): return [each.result() for each in plus.map(list(range(100)), 1)]
cached = timed(chain); start = time.perf_counter(); wide(); say(chain_ms=cached, wide_s=time.perf_counter() - start)
""",
    "dagster": """
from dagster import job, op, DynamicOut, DynamicOutput, In, Nothing
def made(n):
    @op(name=f"plus{n}")
    def plus(number): return number + n
    return plus
@op
def first(): return 0
ops = [made(n) for n in (1, 2, 3)]
@job
def chain():
    found = first()
    for each in ops: found = each(found)
@op(out=DynamicOut())
def numbers():
    for n in range(100): yield DynamicOutput(n, mapping_key=str(n))
@op
def same(number): return number
@job
def wide(): numbers().map(same)
ms = timed(lambda: chain.execute_in_process()); start = time.perf_counter(); wide.execute_in_process()
say(chain_ms=ms, wide_s=time.perf_counter() - start)
""",
    "kedro": """
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner
def plus(number): return number + 1
chain = pipeline([node(plus, f"n{i}", f"n{i + 1}", name=f"s{i}") for i in range(4)])
wide = pipeline([node(plus, "n0", f"m{i}", name=f"w{i}") for i in range(100)])
def run(which):
    def work(): SequentialRunner().run(which, DataCatalog({"n0": MemoryDataset(0)}))
    return work
ms = timed(run(chain)); start = time.perf_counter(); run(wide)(); say(chain_ms=ms, wide_s=time.perf_counter() - start)
""",
    "metaflow": """
import subprocess
open("chain.py", "w").write('''
from metaflow import FlowSpec, step
class Chain(FlowSpec):
    @step
    def start(self): self.n = 0; self.next(self.a)
    @step
    def a(self): self.n += 1; self.next(self.b)
    @step
    def b(self): self.n += 1; self.next(self.end)
    @step
    def end(self): pass
if __name__ == "__main__": Chain()
''')
open("wide.py", "w").write('''
from metaflow import FlowSpec, step
class Wide(FlowSpec):
    @step
    def start(self): self.items = list(range(100)); self.next(self.each, foreach="items")
    @step
    def each(self): self.n = self.input; self.next(self.join)
    @step
    def join(self, inputs): self.n = [i.n for i in inputs]; self.next(self.end)
    @step
    def end(self): pass
if __name__ == "__main__": Wide()
''')
def run(name):
    start = time.perf_counter()
    subprocess.run([sys.executable, name, "run", "--max-workers", "2"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return time.perf_counter() - start
run("chain.py"); say(whole_s=run("chain.py"), wide_s=run("wide.py"))
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
    number = 0
    for _ in range(count): number = plus(number)
    return number
DBOS.launch()
ms = timed(lambda: chain(4)); few = timed(lambda: chain(20), 3); many = timed(lambda: chain(220), 3)
say(chain_ms=ms, step_ms=(many - few) / 200); os._exit(0)
""",
    "zenml": """
from zenml import pipeline, step
@step
def plus(number: int, by: int) -> int: return number + by
@pipeline(enable_cache=True)
def chain(): plus(plus(plus(plus(0, 1), 2), 3), 4)
@pipeline(enable_cache=False)
def fresh(): plus(plus(plus(plus(0, 1), 2), 3), 4)
say(chain_ms=timed(chain, 2), fresh_ms=timed(fresh, 1))
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
say(fresh_ms=timed(chain, 1))
""",
    "pool": """
from concurrent.futures import ProcessPoolExecutor
def plus(number): return number + 1
if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(plus, range(2))); start = time.perf_counter()
        list(pool.map(plus, range(100))); say(wide_s=time.perf_counter() - start)
""",
}
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "DO_NOT_TRACK": "1",
    "ZENML_ANALYTICS_OPT_IN": "false",
    "ZENML_LOGGING_VERBOSITY": "ERROR",
    "KEDRO_DISABLE_TELEMETRY": "1",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "USERNAME": "bench",
}


def measured(name: str, root: Path) -> dict[str, float]:
    """What a tool takes: `chain_ms`, `wide_s` and others of its own; empty when it is not there or does not start."""
    python = Path(os.environ.get("MAINSPRING_FLOWS", "/nowhere"), name, "bin", "python")
    if name == "pool":
        python = Path(sys.executable)
    if not python.exists():
        return {}
    folder = root / name
    folder.mkdir()
    (folder / "work.py").write_text(_TIMED + SOURCES[name])
    env = {**os.environ, **QUIET, "HOME": str(folder), "PREFECT_HOME": str(folder), "ZENML_CONFIG_PATH": str(folder)}
    try:
        done = subprocess.run(
            [str(python), "work.py"], cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {}
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    return json.loads(lines[-1].removeprefix("FOUND ")) if lines else {}
