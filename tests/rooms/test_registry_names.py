"""Names, stages, deletion and copies in the registry, on real storage; and versions without a package of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sklearn.linear_model import LinearRegression

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Conflict, Invalid, NotFound, Refused
from mainspring.registry import ModelVersion, Origin, Registry
from mainspring.registry.model import STAGES, CardWords
from mainspring.registry.packages import load_folder
from mainspring.registry.rules import folder_name
from mainspring.registry.searching import ModelSearch
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.tracking import Artifact

FRAME = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
ODD = ["Café (v2), daily", "a b", "x" * 256, "%41", "-rf", "d'or", "日本語", ".hidden", "a\\b"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000)


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


@pytest.fixture
def registry(tables: Tables, clock: ManualClock, blobs: FileBlobs, tmp_path: Path) -> Registry:
    return Registry(
        tables=tables, journal=SqlJournal(tables, clock), blobs=blobs, clock=clock, folder=tmp_path / "data"
    )


def register(registry: Registry, name: str = "flights", slope: float = 1.0) -> ModelVersion:
    model = LinearRegression().fit(FRAME.to_numpy(), slope * FRAME["a"].to_numpy())
    return registry.register(name, model, example=FRAME)


def pointer(registry: Registry, name: str = "flights") -> ModelVersion:
    """A version without a package."""
    return registry.add_version(name, Origin(source="s3://bucket/m"))


@pytest.mark.parametrize("name", ODD)
def test_any_text_names_a_model_and_its_package_loads(registry: Registry, name: str) -> None:
    assert register(registry, name).ref == f"models/{name}/1"
    assert registry.load(name, 1).predict(FRAME)["prediction"].tolist() == pytest.approx([0, 1, 2, 3], abs=1e-9)


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", ".", "..", "../a", "x" * 257, "a\nb", "a\x00b", "a\x1b[1m"])
def test_what_would_be_a_path_or_unseen_is_no_name(registry: Registry, name: str) -> None:
    with pytest.raises(Invalid):
        registry.create_model(name)


def test_names_that_differ_have_folders_that_differ() -> None:
    assert len({folder_name(name).lower() for name in ODD}) == len(ODD)
    assert all("/" not in folder_name(name) and len(folder_name(name)) < 100 for name in ODD)


def test_a_renamed_model_is_found_by_both_names_and_signed_under_the_new_one(
    registry: Registry, tmp_path: Path
) -> None:
    version = register(registry)
    registry.set_alias("flights", "champion", 1)
    registry.rename("flights", "delays")
    for name in ("flights", "delays"):
        assert registry.get(name, "champion").ref == "models/delays/1"
        assert registry.verify(name, 1).digest == version.digest
    folder = registry.materialize("flights", 1, tmp_path / "out")
    assert load_folder(folder, public_key=registry.public_key, expected=version.digest).digest == version.digest
    assert register(registry, "flights").ref == "models/delays/2"
    assert [model.name for model in registry.models()] == ["delays"]


def test_a_model_renamed_twice_is_found_by_all_its_names(registry: Registry) -> None:
    pointer(registry, "a")
    registry.rename("a", "b")
    registry.rename("b", "c")
    registry.rename("c", "a")
    assert {registry.get(name, 1).model for name in "abc"} == {"a"}


def test_a_name_that_was_given_up_may_be_taken_but_not_its_numbers(registry: Registry) -> None:
    pointer(registry, "a")
    pointer(registry, "a")
    registry.rename("a", "b")
    registry.create_model("a")
    assert pointer(registry, "a").number == 3
    assert registry.get("b", 1).model == "b"
    with pytest.raises(NotFound):
        registry.get("a", 1)


def test_a_name_under_which_a_deployment_looks_is_not_given_away(registry: Registry) -> None:
    pointer(registry, "a")
    registry.rename("a", "b")
    registry.tell_users(lambda model, version: ["deployments/x"] if model == "a" else [])
    registry.create_model("other")
    with pytest.raises(Conflict, match="deployments/x"):
        registry.create_model("a")
    with pytest.raises(Conflict, match="deployments/x"):
        registry.rename("other", "a")
    with pytest.raises(Conflict, match="deployments/x"):
        registry.delete_model("b")


def test_a_deleted_model_is_gone_and_its_numbers_are_not_given_again(registry: Registry) -> None:
    for _ in range(2):
        pointer(registry)
    registry.set_alias("flights", "champion", 2)
    registry.delete_model("flights")
    with pytest.raises(NotFound):
        registry.model("flights")
    with pytest.raises(NotFound):
        registry.get("flights", 1)
    assert registry.alias_at("flights", "champion", 2**40) is None
    assert pointer(registry).number == 3
    assert registry.model("flights").aliases == {}


def test_a_deleted_version_takes_its_aliases_along_and_leaves_their_history(
    registry: Registry, clock: ManualClock
) -> None:
    for _ in range(2):
        pointer(registry)
    registry.set_alias("flights", "champion", 2)
    registry.move_to_stage("flights", 2, "production")
    clock.advance(100)
    registry.delete_version("flights", 2)
    assert registry.model("flights").aliases == {}
    assert registry.model("flights").latest == 1
    assert registry.alias_at("flights", "champion", 1_050) == 2
    assert registry.in_stage_at("flights", "Production", 1_050) == [2]
    assert registry.in_stage_at("flights", "Production", 1_100) == []
    with pytest.raises(NotFound, match="has no version 2"):
        registry.get("flights", 2)


def test_what_a_deployment_serves_is_not_deleted(registry: Registry) -> None:
    pointer(registry)
    registry.tell_users(lambda model, version: ["deployments/live"] if version in (None, 1) else [])
    with pytest.raises(Conflict, match="deployments/live serves it"):
        registry.delete_version("flights", 1)
    assert registry.get("flights", 1).number == 1


def test_what_was_in_production_at_any_moment_is_known(registry: Registry, clock: ManualClock) -> None:
    for _ in range(3):
        pointer(registry)
    for version in (1, 2, 3):
        clock.advance(100)
        registry.move_to_stage("flights", version, "Production", archive_others=version != 2, reason="better")
    asked = [registry.in_stage_at("flights", "production", at) for at in (1_099, 1_100, 1_200, 1_300)]
    assert asked == [[], [1], [1, 2], [3]]
    assert registry.in_stage_at("flights", "Archived", 1_300) == [1, 2]
    assert [change.stage for change in registry.stage_history("flights", 1)] == ["Archived", "Production"]


def test_a_copy_in_another_project_has_the_same_bytes_and_a_seal_of_its_own(registry: Registry, tmp_path: Path) -> None:
    version = register(registry)
    copied = registry.copy("flights", 1, project="live", reason="approved")
    assert (copied.digest, copied.source) == (version.digest, "models/flights/1 of project default")
    with calling(Caller(project="live")):
        assert registry.verify("flights", 1).description == "approved"
    other = registry.copy("flights", 1, to="delays")
    assert registry.materialize("delays", other.number, tmp_path / "out").is_dir()
    with pytest.raises(Invalid, match="onto its own model"):
        registry.copy("flights", 1)


def test_a_promotion_waits_for_what_the_gates_say(registry: Registry) -> None:
    register(registry)
    registry.tell_judges(lambda names, version: ["gate promote came to fail"])
    with pytest.raises(Refused, match="gate promote came to fail"):
        registry.promote("flights", 1)
    registry.tell_judges(lambda names, version: [])
    assert registry.promote("flights", 1).alias == "champion"


def test_who_deletes_a_version_waits_for_who_holds_it_and_looks_for_users_then(
    registry: Registry, tables: Tables
) -> None:
    pointer(registry)
    used: list[str] = []
    registry.tell_users(lambda model, version: list(used))
    with ThreadPoolExecutor(1) as pool:
        with tables.write() as conn:
            assert registry.hold(conn, "flights", 1).number == 1
            gone = pool.submit(registry.delete_version, "flights", 1)
            time.sleep(0.1)  # so that it would be through by now if it did not wait
            used.append("deployments/live")
        with pytest.raises(Conflict, match="deployments/live"):
            gone.result(30)
    used.clear()
    registry.delete_version("flights", 1)
    with tables.write() as conn, pytest.raises(NotFound):
        registry.hold(conn, "flights", 1)


def test_the_card_of_a_version_is_found_after_its_model_was_renamed(registry: Registry) -> None:
    pointer(registry, "a")
    words = CardWords("to know who is late", "", (), 1, 1_000, "ada")
    registry.tell_cards(lambda model, version: words if (model, version) == ("a", 1) else None)
    registry.rename("a", "b")
    assert [registry.card(name, 1) for name in ("a", "b")] == [words, words]


def test_a_version_that_points_elsewhere_says_what_it_lacks(registry: Registry, tmp_path: Path) -> None:
    pointer(registry)
    with pytest.raises(Refused, match="s3://bucket/m"):
        registry.materialize("flights", 1, tmp_path / "out")
    with pytest.raises(Refused, match=r"lacks its files .* and a signature"):
        registry.load("flights", 1)
    assert registry.files("flights", 1) == []


@pytest.mark.parametrize(
    "text",
    [b"", b"flavors: 5", b"[1]", b"\xff\xfe", b"a: &x [1]\nb: *x\nflavors: {p: {}}", b"!!python/object:os.system {}"],
)
def test_a_folder_whose_description_makes_no_sense_is_kept_as_files(
    registry: Registry, blobs: FileBlobs, text: bytes
) -> None:
    files = [Artifact("MLmodel", blobs.put(text), len(text), 0), Artifact("manifest.json", blobs.put(b"{}"), 2, 0)]
    made = registry.add_version("flights", Origin(source="runs:/x/m"), files=files)
    assert (made.flavour, made.signature) == ("", None)
    assert [entry.path for entry in registry.files("flights", 1)] == [
        "manifest.json",
        "model/MLmodel",
        "model/manifest.json",
    ]
    assert registry.verify("flights", 1).digest == made.digest


def test_an_input_example_of_a_folder_is_read(registry: Registry, blobs: FileBlobs) -> None:
    description = (
        b"flavors: {python_function: {}}\nsaved_input_example_info: {artifact_path: input_example.json}\n"
        b'signature: {inputs: \'[{"type": "double", "name": "a"}]\', outputs: null}\n'
    )
    example = b'{"columns": ["a"], "data": [[1.5], [2.5]]}'
    files = [
        Artifact("MLmodel", blobs.put(description), len(description), 0),
        Artifact("input_example.json", blobs.put(example), len(example), 0),
    ]
    made = registry.add_version("flights", Origin(), files=files)
    assert made.example.inputs == {"a": [1.5, 2.5]}
    assert registry.get("flights", 1) == made


def _folder_of(blobs: FileBlobs, name: str, data: bytes) -> list[Artifact]:
    description = (
        f"flavors: {{sklearn: {{pickled_model: {name}}}}}\n"
        "saved_input_example_info: {artifact_path: input_example.json}\n"
        'signature: {inputs: \'[{"type": "double", "name": "a"}]\', outputs: null}\n'
    ).encode()
    texts = {"MLmodel": description, "input_example.json": b'{"columns": ["a"], "data": [[1.5]]}', name: data}
    return [Artifact(path, blobs.put(text), len(text), 0) for path, text in texts.items()]


def test_a_folder_whose_model_is_data_is_adopted_once_and_answers(registry: Registry, blobs: FileBlobs) -> None:
    import skops.io

    model = LinearRegression().fit(FRAME.to_numpy(), 2 * FRAME["a"].to_numpy())
    files = _folder_of(blobs, "model.skops", skops.io.dumps(model))
    registry.add_version("flights", Origin(source="runs:/x/m", run_id="r"), files=files)
    with pytest.raises(Refused, match="models adopt flights 1"):
        registry.load("flights", 1)
    made = registry.adopt("flights", 1)
    assert registry.adopt("flights", 1) == made
    assert (made.number, made.source, made.run_id, made.task) == (2, "models/flights/1", "r", "regression")
    assert registry.load("flights", 2).predict(FRAME)["prediction"].tolist() == pytest.approx([0, 2, 4, 6], abs=1e-9)


def test_a_folder_whose_model_is_a_pickle_is_not_adopted(registry: Registry, blobs: FileBlobs) -> None:
    registry.add_version("flights", Origin(), files=_folder_of(blobs, "model.pkl", b"\x80\x04N."))
    with pytest.raises(Refused, match="no pickle"):
        registry.adopt("flights", 1)
    pointer(registry)
    with pytest.raises(Refused, match="without a package and a signature"):
        registry.adopt("flights", 2)


def test_a_search_speaks_the_whole_language(registry: Registry, tables: Tables, clock: ManualClock) -> None:
    for name in ("a", "b", "c"):
        registry.create_model(name, tags={"team": name})
        pointer(registry, name)
    registry.move_to_stage("b", 1, "staging")
    search = ModelSearch(tables=tables, clock=clock)
    found = search.models("tags.team IN ('a', 'c') OR name = 'b'", order_by=["name DESC"], limit=2)
    assert [model.name for model in found.items] == ["c", "b"]
    following = search.models(
        "tags.team IN ('a', 'c') OR name = 'b'", order_by=["name DESC"], limit=2, page_token=found.next_token
    )
    assert [model.name for model in following.items] == ["a"]
    assert [version.model for version in search.versions("stage = 'Staging'").items] == ["b"]
    assert search.versions("NOT (name != 'a')").items[0].model == "a"


class World(RuleBasedStateMachine):
    """Any sequence of registering, deleting, aliases and stages agrees with plain dicts."""

    make: Callable[[], str]
    registry: Registry
    clock: ManualClock

    @initialize()
    def start(self) -> None:
        self.name = type(self).make()
        self.counted = 0
        self.stages: dict[int, str] = {}
        self.aliases: dict[str, int] = {}
        self.past: list[tuple[int, dict[int, str], dict[str, int]]] = []

    def _remember(self) -> None:
        self.past.append((self.clock.now(), dict(self.stages), dict(self.aliases)))
        self.clock.advance(1)

    @rule()
    def register(self) -> None:
        self.counted += 1
        assert self.registry.add_version(self.name, Origin()).number == self.counted
        self.stages[self.counted] = "None"
        self._remember()

    @rule(pick=st.integers(0, 9), stage=st.sampled_from(STAGES), archive=st.booleans())
    def move(self, pick: int, stage: str, archive: bool) -> None:
        if not self.stages:
            return
        number = sorted(self.stages)[pick % len(self.stages)]
        archive = archive and stage in ("Staging", "Production")
        self.registry.move_to_stage(self.name, number, stage.upper(), archive_others=archive)
        for other, there in self.stages.items():
            if archive and there == stage and other != number:
                self.stages[other] = "Archived"
        self.stages[number] = stage
        self._remember()

    @rule(pick=st.integers(0, 9), alias=st.sampled_from(["champion", "challenger"]))
    def point(self, pick: int, alias: str) -> None:
        if self.stages:
            number = sorted(self.stages)[pick % len(self.stages)]
            self.registry.set_alias(self.name, alias, number)
            self.aliases[alias] = number
            self._remember()

    @rule(pick=st.integers(0, 9))
    def delete(self, pick: int) -> None:
        if self.stages:
            number = sorted(self.stages)[pick % len(self.stages)]
            self.registry.delete_version(self.name, number)
            del self.stages[number]
            self.aliases = {alias: there for alias, there in self.aliases.items() if there != number}
            self._remember()

    @rule()
    def rename(self) -> None:
        if self.counted:
            self.name = self.registry.rename(self.name, type(self).make()).name

    @invariant()
    def now_and_then_agree(self) -> None:
        if not getattr(self, "counted", 0):
            return
        model = self.registry.model(self.name)
        found = {version.number: version for version in self.registry.versions(self.name)}
        assert model.aliases == self.aliases
        assert {number: version.stage for number, version in found.items()} == self.stages
        assert model.latest == max(self.stages, default=0)
        for at, stages, aliases in self.past[-3:]:
            for stage in STAGES:
                wanted = sorted(number for number, there in stages.items() if there == stage)
                assert self.registry.in_stage_at(self.name, stage, at) == wanted
            for alias in ("champion", "challenger"):
                assert self.registry.alias_at(self.name, alias, at) == aliases.get(alias)


def test_any_sequence_of_changes_agrees_with_plain_dicts(sqlite_database: Callable[[], Tables], tmp_path: Path) -> None:
    clock = ManualClock(1_000)
    tables = sqlite_database()
    registry = Registry(
        tables=tables,
        journal=SqlJournal(tables, clock),
        blobs=FileBlobs(tmp_path / "b"),
        clock=clock,
        folder=tmp_path / "data",
    )
    numbers = iter(range(100_000))
    make = staticmethod(lambda: f"flights {next(numbers)}")
    machine = type("Machine", (World,), {"make": make, "registry": registry, "clock": clock})
    run_state_machine_as_test(machine, settings=settings(max_examples=20, stateful_step_count=15, deadline=None))
    tables.close()
