from __future__ import annotations

from functools import partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.serving.counting import ROW_COLUMNS, Gathered, evidence_of, labels_frame
from mainspring.serving.gathering import Gatherer
from mainspring.serving.model import Rollout, StoredFeedback
from mainspring.serving.rules.decision import RolloutSpec
from mainspring.serving.rules.eprocess import BadEvents

SPEC = RolloutSpec(latency_us=1000)
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "request_id": pl.String,
    "at": pl.Int64,
    "event_at": pl.Int64,
    "arm": pl.String,
    "propensity": pl.Float64,
    "key": pl.String,
    "status": pl.Int64,
    "latency_us": pl.Int64,
    "probability": pl.Float64,
    "prediction": pl.Float64,
    "label_out": pl.String,
    "probabilities": pl.List(pl.Float64),
    "marks": pl.List(pl.String),
}


def row(i: int, arm: str = "canary", share: float = 0.25, **changes: object) -> dict[str, object]:
    plain = {"id": f"p{i}", "request_id": f"p{i}", "at": i, "event_at": 10 * i, "arm": arm, "key": f"p{i}"}
    plain |= {"propensity": share if arm == "canary" else 1 - share, "status": 200, "latency_us": 10}
    return {**plain, "probability": 0.9, "prediction": None, "label_out": "1", "marks": [], **changes}


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA).select(ROW_COLUMNS)


def labels(**values: float | str) -> pl.DataFrame:
    return labels_frame(StoredFeedback(i, name, "label", value, 0, 0) for i, (name, value) in enumerate(values.items()))


def test_each_signal_counts_its_bad_events_per_arm() -> None:
    rows = frame(row(1), row(2, "champion"), row(3, status=500, probability=None), row(4, "champion", latency_us=2000))
    found = evidence_of(rows, labels(p1=0.0, p2=1.0, p4=0.0), SPEC, share=0.25)
    assert found.counts == {
        "errors": (BadEvents(0.25, 1, 0),),
        "latency": (BadEvents(0.25, 0, 1),),
        "quality": (BadEvents(0.25, 1, 1),),
    }
    assert (found.requests, found.labelled, found.error_run, found.elapsed_us) == ((2, 2), (2, 1), 1, 30)


@pytest.mark.parametrize(("named", "canary"), [(("far",), 1), (("far", "unsure"), 2), (("*",), 3), (("fa",), 0)])
def test_rules_that_are_declared_bad_count_once_a_key_whatever_they_did(named: tuple[str, ...], canary: int) -> None:
    spec = RolloutSpec(bad_rules=named)
    marks: tuple[list[str], ...] = (
        ["far:refuse"],
        ["unsure:queue", "odd:default"],
        ["odd:default"],
        ["far:default"],
        [],
    )
    rows = [row(i, marks=found, key=f"k{i % 3}") for i, found in enumerate(marks)]
    found = evidence_of(frame(*rows, row(9, "champion")), labels(), spec, share=0.25).counts["rules"]
    assert sum(entry.canary for entry in found) == canary
    assert "rules" not in evidence_of(frame(*rows), labels(), SPEC, share=0.25).counts


def test_requests_that_named_a_version_do_not_count() -> None:
    rows = frame(row(1, "direct", propensity=None, status=500), row(2))
    assert evidence_of(rows, labels(), SPEC, share=0.25).requests == (0, 1)


def test_an_answer_without_any_value_is_an_error_where_others_have_one() -> None:
    empty = row(1, probability=None, label_out=None)
    assert evidence_of(frame(empty, row(2)), labels(), SPEC, share=0.25).counts["errors"] == (BadEvents(0.25, 1, 0),)
    assert evidence_of(frame(empty), labels(), SPEC, share=0.25).counts["errors"] == ()
    several = row(1, probability=None, label_out=None, probabilities=[0.2, 0.8])
    assert evidence_of(frame(several, row(2)), labels(), SPEC, share=0.25).counts["errors"] == ()


def test_a_row_logged_twice_counts_once() -> None:
    assert evidence_of(frame(row(1), row(1)), labels(p1=0.0), SPEC, share=0.25).counts["quality"] == (
        BadEvents(0.25, 1, 0),
    )


def test_a_prediction_that_was_sent_again_in_a_later_turn_counts_once() -> None:
    gathered = Gathered(SPEC)
    for turn in (frame(row(1), row(2, "champion")), frame(row(1), row(3)), frame(row(3), row(2, "champion"))):
        gathered.add(turn, labels())
    assert gathered.evidence(SPEC, share=0.25).requests == (1, 2)


def test_a_routing_key_counts_once_by_its_first_label() -> None:
    rows = frame(row(1, key="k"), row(2, key="k"), row(3, key="k"))
    assert evidence_of(rows, labels(p2=0.0, p1=1.0, p3=0.0), SPEC, share=0.25).counts["quality"] == (
        BadEvents(0.25, 1, 0),
    )
    assert evidence_of(rows, labels(p1=1.0, p2=0.0, p3=0.0), SPEC, share=0.25).counts["quality"] == ()


