"""Nodes of a cluster of Ray that see nothing of the project's data folder: what works there, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression
from tests.clusters import RayCluster

from mainspring.core.ids import new_id
from mainspring.core.settings import Settings, load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.pipelines import PipelineRun, Pipelines, RunState
from mainspring.pipelines.worker import Worker
from mainspring.registry import Registry
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.batch.job import BatchRequest, Job, Parts
from mainspring.serving.modelserver.plan import ViewPlan
from mainspring.testing.postgres import PostgresServer

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.postgres]
FLOW = """
from pathlib import Path

import polars as pl
from mainspring import context, pipeline, step
from mainspring.data import Data
from mainspring.pipelines import Dataset

DATA = Path("{data}")


@step(cache=False, here=True)
def near() -> bool:
    (DATA.parent / "began").touch()
    return DATA.exists()


@step
def numbers(count: int) -> pl.DataFrame:
    context().log("at work", rows=float(count))
    assert not DATA.parent.exists(), "the node sees the project"
    return pl.DataFrame({{"n": list(range(count))}})


@step
def parts(frame: pl.DataFrame) -> list[int]:
    return frame["n"].to_list()


@step
def written(n: int) -> Path:
    path = Path(f"{{n}}.txt")
    path.write_text("x" * n)
    return path


@step
def lengths(files: list[Path]) -> int:
    return sum(len(file.read_text()) for file in files)


@step
def counted(table: Dataset) -> int:
    _, name, number = table.split("/")
    return context().room(Data).frame(name, int(number)).collect().height


@pipeline
def fanned(count: int = 4) -> dict[str, object]:
    return {{"near": near(), "sum": lengths(written.map(parts(numbers(count))))}}


@pipeline
def read() -> int:
    return counted("visits")
"""

ANSWER = """
from pathlib import Path

from mainspring.serving.batch.job import Parts
from mainspring.serving.batch.onray import answer_on_ray

parts = Parts(Path("out.parquet"))
answer_on_ray(parts, parts.job(), [0], 1, print)
"""


@contextmanager
def housed(cluster: RayCluster, **storage: str) -> Iterator[tuple[Path, Wiring]]:
    root = cluster.unseen / new_id()
    root.mkdir()
    (root / "mainspring.toml").write_text('[project]\nname = "shop"\n')
    (root / "flow.py").write_text(FLOW.format(data=root / ".mainspring"))
    flags = {"pipelines.engine": "ray", **{f"storage.{name}": value for name, value in storage.items()}}
    made = open_house(load(root, flags=flags))
    try:
        yield root, made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def _on_the_cluster(cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)


def run(house: Wiring, name: str) -> PipelineRun:
    rooms = house.get(Pipelines)
    run_id = rooms.submit(f"flow.py:{name}")
    house.get(Worker).run_one()
    return rooms.get(run_id)


def test_with_postgres_and_s3_a_node_needs_nothing_of_the_data_folder(
    cluster: RayCluster, postgres_server: PostgresServer, s3_url: str
) -> None:
    with housed(cluster, db=postgres_server.url(postgres_server.make_database()), blobs=s3_url) as (_, house):
        done = run(house, "fanned")
        assert (done.state, done.error) == (RunState.FINISHED, "")
        assert done.result == {"near": True, "sum": 0 + 1 + 2 + 3}
        assert house.get(Pipelines).metrics(done.id) == {"rows": 4.0}
        assert "at work" in house.get(Pipelines).log(done.id, "numbers")
        house.get(Data).ingest("visits", pl.DataFrame({"n": [1, 2]}))
        read = run(house, "read")
        assert (read.state, read.error, read.result) == (RunState.FINISHED, "", 2)


def test_a_run_is_refused_before_its_first_step_when_a_node_does_not_see_the_storage(
    cluster: RayCluster, s3_url: str
) -> None:
    with housed(cluster, blobs=s3_url) as (root, house):
        refused = run(house, "fanned")
        assert refused.state is RunState.FAILED
        assert f"does not see {root / '.mainspring'} of the project" in refused.error
        assert "keep tables in Postgres (storage.db) and blobs in S3 (storage.blobs)" in refused.error
        assert not (root / "began").exists()
        assert [step.id for step in refused.steps if step.attempt] == []


def test_a_batch_travels_to_nodes_that_see_none_of_its_files(
    cluster: RayCluster, postgres_server: PostgresServer, s3_url: str
) -> None:
    with housed(cluster, db=postgres_server.url(postgres_server.make_database()), blobs=s3_url) as (root, house):
        frame = pl.DataFrame({"x": [float(number % 97) for number in range(50_000)]})
        model = LinearRegression().fit(frame.head(3), [2.0, 4.0, 6.0])
        house.get(Registry).register("line", model, example=frame.head(3))
        house.get(Serving).deploy("line", "line", 1)
        frame.write_parquet(root / "in.parquet")
        (root / "in.csv").write_text(frame.with_columns(pl.lit("?").alias("note")).write_csv())
        assert predicted(root, house, "in.parquet", "here.parquet").returncode == 0
        for source, out in (("in.parquet", "there.parquet"), ("in.csv", "read.parquet")):
            done = predicted(root, house, source, out, "--engine", "ray", "--processes", "2")
            assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
            here, there = (pl.read_parquet(root / name) for name in ("here.parquet", out))
            assert there["prediction"].equals(here["prediction"])
            assert not (root / f"{out}.parts").exists()


def test_a_batch_that_looks_up_what_a_node_does_not_see_is_refused_before_its_first_row(
    cluster: RayCluster, postgres_server: PostgresServer, s3_url: str
) -> None:
    with housed(cluster, db=postgres_server.url(postgres_server.make_database()), blobs=s3_url) as (root, house):
        frame = pl.DataFrame({"x": [1.0, 2.0, 3.0]})
        house.get(Registry).register("line", LinearRegression().fit(frame, [2.0, 4.0, 6.0]), example=frame)
        house.get(Serving).deploy("line", "line", 1)
        frame.write_parquet(root / "in.parquet")
        view = ViewPlan(name="visits", number=1, path=str(root / "visits.keyed"), keys=[], names=["x"])
        plan = msgspec.structs.replace(house.get(Serving).planned("line"), views=[view])
        request = BatchRequest("line", str(root / "in.parquet"), str(root / "out.parquet"))
        said = {"stamp": "", "public_key": "", "rows": 3, "texts": False, "started_at": 0}
        parts = Parts(Path(request.out))
        parts.folder.mkdir()
        parts.begin(Job(id="b", request=request, plan=plan, **said))  # type: ignore[arg-type]
        refused = subprocess.run([sys.executable, "-c", ANSWER], cwd=root, capture_output=True, text=True, timeout=120)
        assert f"does not see {parts.folder}" in refused.stderr
        assert "leave out --engine ray: the same command goes on" in refused.stderr
        assert not list(parts.folder.glob("0*.parquet"))


def predicted(root: Path, house: Wiring, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mainspring", "predict", "line", "--batch", *words]
    storage = house.get(Settings).storage
    env = {**os.environ, "MAINSPRING_STORAGE_DB": storage.db, "MAINSPRING_STORAGE_BLOBS": storage.blobs}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=120)
