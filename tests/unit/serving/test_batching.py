from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.errors import Failed, Overloaded
from mainspring.serving.modelserver.asking import Outputs
from mainspring.serving.modelserver.batching import Batcher
from mainspring.serving.modelserver.columns import Column, Whole, plain


class Doubling:
    """A small real model: doubles x, and can't answer 13."""

    def __init__(self) -> None:
        self.calls = 0
        self.row_s = self.call_s = 0.0
        self.waits = False

    def predict(self, columns: Sequence[Column]) -> dict[str, list[object]]:
        self.calls += 1
        values = [float(value or 0.0) for value in plain(columns[0])]
        if 13.0 in values:
            raise ValueError("13")
        return {"twice": [value * 2 for value in values]}


async def _ask(
    requests: Sequence[Sequence[float]], model: Doubling, max_rows: int = 50_000
) -> list[Outputs | BaseException]:
    """Requests of one column each; a tuple of rows came as a matrix."""
    batcher = Batcher(asyncio.get_running_loop(), max_queued_rows=max_rows)
    try:
        futures = [batcher.submit(model, _columns(rows)).future for rows in requests]
        return await asyncio.gather(*futures, return_exceptions=True)
    finally:
        await asyncio.to_thread(batcher.close)


def _columns(rows: Sequence[float]) -> Sequence[Column]:
    return Whole(np.array([rows]).T) if isinstance(rows, tuple) else [list(rows)]


ROWS = st.lists(st.integers(0, 15).map(float), min_size=1, max_size=5)
MATRICES = ROWS.map(tuple)
REQUESTS = st.lists(ROWS, min_size=1, max_size=20) | st.lists(MATRICES, min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(REQUESTS | st.lists(ROWS | MATRICES, min_size=1, max_size=20))
def test_however_requests_are_grouped_each_gets_its_own_answer(requests: list[Sequence[float]]) -> None:
    answers = asyncio.run(_ask(requests, Doubling()))
    for rows, answer in zip(requests, answers, strict=True):
        if 13.0 in rows:
            assert isinstance(answer, Failed)
        else:
            assert answer == {"twice": [value * 2 for value in rows]}


def test_requests_that_wait_together_are_answered_by_few_calls() -> None:
    model = Doubling()
    asyncio.run(_ask([[1.0]] * 200, model))
    assert model.calls < 200


def test_above_its_limit_the_queue_refuses_rather_than_grows() -> None:
    with pytest.raises(Overloaded):
        asyncio.run(_ask([[1.0] * 6, [1.0] * 6], Doubling(), max_rows=10))


def test_a_single_request_above_the_limit_is_answered_when_nothing_waits() -> None:
    assert asyncio.run(_ask([[1.0] * 20], Doubling(), max_rows=10)) == [{"twice": [2.0] * 20}]
