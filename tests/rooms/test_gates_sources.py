"""Where a gate finds its rows, its label, and other trainings of the version it judges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from mainspring.core.clock import ManualClock
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.data.splits.model import SplitSpec
from mainspring.data.splits.service import Splits
from mainspring.gates import Gates, Verdict, parse_gate
from mainspring.gates.retraining import Retraining
from mainspring.gates.rules.spread import spread_below
from mainspring.pipelines import Pipelines
from mainspring.registry import ModelVersion, Registry
from mainspring.storage.delta import DeltaTables, FilePlace
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Blobs, Tables
from mainspring.storage.queue import SqlQueue

FLOW = """
import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from mainspring import context, pipeline, step
from mainspring.registry import Registry

@step(cache=False)
def fit(seed: int) -> dict[str, object]:
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 1, 200)
    late = generator.uniform(0, 1, 200) < 1 / (1 + np.exp(-2 * x))
    model = LogisticRegression().fit(x[:, None], late.astype(np.int64))
    made = context().room(Registry).register(
        "late", model, example=pl.DataFrame({"x": x[:2]}), run_id=context().run_id
    )
    return {"model": "late", "version": made.number}

@pipeline
def train(seed: int = 0) -> dict[str, object]:
    return fit(seed)

@pipeline
def seedless() -> dict[str, object]:
    return fit(0)
