"""A real server over a small project with something on every page, and a browser to look at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from tests import spools

from mainspring.access import Audit
from mainspring.core.caller import adopt, caller
from mainspring.core.clock import DAY_US, SystemClock, moment
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.data.splits import Splits
from mainspring.gates import Gates
from mainspring.governance import Governance
from mainspring.loop import Loop
from mainspring.loop.planning.service import Planner
from mainspring.loop.triggers.service import Triggers
from mainspring.monitoring import Monitoring
from mainspring.pipelines import Pipelines
from mainspring.pipelines.search import SearchState
from mainspring.pipelines.search.service import Searches
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.serving import Feedback, Serving
from mainspring.serving.modelserver.plan import SPOOLS
from mainspring.storage.ports import Journal, Queue, Tables
from mainspring.tracking import Files, Metric, Tracking
from mainspring.training import LeaderboardState, Training, TrainRequest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = os.environ.get("MAINSPRING_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--in-process-gpu", "--disable-software-rasterizer"]
"""Without a simulated graphics card pages are drawn all the same, with an eighth less of a processor."""
SERVER = """
import sys
from pathlib import Path
from mainspring.core.settings import load
from mainspring.server.house import open_house
from mainspring.server.run import serve
serve(open_house(load(Path(sys.argv[1]))), port=0, project="flights")
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Where there is none, tests are skipped; in CI that is a failure."""
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have a Chromium at {CHROMIUM}")
        pytest.skip(f"no Chromium at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


START = 1_364_774_400_000_000  # 2013-04-01
LEVELS = ["AA", "DL", "UA"]
SETTINGS = """
[project]
name = "flights"

[policy.keep-good]
deployment = "live"
model = "late"
pipeline = "train.py:retrain"
gate = "promote"

[gate.promote]
checks = [
  { metric = "roc_auc", compare = "non_inferior", margin = 0.05 },
  { metric = "roc_auc", floor = 0.5 },
]

[trigger.nightly]
on = "cron"
cron = "30 4 * * *"
pipeline = "train.py:retrain"

[search.longer]
pipeline = "train.py:tuned"
trials = 4
objective = { rows = "maximize" }

[search.longer.space]
until = { low = 1, high = 9 }
"""
PIPELINE = """
from mainspring import pipeline, step

@step
def count(until: int) -> int:
    return until * 2

@step
def double(rows: int) -> int:
    return rows * 2

@pipeline
def retrain(until: int = 3) -> int:
    return double(count(until))

@pipeline
def tuned(until: int = 3) -> dict[str, int]:
    return {"rows": count(until)}