def test_steps_are_told_apart_by_the_logged_propensity() -> None:
    rows = frame(row(1, share=0.1), row(2, "champion", share=0.1), row(3, share=0.5), row(4, "champion", share=0.5))
    found = evidence_of(rows, labels(p1=0.0, p2=0.0, p3=0.0, p4=0.0), SPEC, share=0.5)
    assert found.counts["quality"] == (BadEvents(0.1, 1, 1), BadEvents(0.5, 1, 1))
    assert found.step["quality"] == (BadEvents(0.5, 1, 1),)
    assert found.elapsed_us == 10


def test_beside_standing_shares_the_canary_is_held_against_what_it_and_the_champion_get() -> None:
    champion = partial(row, arm="champion", propensity=0.6 * 0.8)  # of what is left beside a canary of a fifth
    rows = frame(row(1, share=0.2), champion(2), row(3, "v3", propensity=0.4 * 0.8))
    found = evidence_of(rows, labels(p1=0.0, p2=0.0, p3=0.0), SPEC, share=0.2, weight=0.6)
    (both,) = found.step["quality"]
    assert both.share == pytest.approx(0.2 / (0.2 + 0.48), abs=1e-9)
    assert (both.canary, both.champion) == (1, 1)
    assert found.requests == (1, 1)


def test_numbers_are_wrong_beyond_the_limit_and_unjudged_without_one() -> None:
    rows = frame(*(row(i, probability=None, label_out=None, prediction=10.0) for i in (1, 2)))
    known = labels(p1=12.0, p2=19.0)
    assert "quality" not in evidence_of(rows, known, SPEC, share=0.25).counts
    limited = RolloutSpec(error_limit=5.0)
    assert evidence_of(rows, known, limited, share=0.25).counts["quality"] == (BadEvents(0.25, 1, 0),)


def test_classes_are_compared_by_name() -> None:
    rows = frame(row(1, label_out="cat"), row(2, label_out="dog"), row(3, probability=None, label_out="3"))
    found = evidence_of(rows, labels(p1="cat", p2="cat", p3=3.0), SPEC, share=0.25)
    assert found.counts["quality"] == (BadEvents(0.25, 1, 0),)


@pytest.mark.parametrize(("statuses", "longest"), [([500] * 3, 3), ([500, 200, 500, 500, 200], 2), ([200], 0)])
def test_the_longest_run_of_errors_is_found(statuses: list[int], longest: int) -> None:
    rows = frame(*(row(i, status=status) for i, status in enumerate(statuses)))
    assert evidence_of(rows, labels(), SPEC, share=0.25).error_run == longest


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)))
def test_the_order_in_which_rows_are_stored_does_not_matter(order: list[int]) -> None:
    made = [
        row(i, "canary" if i % 3 else "champion", status=500 if i % 4 == 0 else 200, key=f"k{i % 7}") for i in range(12)
    ]
    known = labels(**{f"p{i}": float(i % 2) for i in range(12)})
    whole = evidence_of(frame(*made), known, SPEC, share=0.25)
    assert evidence_of(frame(*(made[i] for i in order)), known, SPEC, share=0.25) == whole


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([("canary", 0.25), ("champion", 0.25), ("canary", 0.5), ("champion", 0.5)]),
        st.sampled_from([200, 200, 422, 500]),
        st.sampled_from([10, 5000]),
        st.integers(0, 6),  # the routing key
        st.sampled_from([None, 0.0, 1.0]),  # the label
        st.booleans(),  # an answer without a value
    ),
    min_size=1,
    max_size=14,
)


@given(EVENTS, st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=3))
def test_turns_that_read_what_is_new_find_what_one_that_reads_all_finds(
    events: list[tuple[tuple[str, float], int, int, int, float | None, bool]], cuts: list[tuple[int, int]]
) -> None:
    rows, known = [], []
    for i, ((arm, share), status, latency, key, label, is_empty) in enumerate(events):
        value = None if is_empty or status >= 400 else 0.9
        said = {"probability": value, "label_out": None if value is None else "1", "latency_us": latency}
        rows.append(
            {**row(i, arm, share, status=status, key=f"k{key}", **said), "spool": "s", "seq": i, "rollout": "r"}
        )
        known += [StoredFeedback(i + 1, f"p{i}", "label", label, 0, 0)] if label is not None else []
    log = pl.DataFrame(rows, schema={**SCHEMA, "spool": pl.String, "seq": pl.Int64, "rollout": pl.String})
    found, gatherer = Rollout("r", "d", 1, 2, 0.25, 0, SPEC, "running", 0), Gatherer()
    turns = zip(sorted(cut[0] for cut in cuts), sorted(cut[1] for cut in cuts), strict=True)
    for read, told in [*turns, (len(rows), len(known))]:
        now = gatherer.evidence(found, log.head(read).lazy(), partial(above, known[:told]))
    assert now == evidence_of(log.select(ROW_COLUMNS), labels_frame(known), SPEC, share=0.25)


def above(items: list[StoredFeedback], after: int) -> list[StoredFeedback]:
    return [item for item in items if item.seq > after]