"""


def rows(n: int, seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 1, n)
    late = generator.uniform(0, 1, n) < 1 / (1 + np.exp(-2 * x))
    return pl.DataFrame({"x": x, "late": late.astype(np.int64)})


@dataclass(frozen=True, slots=True)
class House:
    """The rooms a gate looks into."""

    gates: Gates
    registry: Registry
    data: Data
    splits: Splits
    pipelines: Pipelines
    queue: SqlQueue

    def work(self) -> int:
        """Runs what waits on the queue; how many runs that were."""
        done = 0
        while (lease := self.queue.lease("w", ["pipelines"], lease_s=30.0)) is not None:
            self.pipelines.work_once(lease)
            done += 1
        return done

    def judge(self, version: ModelVersion, *checks: dict[str, object]) -> Verdict:
        """Puts a version before checks, on rows of its own."""
        gate = parse_gate("g", {"checks": list(checks)})
        frame = rows(500, 9)
        return self.gates.evaluate(
            gate, candidate=version, champion=None, frame=frame, label="late", data_ref="datasets/e/1"
        )


@pytest.fixture
def house(sqlite_tables: Tables, tmp_path: Path) -> Iterator[House]:
    journal, clock = SqlJournal(sqlite_tables), ManualClock(1_700_000_000_000_000)
    blobs, queue, wiring = FileBlobs(tmp_path / "blobs"), SqlQueue(sqlite_tables), Wiring()
    registry = Registry(tables=sqlite_tables, journal=journal, blobs=blobs, clock=clock, folder=tmp_path)
    delta = DeltaTables(FilePlace(tmp_path / "delta"))
    data = Data(tables=sqlite_tables, journal=journal, delta=delta, blobs=blobs, clock=clock)
    splits = Splits(tables=sqlite_tables, journal=journal, blobs=blobs, data=data, clock=clock)
    (tmp_path / "flow.py").write_text(FLOW)
    wiring.add(Registry, lambda _: registry)
    wiring.add(Blobs, lambda _: blobs)  # type: ignore[type-abstract]  # the wiring knows ports by name
    pipelines = Pipelines(
        tables=sqlite_tables,
        journal=journal,
        queue=queue,
        blobs=blobs,
        scratch=tmp_path / "scratch",
        wiring=wiring,
        root=tmp_path,
        engine="inline",
    )
    section = {"data": "trips/eval", "checks": [{"metric": "accuracy", "floor": 0.6}]}
    gates = Gates(
        tables=sqlite_tables,
        journal=journal,
        registry=registry,
        data=data,
        sections={"promote": section},
        clock=clock,
        folder=tmp_path,
        splits=splits,
    )
    gates.retrain_through(Retraining(registry, lambda: pipelines))
    yield House(gates, registry, data, splits, pipelines, queue)


@pytest.fixture
def version(house: House) -> ModelVersion:
    """A version that no pipeline made."""
    frame = rows(300, 1)
    model = LogisticRegression().fit(frame.select("x").to_numpy(), frame["late"].to_numpy())
    return house.registry.register("late", model, example=frame.select("x").head(2))


# rows and label


def test_the_sealed_part_of_a_split_is_judged_on_and_its_opening_counted(house: House, version: ModelVersion) -> None:
    house.data.ingest("trips", rows(1000, 3))
    split = house.splits.make("trips", SplitSpec(test=0.3, folds=3))
    found = house.gates.run("promote", "late", version.number)
    assert (found.outcome, found.n, found.data_ref, found.use) == ("pass", 300, "splits/trips/1/test", 1)
    (use,) = house.splits.uses(split).uses
    assert use.purpose == "gate promote on models/late/1"
    held = house.gates.held_out_rows("late", version.number, 100)
    assert held is not None and held.inputs.height == 100
    assert len(house.splits.uses(split).uses) == 1
    fold = house.gates.run("promote", "late", version.number, data="trips/fold-1")
    assert fold.data_ref == "splits/trips/1/fold-1"
    assert len(house.splits.uses(split).uses) == 1


def test_a_part_that_is_not_there_is_not_found(house: House, version: ModelVersion) -> None:
    house.data.ingest("trips", rows(1000, 3))
    with pytest.raises(NotFound, match="trips has no part 'eval', and there is no dataset trips-eval"):
        house.gates.run("promote", "late", version.number)


def test_the_label_is_the_only_column_that_can_be_it_or_the_one_used_before(
    house: House, version: ModelVersion
) -> None:
    frame = rows(1000, 3)
    house.data.ingest("trips-eval", frame.with_columns(early=1 - pl.col("late")))
    with pytest.raises(Invalid, match="late, early could all be it"):
        house.gates.run("promote", "late", version.number)
    house.gates.run("promote", "late", version.number, label="late")
    assert house.gates.run("promote", "late", version.number).outcome == "pass"


def test_rows_without_any_label_are_refused_before_anything_is_judged(house: House, version: ModelVersion) -> None:
    house.data.ingest("trips-eval", rows(1000, 3).drop("late"))
    with pytest.raises(Invalid, match="no column that is not an input can be it"):
        house.gates.run("promote", "late", version.number)
    assert house.gates.verdicts() == []


# other seeds


def trained(house: House, pipeline: str, params: dict[str, object]) -> ModelVersion:
    run_id = house.pipelines.submit(f"flow.py:{pipeline}", params)
    assert house.work() == 1
    assert house.pipelines.get(run_id).error == ""
    return house.registry.get("late", "latest")


def test_the_spread_over_seeds_comes_from_the_pipeline_that_made_the_version(house: House) -> None:
    version = trained(house, "train", {"seed": 7})
    check: dict[str, object] = {"seeds": 3, "max_sd": 0.1, "metric": "log_loss", "wait_s": 0}
    (early,) = house.judge(version, check).checks
    assert (early.outcome, early.note) == ("skipped", "0 of 3 retrainings are done: judge again later")
    assert house.work() == 3
    (found,) = house.judge(version, check).checks
    assert found.outcome == "pass", found
    assert [part.name for part in found.slices] == ["seed 1", "seed 2", "seed 3"]
    values = [part.value for part in found.slices if part.value is not None]
    assert found.value == pytest.approx(np.std(values, ddof=1))
    assert house.work() == 0  # the runs that are there were found


def test_a_version_whose_pipeline_takes_no_seed_is_not_estimable(house: House, version: ModelVersion) -> None:
    check: dict[str, object] = {"seeds": 2, "max_sd": 0.1, "wait_s": 0}
    (found,) = house.judge(version, check).checks
    assert (found.outcome, found.note) == ("skipped", "not estimable: no pipeline of this house made the version")
    seedless = trained(house, "seedless", {})
    house.judge(seedless, check)
    house.work()
    (found,) = house.judge(seedless, check).checks
    assert found.outcome == "skipped"
    assert "not estimable: retraining pipeline-runs/" in found.note and "seed" in found.note


def test_the_interval_of_a_spread_is_that_of_the_chi_squared_law() -> None:
    from scipy.stats import chi2

    values = [0.70, 0.72, 0.71, 0.74, 0.69]
    found = spread_below(values, limit=0.05, n=10)
    sd = float(np.std(values, ddof=1))
    assert found.high == pytest.approx(sd * (4 / chi2.ppf(0.05, 4)) ** 0.5)
    assert found.low == pytest.approx(sd * (4 / chi2.ppf(0.95, 4)) ** 0.5)
    assert found.p_pass == pytest.approx(chi2.cdf(4 * sd**2 / 0.05**2, 4))
    with pytest.raises(Invalid, match="1 values"):
        spread_below([0.7], limit=0.1, n=1)
