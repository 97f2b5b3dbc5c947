"""The traffic table: shares of many versions, and headers that name one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import spools
from tests.unit.serving.plane import Doubling, Plane, Reply, model_of, plane

from mainspring.core.errors import Invalid
from mainspring.serving.model import Route, Shadow, Traffic
from mainspring.serving.modelserver.plan import Options, RoutePlan
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm, Table
from mainspring.serving.rules.assignment import assign

ROUTES = [
    RoutePlan(header="x-beta", value="yes", version=3),
    RoutePlan(header="x-mainspring-version"),
]


def endpoint(routes: list[RoutePlan] | None = None, **shares: float) -> Endpoint:
    """Arms in the order they are given; their versions count from 1."""
    arms = [ServedArm(name, share, model_of(Doubling(), i), "") for i, (name, share) in enumerate(shares.items(), 1)]
    return Endpoint(
        "m", tuple(arms), "weights", "", Options(deadline_ms=30_000), routes=ROUTES if routes is None else routes
    )


def through(folder: Path, made: Endpoint, act: Callable[[Plane], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        async with plane(folder) as found:
            found.app.served.table = Table(found.app.served.table.plan, {"m": made})
            await act(found)

    asyncio.run(run())


def said(reply: Reply | None) -> tuple[int, object]:
    assert reply is not None
    return reply.status, reply.body.get("model_version", reply.body.get("error"))


def test_every_version_gets_its_share_of_the_keys_and_keeps_them() -> None:
    made = endpoint([], champion=0.5, v2=0.2, v3=0.25, v4=0.05, header=0.0)
    chosen = [made.choose(f"key-{i}", None) for i in range(20_000)]
    counted = Counter(choice.arm for choice in chosen)
    assert counted.keys() == {"champion", "v2", "v3", "v4"}
    assert {arm: round(count / 20_000, 2) for arm, count in counted.items()} == {
        "champion": 0.5,
        "v2": pytest.approx(0.2, abs=0.011),
        "v3": pytest.approx(0.25, abs=0.011),
        "v4": pytest.approx(0.05, abs=0.011),
    }
    assert [choice.arm for choice in chosen[:50]] == [made.choose(f"key-{i}", None).arm for i in range(50)]
    assert {choice.propensity for choice in chosen} == {0.5, 0.2, 0.25, 0.05}


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12), st.text(max_size=20))
def test_who_answers_a_key_has_a_share(weights: list[int], key: str) -> None:
    shares = {number: weight / sum(weights) for number, weight in enumerate(weights, 1)}
    traffic = Traffic.only(1).weighted(shares, 1)
    assert assign(traffic.arms, traffic.salt, key).version in shares
    assert {arm.version: arm.share for arm in traffic.arms} == shares
    assert traffic.arms[0].name == "champion"


def test_a_header_brings_a_request_to_a_version_for_certain(tmp_path: Path) -> None:
    async def act(made: Plane) -> None:
        assert said(await made.ask()) == (200, "1")
        assert said(await made.ask(headers={"X-Beta": "yes"})) == (200, "3")
        assert said(await made.ask(headers={"x-beta": "no"})) == (200, "1")
        assert said(await made.ask(headers={"x-mainspring-version": " 2 "})) == (200, "2")
        assert said(await made.ask(headers={"x-beta": "yes", "x-mainspring-version": "2"})) == (200, "3")
        status, error = said(await made.ask(headers={"x-mainspring-version": "9"}))
        assert (status, str(error).startswith("version '9' of 'm' is not loaded")) == (404, True)
        assert 'version="3",arm="header",status="200"} 2' in made.app.metrics_text()

    through(tmp_path, endpoint(champion=1.0, v2=0.0, header=0.0), act)
    rows = spools.read(tmp_path / "spool.sqlite", "m")
    assert [(row["version"], row["arm"], row["propensity"], row["rollout"]) for row in rows] == [
        (1, "champion", 1.0, ""),
        (3, "header", 1.0, ""),
        (1, "champion", 1.0, ""),
        (2, "header", 1.0, ""),
        (3, "header", 1.0, ""),
    ]


def test_a_version_in_the_path_counts_more_than_a_header(tmp_path: Path) -> None:
    async def act(made: Plane) -> None:
        body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]},'
        body += b'{"name":"name","shape":[1],"datatype":"BYTES","data":["a"]}]}'
        path = "/v2/models/m/versions/1/infer"
        assert said(await made.call("POST", path, body, headers={"x-beta": "yes"})) == (200, "1")

    through(tmp_path, endpoint(champion=1.0, v2=0.0, header=0.0), act)


@pytest.mark.parametrize(
    ("header", "value", "version"),
    [("X-Upper", "a", 1), ("authorization", "a", 1), ("a b", "a", 1), ("x", "a", None), ("x", "", 1), ("x", "é", 1)],
)
def test_a_route_that_means_nothing_is_refused(header: str, value: str, version: int | None) -> None:
    with pytest.raises(Invalid):
        Route(header, value, version)


def test_traffic_in_words_has_all_of_it() -> None:
    made = Traffic.only(1).weighted({1: 0.75, 2: 0.25, 4: 0.0}, 1)
    made = Traffic(made.arms, shadows=(Shadow(3, 0.5),), routes=(Route("x-beta", "yes", 5), Route("x-version")))
    assert made.words == ("champion 1: 75%, v2 2: 25%, shadow 3: 50%, x-beta: yes to 5, x-version names a version")
    assert (set(made.versions), made.routed_only) == ({1, 2, 3, 5}, [5])