"""


FILES = {
    "notes/report.txt": b"all is well",
    "notes/rows.csv": b"hour,late\n12,0\n15,1\n",
    "plots/figure.html": b"<!doctype html><title>f</title><body><script>"
    b"document.body.textContent = 'drawn';"
    b"fetch('/api/v1/runs').catch(() => { document.body.textContent += ', alone'; });"
    b"</script>",
    "plots/square.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="80">'
    b'<rect width="80" height="80" style="fill: #0b6aa2"/></svg>',
}


def _flights(rows: int, seed: int, *, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({"hour": rng.normal(12 + shift, 4, rows), "carrier": rng.choice(LEVELS, rows)})


def _labelled(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    noise = np.random.default_rng(seed).normal(0, 3, frame.height)
    return frame.with_columns(late=(frame["hour"] + noise > 13).cast(pl.Int64))


def _predict(house: Wiring, folder: Path, day: int, *, shift: float) -> None:
    """A day of answers in the log of a model server's worker, as it writes them, and their labels."""
    frame, spool = _flights(300, 100 + day, shift=shift), f"day{day}"
    ids = [f"{spool}-{i}" for i in range(frame.height)]
    at = [START + day * DAY_US + i * (DAY_US // frame.height) for i in range(frame.height)]
    answer = {"probability": 0.2, "label": 0}
    rows = [
        {"id": name, "request_id": name, "key": name, "at": when, "event_at": when, "inputs": row, "outputs": answer}
        for name, when, row in zip(ids, at, frame.iter_rows(), strict=True)
    ]
    columns = [("hour", "float"), ("carrier", "text")]
    spools.write(folder / "serving" / SPOOLS / f"{spool}.sqlite", rows, columns=columns)
    serving, monitoring = house.get(Serving), house.get(Monitoring)
    serving.compact()
    late = 45 if not shift else 150
    serving.feedback("live", [Feedback(name, int(i < late)) for i, name in enumerate(ids)])
    monitoring.observe("live")
    monitoring.evaluate("live")


def _fill(root: Path) -> None:
    """Something on every page."""
    (root / "mainspring.toml").write_text(SETTINGS)
    (root / "train.py").write_text(PIPELINE)
    settings = load(root, environ={})
    house = open_house(settings)
    data, registry, tracking = house.get(Data), house.get(Registry), house.get(Tracking)
    times = [moment(START - 20 * DAY_US + i * 20 * DAY_US // 9_000) for i in range(9_000)]
    rows = _labelled(_flights(9_000, 1), 2).with_columns(scheduled=pl.Series(times))
    made = data.ingest("flights", rows)
    data.ingest("flights", rows.head(8_000), parents=[made.ref])
    held = data.ingest("flights-eval", _labelled(_flights(2_000, 3), 4))
    for number in (1, 2):
        run = tracking.create_run("flights", name=f"trial {number}", tags={"kind": "baseline"}, seed=number)
        points = [Metric("loss", 1 / (step + number), step=step, at=START + step) for step in range(20)]
        tracking.log_batch(run.id, metrics=points, params={"C": str(number), "solver": "lbfgs"})
        tracking.log_input(run.id, made.ref)
        for name, content in FILES.items():
            house.get(Files).put(run.folder + name, content)
        tracking.finish(run.id)
        train = _labelled(_flights(2_000, number), number)
        codes = train.select("hour", pl.col("carrier").replace_strict({"AA": 0.0, "DL": 1.0, "UA": 2.0})).to_numpy()
        model = LogisticRegression(C=number).fit(codes, train["late"].to_numpy())
        registry.register(
            "late",
            model,
            example=train.select("hour", "carrier").head(3),
            run_id=run.id,
            datasets=[made.ref],
            reference=made.ref,
            metrics={"roc_auc": 0.7 + number / 100, "brier": 0.15},
            encoding={"carrier": LEVELS},
        )
    registry.set_alias("late", "champion", 1, "first")
    registry.move_to_stage("late", 1, "production", reason="as agreed")
    gates = house.get(Gates)
    rows = data.frame("flights-eval").collect()
    for number, champion in ((1, None), (2, registry.get("late", 1))):
        candidate = registry.get("late", number)
        spec = gates.spec("promote")
        gates.evaluate(spec, candidate=candidate, champion=champion, frame=rows, label="late", data_ref=held.ref)
    house.get(Governance).card("late", 1, purpose="Who is warned of a late flight.")
    house.get(Serving).deploy("live", "late", 1, reason="the first")
    house.get(Monitoring).watch("live")
    for day in range(12):
        _predict(house, settings.data_dir, day, shift=0.0 if day < 6 else 6.0)
    house.get(Serving).start_rollout("live", 2, reason="better on paper")
    house.get(Pipelines).run_inline(f"{root / 'train.py'}:retrain", {"until": 4})
    house.get(Loop).start("keep-good", reason="asked for")
    _improve(house)
    house.get(Audit).seal()
    house.close()


def _improve(house: Wiring) -> None:
    """A leaderboard, a search, and a trigger that fired."""
    training = Training(
        tables=house.get(Tables),  # type: ignore[type-abstract]  # the wiring knows ports by name
        journal=house.get(Journal),  # type: ignore[type-abstract]
        queue=house.get(Queue),  # type: ignore[type-abstract]
        data=house.get(Data),
        splits=house.get(Splits),
        clock=SystemClock(),
        scratch=house.get(Serving).folder.parent / "scratch",
        tracking=house.get(Tracking),
        wiring=house,
        engine="inline",
    )
    families = ("baseline", "linear", "tree")
    wanted = TrainRequest(data="flights-eval", target="late", families=families, configurations=1, folds=2)
    assert training.work(training.start(wanted, here=True).id).state is LeaderboardState.FINISHED
    searches = house.get(Searches)
    assert searches.run(searches.start("longer").id).state is SearchState.FINISHED
    planner = house.get(Planner)
    planner.apply(planner.plan())
    house.get(Triggers).fire("nightly", reason="asked for")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a project with data, runs, models, verdicts, a rollout, alarms and a cycle."""
    before = caller()
    folder = tmp_path_factory.mktemp("project")
    environ = dict(os.environ)
    _fill(folder)
    yield folder
    os.environ.clear()
    os.environ.update(environ)
    adopt(before)


@pytest.fixture(scope="module")
def address(filled: Path, warm_programs: None) -> Iterator[str]:
    """Where a server of that project listens."""
    script = filled / "serve.py"
    script.write_text(SERVER)
    command = [sys.executable, str(script), str(filled)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = process.stdout.readline().split()[-1]
            assert process.stdout.readline() == "ready\n"
            yield found
        finally:
            process.terminate()
