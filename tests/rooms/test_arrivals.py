"""Moving from another tracker: everything comes once, with its ids and times, and what breaks off goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mainspring.core.clock import ManualClock
from mainspring.core.errors import Unavailable
from mainspring.mlflow.moving.arriving import Importer, Report
from mainspring.mlflow.moving.model import (
    SourceDataset,
    SourceExperiment,
    SourceFile,
    SourceMeasure,
    SourceModel,
    SourceName,
    SourcePoint,
    SourceRun,
    SourceVersion,
)
from mainspring.registry import Registry
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.tracking import Files, LoggedModels, Tracking
from mainspring.tracking.arrivals import Arrivals
from mainspring.tracking.experiments import Experiments

RUN = "0" * 31 + "1"
MODEL = "m-" + "a" * 32
ROOT = "mlflow-artifacts:/7"


@dataclass
class Shelf:
    """A source in memory, which stops after some calls when it is told to."""

    runs_there: list[SourceRun]
    points_there: dict[str, list[SourcePoint]]
    bytes_there: dict[str, bytes] = field(default_factory=dict)
    stops_after: int = 10**9
    label: str = "http://elsewhere"
    calls: int = 0

    def experiments(self) -> Iterator[SourceExperiment]:
        yield SourceExperiment("7", "flights ünïcode", ROOT, 1_000, 2_000, tags={"team": "ops"})
        yield SourceExperiment("8", "gone", "mlflow-artifacts:/8", 1_000, 3_000, deleted=True)

    def runs(self, experiment_id: str) -> Iterator[SourceRun]:
        yield from self.runs_there if experiment_id == "7" else ()

    def points(self, run: SourceRun) -> Iterator[SourcePoint]:
        for point in self.points_there.get(run.id, ()):
            self.calls += 1
            if self.calls > self.stops_after:
                raise KeyboardInterrupt
            yield point

    def models(self, experiment_id: str) -> Iterator[SourceModel]:
        if experiment_id == "7":
            measure = SourceMeasure("auc", 0.7, 1_500, 0, RUN, "train", "d1")
            uri = f"{ROOT}/models/{MODEL}/artifacts"
            yield SourceModel(
                MODEL, "7", "late", "", "LOGGED_MODEL_READY", RUN, uri, 1_200, 1_300, {"C": "1"}, {"k": "v"}, (measure,)
            )

    def names(self) -> Iterator[SourceName]:
        yield SourceName("late flights", "who is late", 1_000, 2_000, {"owner": "me"}, {"champion": 4})

    def versions(self, name: str) -> Iterator[SourceVersion]:
        made = SourceVersion(
            name, 2, f"models:/{MODEL}", RUN, "", "", "ann", "Archived", "READY", "", 1_400, 1_500, model_id=MODEL
        )
        yield made
        yield replace(made, number=4, stage="Production", description="the good one", tags={"q": "1"})

    def files(self, uri: str) -> Iterator[SourceFile]:
        for path, data in sorted(self.bytes_there.items()):
            if path.startswith(f"{uri}/"):
                yield SourceFile(path.removeprefix(f"{uri}/"), len(data))

    def fetch(self, uri: str, path: str, to: Path) -> None:
        to.write_bytes(self.bytes_there[f"{uri}/{path}"])

    def close(self) -> None:
        pass


def _shelf() -> Shelf:
    dataset = SourceDataset(
        "train", "d1", "local", "/data/train.csv", tags={"mlflow.data.context": "training", "a": "b"}
    )
    uri = f"{ROOT}/{RUN}/artifacts"
    run = SourceRun(
        id=RUN,
        experiment_id="7",
        name="first",
        user_id="ann",
        status="FINISHED",
        started_ms=1_000,
        ended_ms=2_000,
        artifact_uri=uri,
        params={"depth": "6", "empty": ""},
        tags={"mlflow.runName": "first", "mlflow.user": "ann", "k": "v"},
        metrics=("loss", "odd"),
        datasets=(dataset,),
        models_made=((MODEL, 3),),
    )
    other = replace(run, id="0" * 31 + "2", name="second", deleted=True, artifact_uri=f"{ROOT}/2", models_made=())
    points = [SourcePoint("loss", 1_000 + i, i, 1 / (i + 1)) for i in range(50)]
    points += [SourcePoint("odd", 1_000, -3, math.nan), SourcePoint("odd", 1_000, 2**40, -math.inf)]
    mlmodel = b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"
    files = {f"{uri}/plots/ä b.txt": b"hello", f"{ROOT}/models/{MODEL}/artifacts/MLmodel": mlmodel}
    return Shelf([run, other], {RUN: points, other.id: points[:5]}, files)


@dataclass
class Rooms:
    """What an import speaks to."""

    arrivals: Arrivals
    tracking: Tracking
    files: Files
    registry: Registry
    experiments: Experiments
    models: LoggedModels

    def bring(self, shelf: Shelf, *, with_files: bool = True) -> Report:
        return Importer(
            shelf,
            arrivals=self.arrivals,
            tracking=self.tracking,
            files=self.files,
            registry=self.registry,
            with_files=with_files,
        ).run()


@pytest.fixture
def rooms(tables: Tables, tmp_path: Path) -> Rooms:
    clock = ManualClock(9_000_000)
    journal, blobs = SqlJournal(tables, clock), FileBlobs(tmp_path / "blobs")
    return Rooms(
        Arrivals(tables=tables, journal=journal, clock=clock),
        Tracking(tables=tables, journal=journal, clock=clock),
        Files(tables=tables, journal=journal, blobs=blobs, clock=clock, scratch=tmp_path / "up", limit_bytes=1 << 20),
        Registry(tables=tables, journal=journal, blobs=blobs, clock=clock, folder=tmp_path / "registry"),
        Experiments(tables=tables, journal=journal, clock=clock),
        LoggedModels(tables=tables, journal=journal, clock=clock),
    )


def test_everything_comes_with_its_ids_and_times(rooms: Rooms) -> None:
    report = rooms.bring(_shelf())
    assert (report.problems, report.differences) == ([], [])
    assert report.brought == {
        "experiments": 2,
        "runs": 2,
        "points": 57,
        "files": 2,
        "logged models": 1,
        "registered models": 1,
        "versions": 2,
    }
    experiment = rooms.experiments.named("flights ünïcode")
    assert (experiment.id, experiment.created_at, experiment.tags) == ("7", 1_000_000, {"team": "ops"})
    assert rooms.experiments.named("gone").deleted_at == 3_000_000
    run = rooms.tracking.get(RUN)
    assert (run.name, run.user_id, run.started_at, run.ended_at) == ("first", "ann", 1_000_000, 2_000_000)
    assert (run.params, run.tags["k"]) == ({"depth": "6", "empty": ""}, "v")
    assert [entry.dataset for entry in run.inputs] == ["train@d1"]
    odd = rooms.tracking.history(RUN, "odd")
    assert [(point.step, str(point.value)) for point in odd] == [(-3, "nan"), (2**40, "-inf")]
    assert rooms.files.read(run.folder + "plots/ä b.txt") == b"hello"
    assert rooms.tracking.get("0" * 31 + "2").deleted_at == 2_000_000


def test_versions_keep_their_numbers_stages_and_aliases(rooms: Rooms) -> None:
    rooms.bring(_shelf())
    assert [version.number for version in rooms.registry.versions("late flights")] == [4, 2]
    good = rooms.registry.get("late flights", "champion")
    assert (good.number, good.stage, good.description, good.tags) == (4, "Production", "the good one", {"q": "1"})
    assert (good.run_id, good.model_id, good.flavour) == (RUN, MODEL, "mlflow")
    assert rooms.registry.files("late flights", 4), "the files of the logged model are its package"
    (measured,) = rooms.models.get(MODEL).metrics
    assert (measured.key, measured.value, measured.dataset_name) == ("auc", 0.7, "train")


def test_a_second_import_brings_nothing_and_changes_nothing(rooms: Rooms) -> None:
    rooms.bring(_shelf())
    before = rooms.tracking.get(RUN)
    again = rooms.bring(_shelf())
    assert again.skipped == {"runs": 2, "logged models": 1, "versions": 2}
    assert "points" not in again.brought
    assert (rooms.tracking.get(RUN), again.whole) == (before, True)
    assert [version.number for version in rooms.registry.versions("late flights")] == [4, 2]


@pytest.mark.parametrize("stops_after", [0, 1, 20, 51, 54])
def test_an_import_that_was_broken_off_goes_on_to_the_same_end(rooms: Rooms, stops_after: int) -> None:
    shelf = _shelf()
    shelf.stops_after = stops_after
    with pytest.raises(KeyboardInterrupt):
        rooms.bring(shelf)
    report = rooms.bring(_shelf())
    assert report.whole
    assert len(rooms.tracking.history(RUN, "loss")) == 50
    assert len(rooms.tracking.history("0" * 31 + "2", "loss")) == 5


def test_a_run_that_went_on_there_is_brought_up_to_date(rooms: Rooms) -> None:
    shelf = _shelf()
    finished, shelf.runs_there[0] = shelf.runs_there[0], replace(shelf.runs_there[0], status="RUNNING", ended_ms=None)
    assert rooms.bring(shelf).whole
    assert rooms.tracking.get(RUN).status == "running"
    shelf.runs_there[0] = replace(finished, tags={**finished.tags, "k": "w"})
    shelf.points_there[RUN].append(SourcePoint("loss", 5_000, 99, 0.001))
    assert rooms.bring(shelf).whole
    run = rooms.tracking.get(RUN)
    assert (run.status, run.tags["k"], run.metrics["loss"].step) == ("finished", "w", 99)


def test_what_cannot_be_brought_is_said_and_the_rest_comes(rooms: Rooms) -> None:
    shelf = _shelf()

    def fetch(uri: str, path: str, to: Path) -> None:
        raise Unavailable("the bucket is closed", where=uri)

    shelf.fetch = fetch  # type: ignore[method-assign]
    report = rooms.bring(shelf)
    assert report.problems[0] == f"run {RUN}: the bucket is closed ({ROOT}/{RUN}/artifacts)"
    assert rooms.tracking.get("0" * 31 + "2").name == "second"
    assert rooms.bring(_shelf()).whole, "what was missing comes with the next import"


def test_a_run_that_holds_other_points_here_is_a_difference(rooms: Rooms) -> None:
    shelf = _shelf()
    rooms.bring(shelf)
    shelf.points_there[RUN].pop()
    shelf.runs_there[0] = replace(shelf.runs_there[0], name="renamed")
    report = rooms.bring(shelf)
    assert report.differences == [f"runs/{RUN}: 52 points here, 51 there"]


def test_without_files_experiments_say_where_the_files_are(rooms: Rooms) -> None:
    shelf = _shelf()
    report = rooms.bring(shelf, with_files=False)
    assert "files" not in report.brought
    assert rooms.files.below(rooms.tracking.get(RUN).folder) == []
