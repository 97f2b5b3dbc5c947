"""A burst of ten times the load, two workers against one, and 200 small models in one server.

The burst comes when it comes, whether it is answered or not. Clients share the machine with the servers, so two workers
are asked for what costs clients next to nothing; beside it stands what the machine gave two loops that only compute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from figure import Figure
from lightgbm import LGBMClassifier
from load import Ask, drive
from paced import Told, pace
from place import exact_cpu_of, folder, quantile

from mainspring.registry.manifests import Seal
from mainspring.registry.packages import Package, build, write_folder
from mainspring.serving.client import Client
from mainspring.serving.guards import living
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Limits, Options, Plan, write_plan
from mainspring.serving.modelserver.usage import resident_mb
from mainspring.serving.modelserver.watching import changes_since
from mainspring.serving.standalone import plan_of
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.e2e.plansite import Site, make_packages
from tests.unit.serving.doors import packages

MODELS, ROWS, FEW, TURNS = 200, 1000, 25, 3
BEFORE_S, BURST_S, AFTER_S = 5.0, 4.0, 10.0
DATA = [0.5] * (3 * ROWS)
BODY = json.dumps({"inputs": [{"name": "rows", "shape": [ROWS, 3], "datatype": "FP64", "data": DATA}]}).encode()
ONE = json.dumps(
    {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [0.5]} for name in ("a", "b")]}
).encode()


def measure() -> Iterator[Figure]:
    yield from _burst(1)
    yield from _burst(2)
    yield from _workers()
    yield from _many()


def _large(_number: int, _count: int = 0) -> tuple[str, bytes]:
    return "/v2/models/m/infer", BODY


def _burst(most: int) -> Iterator[Figure]:
    """A third of what one worker can, ten times that, a third again."""
    who = "one worker" if most == 1 else f"1 to {most} workers"
    with folder() as root:
        site = Site(root / "serving", open_delta("", root), *make_packages(root / "packages"))
        site.plan(1, 1)
        server = Supervisor(site.folder, ServerOptions(drain_s=0.3, max_workers=most, calm_s=3.0))
        url = server.start()
        able = drive(url, _large, clients=4, seconds=3.0).per_second
        rate, queued, done = able / 3, [0.0], threading.Event()
        watch = threading.Thread(target=_watch, args=(url, queued, done))
        watch.start()
        told = pace(url, _large, [(rate, BEFORE_S), (10 * rate, BURST_S), (rate, AFTER_S)], connections=1000)
        done.set()
        watch.join()
        time.sleep(5.0 if most > 1 else 0.0)
        changes = [change.after for change in changes_since(site.folder, 0)]
        server.stop()
    start = min(one.due for one in told)
    before = _p99([one for one in told if one.due < start + BEFORE_S])
    burst = [one for one in told if BEFORE_S <= one.due - start < BEFORE_S + BURST_S]
    yield Figure(f"burst, {who}: load before", rate, "requests/s")
    yield Figure(f"burst, {who}: sent late meanwhile, p99", quantile([one.late_s for one in burst], 0.99), "s")
    yield Figure(f"burst, {who}: refused for now (429) meanwhile", _share(burst, 429), "of them")
    yield Figure(f"burst, {who}: 5xx and broken connections", sum(_bad(one) for one in told), "requests", 0)
    yield Figure(f"burst, {who}: most rows that waited", max(queued), "rows", Limits().max_queued_rows * most)
    yield Figure(f"burst, {who}: p99 before", 1000 * before, "ms")
    yield Figure(f"burst, {who}: p99 of what was answered meanwhile", 1000 * _p99(burst), "ms")
    yield Figure(f"burst, {who}: until p99 of a second is twice that or less", _recovered(told, start, before), "s", 5)
    if most > 1:
        yield Figure(f"burst, {who}: most workers", max(changes, default=1), "workers")
        yield Figure(f"burst, {who}: workers in the end", changes[-1] if changes else 1, "workers")


def _bad(one: Told) -> bool:
    return one.status == 0 or one.status >= 500


def _share(told: list[Told], status: int) -> float:
    return sum(one.status == status for one in told) / len(told)


def _p99(told: list[Told]) -> float:
    answered = [one.took_s for one in told if one.status == 200]
    return quantile(answered, 0.99) if answered else float("inf")


def _recovered(told: list[Told], start: float, before: float) -> float:
    """Whole seconds after the burst until every request of one is answered as quickly as before, or twice as slow."""
    ended = start + BEFORE_S + BURST_S
    for second in range(int(AFTER_S)):
        part = [one for one in told if second <= one.due - ended < second + 1]
        if part and all(one.status == 200 for one in part) and _p99(part) <= 2 * before:
            return float(second)
    return float("inf")


def _watch(url: str, queued: list[float], done: threading.Event) -> None:
    while not done.wait(0.1):
        with urllib.request.urlopen(f"{url}/metrics") as reply:
            lines = reply.read().decode().splitlines()
        queued += [float(line.split()[1]) for line in lines if line.startswith("mainspring_queued_rows ")]


def _workers() -> Iterator[Figure]:
    """Trees enough that clients need little beside what workers do; one worker and two by turns, each with a core.

    A worker has more than one thread, so that one alone takes 1.07 of two cores, which two cannot.
    """
    width, names = 100, [f"x{i:03}" for i in range(100)]
    x = np.random.default_rng(0).normal(size=(5000, width))
    label = (x[:, :5].sum(axis=1) > 0).astype(int)
    trees = LGBMClassifier(n_estimators=1000, num_threads=1, verbose=-1).fit(x, label, feature_name=names)
    package = build(trees, pl.DataFrame(x[:5], schema=names))
    matrix = {"name": "rows", "shape": [FEW, width], "datatype": "FP64"}
    head = json.dumps({"inputs": [{**matrix, "parameters": {"binary_data_size": 8 * FEW * width}}]}).encode()
    size = f"inference-header-content-length: {len(head)}\r\n"
    question = head + x[:FEW].tobytes(), f"content-type: application/octet-stream\r\n{size}"
    rates: dict[int, list[float]] = {1: [], 2: []}
    costs, clients = dict.fromkeys(rates, 0.0), dict.fromkeys(rates, 0.0)
    alone: dict[int, list[int]] = {1: [], 2: []}
    for _ in range(TURNS):
        for count in rates:
            alone[count].append(_loops(count))
            rate, cost, own = _crew(count, package, *question)
            rates[count].append(rate)
            costs[count] += cost / TURNS
            clients[count] += own / TURNS
    for count in rates:
        who = f"1,000 trees, {FEW} rows a request, 16 clients, {count} worker{'s' * (count > 1)}"
        yield Figure(who, quantile(rates[count], 0.5), "requests/s")
        yield Figure(f"{who}: CPU", 1000 * costs[count], "ms a request")
        yield Figure(f"{who}: CPU of the clients", 1000 * clients[count], "ms a request")
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    given = [two / one for one, two in zip(alone[1], alone[2], strict=True)]
    yield Figure("2 workers / 1 worker", quantile(ratios, 0.5), "times", 1.8, more_is_better=True)
    yield Figure("2 loops / 1 loop without any server: what the machine gave", quantile(given, 0.5), "times")
    yield Figure("CPU a request with 2 workers / with 1", costs[2] / costs[1], "times", 1.1)


def _crew(workers: int, package: Package, body: bytes, headers: str) -> tuple[float, float, float]:
    """Requests a second, CPU seconds of the workers for each, and of the clients."""

    def ask(_client: int, _count: int) -> tuple[str, bytes]:
        return "/v2/models/m/infer", body

    with folder() as root:
        seal = Seal("m", 1, package.digest, "", "")
        write_plan(
            root / "plan", plan_of(write_folder(root / "m", package.manifest.to_bytes(), package.files, seal), name="m")
        )
        server = Supervisor(root / "plan", ServerOptions(drain_s=0.3, workers=workers))
        everywhere = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, sorted(everywhere)[:workers])
            url = server.start()
            os.sched_setaffinity(0, set(sorted(everywhere)[workers:]) or everywhere)
            drive(url, ask, clients=16, seconds=1.0, headers=headers)
            pids = [worker.pid for worker in living(root / "plan")]
            before, own = sum(map(exact_cpu_of, pids)), time.process_time()
            found = drive(url, ask, clients=16, seconds=4.0, headers=headers)
            used, spent = sum(map(exact_cpu_of, pids)) - before, time.process_time() - own
        finally:
            os.sched_setaffinity(0, everywhere)
            server.stop()
    return found.per_second, used / len(found.seconds), spent / len(found.seconds)


LOOP = "import time\nuntil, n = time.perf_counter() + 2, 0\nwhile time.perf_counter() < until: n += 1\nprint(n)"


def _loops(count: int) -> int:
    """How often so many processes that only compute go round in two seconds."""
    running = [subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE) for _ in range(count)]
    return sum(int(one.communicate()[0]) for one in running)


def _many() -> Iterator[Figure]:
    found = {}
    for count in (1, MODELS):
        with folder() as root:
            _plan(root, count, Options(log_share=0.0))
            server = Supervisor(root / "plans", ServerOptions(drain_s=0.3))
            started = time.perf_counter()
            url = server.start()
            ready_s = time.perf_counter() - started
            answers = drive(url, _one_of(count), clients=16, seconds=4.0)
            (worker,) = living(root / "plans")
            found[count] = answers.ms(0.99), resident_mb(worker.pid)
            server.stop()
        what = f"{count} small model{'s' * (count > 1)}"
        yield Figure(f"{what}: ready after", ready_s, "s")
        yield Figure(f"{what}: memory", found[count][1], "MB")
        yield Figure(f"{what}, 8 clients, one row", answers.per_second, "requests/s")
        yield Figure(f"{what}, 8 clients, one row: p99", found[count][0], "ms")
    yield Figure("memory of one model more", (found[MODELS][1] - found[1][1]) / (MODELS - 1), "MB")
    yield Figure(f"p99 with {MODELS} models / with one", found[MODELS][0] / found[1][0], "times")
    yield from _asleep()


def _one_of(count: int) -> Ask:
    return lambda client, number: (f"/v2/models/m{(7 * client + number) % count}/infer", ONE)


def _asleep() -> Iterator[Figure]:
    with folder() as root:
        _plan(root, MODELS, Options(log_share=0.0, idle_s=2))
        server = Supervisor(root / "plans", ServerOptions(drain_s=0.3))
        with Client(server.start(), timeout_s=30) as client:
            while len(living(root / "plans")[0].asleep) < MODELS:
                time.sleep(0.1)
            (worker,) = living(root / "plans")
            yield Figure(f"{MODELS} models that nobody asks: memory", resident_mb(worker.pid), "MB")
            waits = []
            for number in range(20):
                started = time.perf_counter()
                client.predict(f"m{number}", pl.DataFrame({"a": [0.5], "b": [0.5]}).to_dict(as_series=False))
                waits.append(time.perf_counter() - started)
            yield Figure("first answer of an unloaded small model, median", 1000 * quantile(waits, 0.5), "ms")
            yield Figure("first answer of an unloaded small model, worst of 20", 1000 * max(waits), "ms")
        server.stop()


def _plan(root: Path, count: int, options: Options) -> None:
    package, endpoints = packages()["plain"], []
    for number in range(count):
        seal = Seal(f"m{number}", 1, package.digest, "", "")
        place = write_folder(root / f"m{number}", package.manifest.to_bytes(), package.files, seal)
        arm = ArmPlan(name="champion", version=1, share=1.0, folder=str(place), digest=package.digest)
        endpoints.append(EndpointPlan(name=f"m{number}", arms=[arm], options=options))
    write_plan(root / "plans", Plan(generation=1, endpoints=endpoints))
