from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.ids import is_id
from mainspring.storage.jobs import JobState, backoff_s, job_id


def test_the_same_parts_give_the_same_id_and_others_another() -> None:
    assert job_id("nightly", 1) == job_id("nightly", 1)
    assert len({job_id("nightly", 1), job_id("nightly", 2), job_id("nightly", "1"), job_id("nightly1")}) == 4
    assert is_id(job_id("nightly", 1))


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (10_000, 300.0)]
)
def test_the_wait_doubles_up_to_its_cap(attempt: int, longest: float) -> None:
    waits = [backoff_s(attempt, seed=str(n)) for n in range(200)]
    assert longest / 2 <= min(waits) < 0.55 * longest
    assert 0.95 * longest < max(waits) <= longest


@given(st.integers(1, 100), st.text(), st.floats(0.001, 100), st.floats(0.001, 1000))
def test_the_wait_is_within_its_bounds_and_repeatable(attempt: int, seed: str, base: float, most: float) -> None:
    wait = backoff_s(attempt, seed=seed, base_s=base, most_s=most)
    longest = min(most, base * 2.0 ** (attempt - 1))
    assert longest / 2 <= wait <= longest
    assert wait == backoff_s(attempt, seed=seed, base_s=base, most_s=most)


def test_queued_and_running_are_not_final() -> None:
    assert [state for state in JobState if not state.is_final] == [JobState.QUEUED, JobState.RUNNING]
