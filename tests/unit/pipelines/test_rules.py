from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.pipelines.model import Artifact, Dataset, KeyParts, StepOptions, StepRun, StepState
from mainspring.pipelines.rules import changes, levels, order, pick, table_diff, why_it_ran


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Graphs without cycles, their steps in any order."""
    names = [f"s{number}" for number in range(draw(st.integers(0, 8)))]
    needs = {name: draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else [] for i, name in enumerate(names)}
    return {name: needs[name] for name in draw(st.permutations(names))}


@given(graphs())
def test_every_step_comes_after_all_that_it_needs(needs: dict[str, list[str]]) -> None:
    found = order(needs)
    assert sorted(found) == sorted(needs)
    for step in needs:
        assert all(found.index(other) < found.index(step) for other in needs[step])


@given(graphs())
def test_levels_hold_every_step_once_and_nothing_needs_its_own_level(needs: dict[str, list[str]]) -> None:
    found = levels(needs)
    assert sorted(step for level in found for step in level) == sorted(needs)
    for number, level in enumerate(found):
        earlier = {step for before in found[:number] for step in before}
        assert all(set(needs[step]) <= earlier for step in level)


def test_a_cycle_is_refused_with_its_way() -> None:
    with pytest.raises(Invalid, match="the steps need each other: b -> c -> b"):
        order({"a": ["b"], "b": ["c"], "c": ["b"]})


def test_a_step_that_is_not_there_is_named() -> None:
    with pytest.raises(Invalid, match="step a needs b, which is not in the pipeline"):
        order({"a": ["b"]})


PARTS = KeyParts(function="train", code={"function": "c1", "a.b": "c2"}, params={"n": 1}, inputs={"x": "d1"}, lock="l1")
parts = st.builds(
    KeyParts,
    function=st.sampled_from(["f", "g"]),
    code=st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
    params=st.dictionaries(st.sampled_from("ab"), st.integers(0, 2)),
    inputs=st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
    lock=st.sampled_from(["l1", "l2"]),
)


@given(parts, parts)
def test_keys_are_equal_exactly_when_nothing_changed(before: KeyParts, after: KeyParts) -> None:
    assert (before.key() == after.key()) is (changes(before, after) == ())


@given(parts)
def test_parts_come_back_from_json_as_they_were(given_parts: KeyParts) -> None:
    assert KeyParts.from_json(given_parts.to_json()) == given_parts


def test_every_part_of_the_key_changes_it() -> None:
    others = [
        KeyParts(**{**PARTS.to_json(), name: value})  # type: ignore[arg-type]
        for name, value in {
            "function": "test",
            "code": {"function": "c9"},
            "params": {"n": True},
            "inputs": {"x": "d2"},
            "datasets": {"d": "datasets/d/1"},
            "files": {"f": "1"},
            "env": {"E": "1"},
            "lock": "l2",
            "barrier": "b",
        }.items()
    ]
    assert len({PARTS.key(), *(other.key() for other in others)}) == 10


def test_packages_are_compared_by_name() -> None:
    found = table_diff(["a==1", "b==1", "c==2"], ["a==1", "b==2", "d==1"])
    assert [(c.name, c.before, c.after) for c in found] == [("b", "1", "2"), ("c", "2", "absent"), ("d", "absent", "1")]


def test_a_part_of_a_stored_result_has_a_digest_of_its_own() -> None:
    group = Artifact.group("dict", (("train", Artifact("json", "1" * 64, 3)), ("test", Artifact("json", "2" * 64, 4))))
    assert pick(group, ("train",), "split").digest == "1" * 64
    assert Artifact.from_json(group.to_json()) == group
    with pytest.raises(Invalid, match="no part 'valid'"):
        pick(group, ("valid",), "split")


def step(state: StepState, **more: object) -> StepRun:
    known: dict[str, object] = {"id": "s", "function": "m:s", "needs": (), "state": state, "parts": PARTS, **more}
    return StepRun(**known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "earlier", "may_reuse", "words"),
    [
        (step(StepState.CACHED, source="r1"), step(StepState.FINISHED), True, "did not run"),
        (step(StepState.FINISHED), None, True, "for the first time"),
        (step(StepState.FINISHED), step(StepState.FINISHED), False, "it always runs"),
        (step(StepState.FINISHED), step(StepState.FINISHED), True, "no stored result was there"),
    ],
)
def test_why_is_one_sentence(now: StepRun, earlier: StepRun | None, may_reuse: bool, words: str) -> None:
    assert words in why_it_ran(now, earlier, (), may_reuse=may_reuse)


def test_a_reference_to_a_dataset_has_name_and_version() -> None:
    assert (Dataset("flights").name, Dataset("flights").version) == ("flights", None)
    assert (Dataset("datasets/flights/3").name, Dataset("datasets/flights/3").version) == ("flights", 3)


@pytest.mark.parametrize("wrong", [{"retries": -1}, {"timeout_s": 0}, {"retry_in_s": -1}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        StepOptions(**wrong)  # type: ignore[arg-type]


def test_a_step_with_side_effects_is_never_taken_from_the_cache() -> None:
    assert not StepOptions(side_effect=True, cache=True).may_reuse
