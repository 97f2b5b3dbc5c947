"""Bandits over log and feedback: what steers the shares, what is on record, and what every door says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from sklearn.linear_model import LinearRegression
from tests import spools
from tests.rooms.test_rollout_states import FRAME, START, House, opened
from tests.unit.serving.plane import Doubling, model_of

from mainspring.core.clock import SECOND_US
from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.settings import load
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving import Feedback, Serving, bandit_commands
from mainspring.serving.model import Bandit
from mainspring.serving.modelserver.plan import SPOOLS, Options, read_plan
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm
from mainspring.serving.rules.bandit import BanditSpec

SPEC = BanditSpec(absent=0.0, within_s=60)
COLUMNS = [("a", "float"), ("b", "float")]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with opened() as made:
        yield made


def answered(house: House, found: Bandit, rates: dict[int, float], count: int, *, name: str) -> None:
    """So many answers of each version by its share into the log, and clicks for a part of them."""
    rng, rows, clicks = np.random.default_rng(count), [], []
    shares = {arm.version: arm.share for arm in house.serving.get(found.deployment).traffic.arms}
    for i in range(count):
        version = int(rng.choice(list(shares), p=list(shares.values())))
        about = {"id": f"{name}{i}", "request_id": f"{name}{i}", "key": f"k{name}{i}", "event_at": START}
        about |= {"at": house.clock.now(), "version": version, "propensity": shares[version], "rollout": found.id}
        rows.append({**about, "inputs": [rng.normal(), 0.0], "outputs": {"prediction": 1.0}})
        clicks += [Feedback(f"{name}{i}", 1.0, "click")] if rng.random() < rates[version] else []
    spool = house.serving.folder / SPOOLS / f"{name}.sqlite"
    by_version = {v: [row for row in rows if row["version"] == v] for v in shares}
    for version, mine in by_version.items():
        spools.write(spool.with_name(f"{name}{version}.sqlite"), mine, columns=COLUMNS, deployment=found.deployment,
                     version=version)  # fmt: skip
    house.serving.feedback(found.deployment, clicks)


def test_shares_follow_rewards_each_change_is_history_and_the_best_has_all_at_last(house: House) -> None:
    serving = house.serving
    serving.deploy("offers", "line", 1)
    made = serving.start_bandit("offers", [2, 3], spec=SPEC, reason="which sells")
    live = serving.get("offers").traffic
    assert [(arm.version, round(arm.share, 6)) for arm in live.arms] == [(n, round(1 / 3, 6)) for n in (1, 2, 3)]
    (entry,) = (entry for entry in read_plan(serving.folder).endpoints if entry.name == "offers")
    assert (entry.salt, entry.rollout, entry.sticky) == (made.id, made.id, False)
    answered(house, made, {1: 0.1, 2: 0.5, 3: 0.1}, 300, name="one")
    assert serving.learn(made.id).arms == made.arms, "a click may still come"
    house.clock.advance(61 * SECOND_US)
    serving.settle()
    known = serving.bandit(made.id)
    assert sum(arm.rewards for arm in known.arms) == 300
    assert {arm.version: arm.share for arm in serving.get("offers").traffic.arms}[2] > 0.85
    assert all(arm.share >= 0.05 - 1e-9 for arm in known.arms)
    before = serving.live_at("offers", made.started_at + 30 * SECOND_US)
    assert before is not None
    assert before.traffic == live
    assert serving.history("offers")[0].reason == "bandit: 300 rewards"
    serving.settle()
    assert len(serving.history("offers")) == 3, "nothing is new, so nothing changes"
    found = serving.evaluate_shares("offers", {2: 1.0})
    assert found.rows == 300
    assert [entry.method for entry in found.estimates] == ["IPS", "SNIPS", "DR"]
    assert all(entry.low < 0.5 < entry.high for entry in found.estimates)
    assert found.done.value < 0.4
    done = serving.stop_bandit("offers", to="best", reason="decided")
    assert (done.state, serving.get("offers").traffic.words) == ("stopped", "champion 2: 100%")
    kinds = [event.kind for event in house.journal.read(subject=done.ref)]
    assert kinds == ["serving.bandit_started", "serving.bandit_stopped"]
    assert done.regret > 0


def test_who_was_killed_finds_the_same_and_counts_nothing_twice(house: House) -> None:
    serving = house.serving
    serving.deploy("killed", "line", 1)
    made = serving.start_bandit("killed", [2], spec=SPEC)
    for turn in range(3):
        answered(house, made, {1: 0.2, 2: 0.4}, 80, name=f"killed{turn}")
        house.clock.advance(61 * SECOND_US)
        known = serving.learn(made.id)
        assert sum(arm.rewards for arm in known.arms) == 80 * (turn + 1)
    del serving._learner  # all that was in memory is gone
    assert serving.known(made.id) == serving.bandit(made.id)
    assert serving.rollback("killed").traffic.words == "champion 1: 100%"
    assert serving.bandit(made.id).state == "stopped"


def test_a_bandit_has_the_traffic_for_itself(house: House) -> None:
    serving = house.serving
    serving.deploy("alone", "line", 1)
    with pytest.raises(Conflict, match="no bandit is under way"):
        serving.stop_bandit("alone")
    serving.start_bandit("alone", [2])
    for act in (
        lambda: serving.start_rollout("alone", 3),
        lambda: serving.weigh("alone", {1: 0.5, 2: 0.5}),
        lambda: serving.deploy("alone", "line", 2),
        lambda: serving.start_bandit("alone", [3]),
    ):
        with pytest.raises(Conflict, match="a bandit steers the shares"):
            act()
    with pytest.raises(Invalid, match="none of the bandit's"):
        serving.stop_bandit("alone", to=3)
    with pytest.raises(Invalid, match="nothing is known of it"):
        serving.evaluate_shares("alone", {3: 1.0})
    serving.stop_bandit("alone")
    for wrong in ([], [1]):
        with pytest.raises(Invalid, match="beside the champion"):
            serving.start_bandit("alone", wrong)
    with pytest.raises(NotFound):
        serving.bandit("none")
    serving.start_rollout("alone", 2)
    with pytest.raises(Conflict, match="a rollout is under way"):
        serving.start_bandit("alone", [3])


def test_a_key_stays_where_it_is_only_where_that_is_asked_for() -> None:
    arms = tuple(ServedArm(name, 0.5, model_of(Doubling()), "") for name in ("champion", "v2"))

    def chosen(*, sticky: bool) -> set[str]:
        made = Endpoint("m", arms, "salt", "salt", Options(), sticky=sticky)
        return {made.choose("ana", None, f"r{number}").arm for number in range(50)}

    assert (len(chosen(sticky=True)), chosen(sticky=False)) == (1, {"champion", "v2"})


def test_command_route_and_page_say_the_same(tmp_path: Path) -> None:
    wiring = open_house(load(tmp_path, environ={}))
    serving = wiring.get(Serving)
    for weight in (1, 2):
        fitted = LinearRegression().fit(FRAME.to_numpy(), FRAME["a"].to_numpy() * weight)
        wiring.get(Registry).register("line", fitted, example=FRAME)
    serving.deploy("shop", "line", 1)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(bandit_commands.bandit, list(arguments), obj=lambda: wiring, catch_exceptions=False)
        return done.output

    try:
        assert "versions 1, 2 share shop" in run("start", "shop", "2", "--absent", "0", "--within-s", "600")
        said = json.loads(run("status", "shop", "--json"))
        assert (said[0]["spec"]["absent"], said[0]["regret"], len(said[0]["arms"])) == (0.0, 0.0, 2)
        assert "0.5" in run("status")
        app = create_app(wiring, rooms=("serving",))
        with TestClient(app, base_url="http://127.0.0.1:7600", raise_server_exceptions=False) as http:
            listed = http.get("/api/v1/deployments/shop/bandits").json()
            assert http.get(f"/api/v1/bandits/{listed[0]['id']}").json()["versions"] == [1, 2]
            page = http.get("/deployments/shop").text
            assert "95 % of the posterior" in page
            assert "Shares of the versions" in page
            asked = http.get("/api/v1/deployments/shop/bandits/evaluation", params={"shares": ["1=0.5", "2=0.5"]})
            assert asked.status_code == 404, "nothing is logged yet"
            asked = http.get("/api/v1/deployments/shop/bandits/evaluation", params={"shares": "2"})
            assert (asked.status_code, "no version with a share" in asked.text) == (400, True)
            assert http.post("/api/v1/deployments/shop/bandits", json={"versions": [2]}).status_code == 409
            wrong = {"versions": [2], "spec": {"floor": 0.0}}
            assert http.post("/api/v1/deployments/shop/bandits", json=wrong).status_code == 400
            assert http.post("/deployments/shop/bandit", data={"verb": "best"}).status_code == 200
            started = http.post("/deployments/shop/bandit", data={"verb": "start", "versions": "2", "absent": "0"})
            assert started.status_code == 200
            stopped = http.post("/api/v1/deployments/shop/bandits/stop", json={"to": 2}).json()
            assert stopped["state"] == "stopped"
            odd = {"verb": "start", "versions": "2", "absent": "often"}
            assert http.post("/deployments/shop/bandit", data=odd).status_code == 400
        assert serving.get("shop").champion == 2
        assert "shop serves version 2" in run("start", "shop", "1") + run("stop", "shop")
    finally:
        wiring.close()
