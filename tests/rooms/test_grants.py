"""Pickles: refused without a grant, loaded in a process of their own with one, gone when it is taken back."""

from __future__ import annotations

import operator
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import cast

import joblib
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import DAY_US, ManualClock
from mainspring.core.errors import Invalid, MainspringError, NotFound, Refused
from mainspring.registry import ModelVersion, Registry
from mainspring.registry.grants import GrantRequest, Permit
from mainspring.registry.packages import load_folder
from mainspring.registry.signing import Signer
from mainspring.serving.client import Client
from mainspring.serving.service import Serving
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage import open_tables
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Tables

FRAME = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
REQUEST = GrantRequest("made by our own team")
NOW = time.time_ns() // 1000
seen: list[int] = []


class Odd(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """A model of a class that is on no list."""

    def __setstate__(self, state: dict[str, object]) -> None:
        seen.append(os.getpid())
        self.__dict__.update(state)


def fitted(model: LogisticRegression) -> LogisticRegression:
    return model.fit(FRAME.to_numpy(), [0, 0, 1, 1])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def journal(sqlite_tables: Tables, clock: ManualClock) -> SqlJournal:
    return SqlJournal(sqlite_tables, clock)


@pytest.fixture
def registry(sqlite_tables: Tables, journal: SqlJournal, clock: ManualClock, tmp_path: Path) -> Registry:
    return registry_in(tmp_path, sqlite_tables, journal, clock)


def registry_in(folder: Path, tables: Tables, journal: SqlJournal, clock: ManualClock) -> Registry:
    return Registry(
        tables=tables, journal=journal, blobs=open_blobs("", folder), clock=clock, folder=folder / "registry"
    )


@pytest.fixture(scope="module")
def folder_with_a_pickle(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    """The folder of a registry with one granted pickle: made once, since each look at a pickle starts processes."""
    folder = tmp_path_factory.mktemp("granted")
    (folder / "tables").mkdir()
    shutil.copy(sqlite_template, folder / "tables")
    model, clock = dumped(folder), ManualClock(NOW)
    with closing(open_tables("", folder / "tables")) as tables, calling(Caller("ada")):
        registry = registry_in(folder, tables, SqlJournal(tables, clock), clock)
        registry.register("churn", model, example=FRAME, grant=REQUEST)
    return folder


@pytest.fixture
def sqlite_database(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Callable[[], Tables]:
    """With the pickle where a test asks for its version."""
    if "version" in request.fixturenames:
        shutil.copytree(request.getfixturevalue("folder_with_a_pickle"), tmp_path, dirs_exist_ok=True)
    else:
        (tmp_path / "tables").mkdir()
        shutil.copy(sqlite_template, tmp_path / "tables")
    return partial(open_tables, "", tmp_path / "tables")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return dumped(tmp_path)


def dumped(folder: Path) -> Path:
    joblib.dump(fitted(LogisticRegression()), folder / "model.joblib", compress=3)
    return folder / "model.joblib"


@pytest.fixture
def version(registry: Registry) -> ModelVersion:
    return registry.get("churn", 1)


def test_a_pickle_is_refused_without_a_grant(registry: Registry, path: Path) -> None:
    with pytest.raises(Refused, match="pickle") as caught:
        registry.register("churn", path, example=FRAME)
    assert "GrantRequest" in caught.value.hint
    assert registry.models() == []


def test_a_granted_pickle_answers_as_the_model_does(registry: Registry, version: ModelVersion) -> None:
    assert (version.flavour, version.task, version.classes) == ("pickle", "binary", (0, 1))
    expected = fitted(LogisticRegression()).predict_proba(FRAME.to_numpy())[:, 1]
    loaded = registry.load("churn")
    np.testing.assert_array_equal(loaded.predict(FRAME)["probability"], expected)
    means = {name: cast(float, FRAME[name].mean()) for name in FRAME.columns}
    columns = [FRAME[name].to_list() for name in FRAME.columns]
    codes = loaded.reasoner(means).explain(columns, loaded.predict(FRAME))
    assert expected == pytest.approx(1 / (1 + np.exp(-(codes.values.sum(axis=1) + codes.base))))


def test_a_grant_is_an_event_with_digest_actor_reason_and_end(
    registry: Registry, version: ModelVersion, journal: SqlJournal, clock: ManualClock
) -> None:
    (event,) = journal.read(kinds=["registry.pickle_granted"])
    assert (event.actor, event.subject) == ("ada", "models/churn/1")
    assert event.payload["digest"] == version.digest
    assert event.payload["reason"] == "made by our own team"
    assert event.payload["expires_at"] == clock.now() + 90 * DAY_US
    assert event.payload["despite_scan"] is False
    assert "all on the allow-list" in str(event.payload["scan"])


def test_a_grant_that_is_taken_back_or_over_does_not_load(
    registry: Registry, version: ModelVersion, journal: SqlJournal, clock: ManualClock
) -> None:
    registry.grants.revoke(version, "left the team")
    with pytest.raises(Refused, match="only with a grant"):
        registry.load("churn")
    with pytest.raises(NotFound, match="no grant"):
        registry.grants.revoke(version, "again")
    assert journal.read(kinds=["registry.grant_revoked"])[0].payload["reason"] == "left the team"
    registry.grant("churn", 1, GrantRequest("back again", days=1))
    assert registry.load("churn").predict(FRAME)["label"].tolist() == [0, 0, 1, 1]
    clock.advance(DAY_US)
    with pytest.raises(Refused, match="only with a grant"):
        registry.load("churn")


def test_a_rename_takes_no_grant_away_and_gives_none_back(registry: Registry, version: ModelVersion) -> None:
    registry.rename("churn", "leavers")
    assert registry.load("churn").predict(FRAME)["label"].tolist() == [0, 0, 1, 1]
    registry.grants.revoke(registry.get("leavers"), "left the team")
    registry.rename("leavers", "churn")
    with pytest.raises(Refused, match="only with a grant"):
        registry.load("churn")


def test_the_scan_has_the_last_word_unless_it_is_said_otherwise(registry: Registry, tmp_path: Path) -> None:
    odd = tmp_path / "odd.pkl"
    odd.write_bytes(pickle.dumps(fitted(Odd())))
    seen.clear()
    with pytest.raises(Refused, match="not on the allow-list"):
        registry.register("odd", odd, example=FRAME, grant=REQUEST)
    assert registry.models() == []
    assert seen == []


def test_a_bomb_never_runs_here_and_a_pickle_of_no_model_is_not_kept(registry: Registry, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    bomb = tmp_path / "bomb.pkl"
    bomb.write_bytes(f"cos\nmkdir\n(S'{mark}'\ntR.".encode())
    with pytest.raises(Refused, match=r"os\.mkdir"):
        registry.register("bomb", bomb, example=FRAME, grant=REQUEST)
    assert not mark.exists()
    nothing = tmp_path / "nothing.pkl"
    nothing.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(Invalid, match="no format keeps"):
        registry.register("nothing", nothing, example=FRAME, grant=REQUEST)


def test_despite_the_scan_it_loads_in_another_process_and_that_is_on_record(
    registry: Registry, tmp_path: Path, journal: SqlJournal
) -> None:
    path = tmp_path / "own.pkl"
    model = fitted(LogisticRegression())
    model.picks_ = operator.itemgetter(0)
    path.write_bytes(pickle.dumps(model))
    with pytest.raises(Refused, match=r"operator\.itemgetter"):
        registry.register("own", path, example=FRAME, grant=REQUEST)
    registry.register("own", path, example=FRAME, grant=GrantRequest("looked at it", despite_scan=True))
    (event,) = journal.read(kinds=["registry.pickle_granted"])
    assert event.payload["despite_scan"] is True
    assert "operator.itemgetter" in str(event.payload["scan"])
    assert registry.load("own").predict(FRAME)["label"].tolist() == [0, 0, 1, 1]
    with pytest.raises(Refused, match=r"operator\.itemgetter"):
        registry.grant("own", 1, REQUEST)


def test_other_formats_need_no_grant_and_get_none(registry: Registry) -> None:
    registry.register("plain", fitted(LogisticRegression()), example=FRAME)
    with pytest.raises(Invalid, match="needs no grant"):
        registry.grant("plain", 1, REQUEST)
    with pytest.raises(Invalid, match="path of a pickle"):
        registry.register("plain", fitted(LogisticRegression()), example=FRAME, grant=REQUEST)


@pytest.mark.parametrize(("reason", "days"), [("", 90), ("x", 90), ("made by us", 0), ("made by us", 400)])
def test_a_grant_needs_a_reason_and_an_end(reason: str, days: int) -> None:
    with pytest.raises(Invalid):
        GrantRequest(reason, days)


def test_a_permit_of_another_key_digest_or_time_is_refused(
    registry: Registry, version: ModelVersion, tmp_path: Path, clock: ManualClock
) -> None:
    folder = registry.materialize("churn", 1, tmp_path / "p")
    line = registry.permit(version)
    key = registry.public_key
    assert load_folder(folder, public_key=key, grant=line).flavour == "pickle"
    stranger = Signer(tmp_path / "keys")
    forged = Permit(version.digest, clock.now() + DAY_US, despite_scan=True).line(stranger)
    wrong = line.replace('"despite_scan": false', '"despite_scan": true')
    assert wrong != line
    for bad in ("", "{}", "rubbish", forged, wrong):
        with pytest.raises(Refused):
            load_folder(folder, public_key=key, grant=bad)
    with pytest.raises(Refused):
        load_folder(folder, public_key=None, grant=line)
    with pytest.raises(Refused, match="ended"):
        Permit.of(line, digest=version.digest, public_key=key, now=clock.now() + 91 * DAY_US)
    with pytest.raises(Refused, match="not for this version"):
        Permit.of(line, digest="0" * 64, public_key=key, now=clock.now())


@pytest.fixture
def served(
    sqlite_tables: Tables,
    registry: Registry,
    journal: SqlJournal,
    clock: ManualClock,
    version: ModelVersion,
    tmp_path: Path,
) -> Iterator[tuple[Serving, Supervisor]]:
    serving = Serving(
        tables=sqlite_tables,
        journal=journal,
        delta=open_delta("", tmp_path),
        registry=registry,
        clock=clock,
        folder=tmp_path / "serving",
    )
    registry.grants.tell_changes(serving.write_plan)
    serving.deploy("churn", "churn", 1)
    supervisor = Supervisor(serving.folder, ServerOptions(drain_s=0.0), prepare=serving.write_plan)
    yield serving, supervisor
    supervisor.stop()


def test_a_served_pickle_goes_when_its_grant_is_taken_back_and_comes_with_a_new_one(
    served: tuple[Serving, Supervisor], registry: Registry, version: ModelVersion
) -> None:
    serving, supervisor = served
    supervisor.start()
    supervisor.apply(serving.write_plan())
    rows = FRAME.to_dict(as_series=False)
    with Client(supervisor.url) as client:
        assert client.predict("churn", rows).outputs["label"] == [0, 0, 1, 1]
        registry.grants.revoke(version, "it misbehaves")
        with pytest.raises(MainspringError, match="only with a grant"):
            supervisor.apply(serving.write_plan())
        with pytest.raises(MainspringError, match="not loaded"):
            client.predict("churn", rows)
        registry.grant("churn", 1, GrantRequest("looked at it"))
        supervisor.apply(serving.write_plan())
        assert client.predict("churn", rows).outputs["label"] == [0, 0, 1, 1]
