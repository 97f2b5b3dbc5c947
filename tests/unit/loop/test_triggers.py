"""What is said of triggers, what events mean to them, what they catch up with, and who may send to them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.clock import HOUR_US, SECOND_US
from mainspring.core.errors import Forbidden, Invalid, TooLarge
from mainspring.core.events import Event
from mainspring.loop.triggers import rules
from mainspring.loop.triggers.hooks import MOST_BYTES, STALE_US, Delivery, read_delivery
from mainspring.loop.triggers.model import Occurrence, Trigger, TriggerState, trigger_of

NOW = 1_800_000_000 * SECOND_US
SECRET = "a secret that is long enough"
PUSH = {
    "ref": "refs/heads/main",
    "after": "c0ffee",
    "repository": {"full_name": "team/models"},
    "pusher": {"email": "x"},
}
BODY = json.dumps(PUSH).encode()
RUN = {"pipeline": "p.py:train"}


def event(kind: str, subject: str, actor: str = "ada", **payload: object) -> Event:
    return Event(7, NOW, actor, "default", kind, subject, payload)


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ({"on": "cron", "cron": "@daily"}, "starts nothing"),
        ({"on": "cron", "cron": "@daily", **RUN, "policy": "keep"}, "both a pipeline and a policy"),
        ({"on": "crom", **RUN}, "cannot watch 'crom'"),
        ({**RUN}, "does not say what it watches"),
        ({"on": "cron", **RUN}, "needs cron"),
        ({"on": "cron", "cron": "@daily", "dataset": "x", **RUN}, "takes no dataset"),
        ({"on": "cron", "cron": "@daily", "zone": "Mars/Base", **RUN}, "no time zone"),
        ({"on": "cron", "cron": "@daily", "catch_up": "some", **RUN}, "no way to catch up"),
        ({"on": "metric", "experiment": "e", "metric": "auc", **RUN}, "one threshold"),
        ({"on": "metric", "experiment": "e", "metric": "auc", "above": 1, "below": 2, **RUN}, "one threshold"),
        ({"on": "metric", "experiment": "e", "metric": "auc", "above": True, **RUN}, "is not a number"),
        ({"on": "feedback", "deployment": "d", "count": -1, **RUN}, "a count of -1"),
        ({"on": "webhook", "secret": "hunter2", **RUN}, "name of a variable"),
        ({"on": "webhook", "secret": "HOOK_SECRET", "format": "gitea", **RUN}, "no format"),
        ({"on": "alarm", "deployment": "d", "policy": "keep"}, "twice"),
        ({"on": "hand", "policy": "keep", "params": {"n": 1}}, "has its own params"),
        ({"on": "hand", **RUN, "params": {"n": "$commit"}}, "stands for nothing here"),
        ({"on": "hand", **RUN, "cool_down": "soon"}, "not a span of time"),
        ({"on": "hand", **RUN, "most_a_day": -1}, "negative budget"),
        ({"on": "hand", **RUN, "most_a_dya": 1}, "unknown setting"),
    ],
)
def test_a_trigger_that_means_nothing_is_refused_with_its_place(section: dict[str, object], what: str) -> None:
    with pytest.raises(Invalid, match=what) as told:
        trigger_of("nightly", section)
    assert told.value.where.startswith("trigger.nightly")
    assert told.value.hint


def test_what_is_written_down_of_a_trigger_is_what_was_said() -> None:
    said = {"on": "alarm", "deployment": "churn", "causes": ["drift", "performance"], "cool_down": "2h", **RUN}
    assert trigger_of("t", said).to_json() == said
    assert trigger_of("t", trigger_of("t", said).to_json()) == trigger_of("t", said)


def test_events_mean_something_to_the_triggers_that_watch_for_them() -> None:
    fresh = trigger_of("t", {"on": "data", "dataset": "people", **RUN})
    found = rules.occurrence(event(rules.DATA, "datasets/people/3", rows=10), fresh)
    assert found is not None
    assert (found.key, found.facts["subject"], found.facts["rows"]) == ("event/7", "datasets/people/3", 10)
    assert rules.occurrence(event(rules.DATA, "datasets/people-old/3"), fresh) is None
    alias = trigger_of("t", {"on": "registry", "model": "churn", "alias": "champion", **RUN})
    moved = event(rules.ALIAS, "models/churn", model="churn", alias="champion", version=3, before=2)
    assert rules.occurrence(moved, alias) is not None
    assert rules.occurrence(event(rules.ALIAS, "models/churn", model="churn", alias="other"), alias) is None
    assert rules.occurrence(event(rules.VERSION, "models/churn/3", model="churn", version=3), alias) is None


def test_what_a_triggers_own_run_does_fires_nothing() -> None:
    fresh = trigger_of("t", {"on": "data", "dataset": "people", **RUN})
    found = rules.occurrence(event(rules.DATA, "datasets/people/3", actor="trigger:t"), fresh)
    assert found is not None
    assert found.code == "own"


def test_pushes_to_other_branches_and_alarms_of_other_causes_are_told_apart() -> None:
    hook = trigger_of("t", {"on": "webhook", "secret": "HOOK_SECRET", "branch": "main", **RUN})
    main = rules.occurrence(event(rules.HOOK, "triggers/t", ref="refs/heads/main", commit="c0ffee"), hook)
    other = rules.occurrence(event(rules.HOOK, "triggers/t", ref="refs/heads/play", commit="c0ffee"), hook)
    assert main is not None
    assert other is not None
    assert (main.code, other.code) == ("", "filter")
    alarm = trigger_of("t", {"on": "alarm", "deployment": "churn", **RUN})
    drift = rules.occurrence(event(rules.ALARM, "alarms/1", deployment="churn", cause="drift"), alarm)
    assert drift is not None
    assert drift.why_not == "it fires on performance alarms"


def nightly(catch_up: str) -> Trigger:
    return trigger_of("t", {"on": "cron", "cron": "0 * * * *", "catch_up": catch_up, **RUN})


@pytest.mark.parametrize(("catch_up", "fired"), [("skip", []), ("latest", [3]), ("all", [0, 1, 2, 3])])
def test_times_that_nobody_looked_at_are_caught_up_with_as_said(catch_up: str, fired: list[int]) -> None:
    now = NOW - NOW % HOUR_US + 4 * HOUR_US - 600 * SECOND_US  # ten minutes to
    trigger = nightly(catch_up)
    due = rules.due_times(trigger, now - 4 * HOUR_US, now)
    assert len(due) == 4
    found = rules.scheduled(trigger, due, now)
    assert [number for number, each in enumerate(found) if not each.why_not] == fired


@pytest.mark.parametrize("catch_up", ["skip", "latest", "all"])
def test_a_time_that_is_looked_at_in_time_fires(catch_up: str) -> None:
    now = NOW - NOW % HOUR_US + 5 * SECOND_US
    trigger = nightly(catch_up)
    due = rules.due_times(trigger, now - HOUR_US, now)
    assert [each.why_not for each in rules.scheduled(trigger, due, now)] == [""]


def test_cool_down_and_budgets_hold_and_say_so() -> None:
    said = {"on": "hand", **RUN, "cool_down": "1h", "most_a_day": 2, "cpu_hours_a_day": 3.0}
    state, found = TriggerState(trigger_of("t", said), 0, 0, 0), Occurrence("k", "c", NOW)

    def why(**spent: float) -> tuple[str, str]:
        return rules.why_not(state, found, rules.Spent(**spent), NOW)  # type: ignore[arg-type]

    assert why() == ("", "")
    assert why(last_at=NOW - HOUR_US + 1) == ("cool_down", "it fired less than 1h ago")
    assert why(last_at=NOW - HOUR_US, fires=2) == ("budget", "it fired 2 times in 24 hours, and may 2 times")
    assert why(cpu_hours=3.5)[1] == "its runs took 3.50 CPU hours in 24 hours, and may take 3"


def signed(form: str, body: bytes = BODY, secret: str = SECRET, at: int = NOW) -> dict[str, str]:
    if form == "github":
        return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
    if form == "gitlab":
        return {"x-gitlab-token": secret}
    stamp = str(at // SECOND_US)
    mac = hmac.new(secret.encode(), f"m1.{stamp}.".encode() + body, hashlib.sha256).digest()
    given = f"v1a,x v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": "m1", "webhook-timestamp": stamp, "webhook-signature": given}


@pytest.mark.parametrize("form", ["standard", "github", "gitlab"])
def test_a_delivery_that_is_signed_is_read_and_people_in_it_are_not_kept(form: str) -> None:
    found = read_delivery(form, SECRET, signed(form), BODY, NOW)
    assert found == Delivery(found.key, "refs/heads/main", "c0ffee", "team/models")
    assert found.key == read_delivery(form, SECRET, signed(form), BODY, NOW).key


@pytest.mark.parametrize("form", ["standard", "github", "gitlab"])
def test_a_delivery_with_another_secret_or_none_is_refused_before_it_is_parsed(form: str) -> None:
    for headers in ({}, signed(form, secret="another secret, long enough")):
        with pytest.raises(Forbidden, match="not signed"):
            read_delivery(form, SECRET, headers, b"{" * 10_000, NOW)


@pytest.mark.parametrize("form", ["standard", "github"])
def test_a_delivery_whose_bytes_were_changed_is_refused(form: str) -> None:
    with pytest.raises(Forbidden, match="not signed"):
        read_delivery(form, SECRET, signed(form), BODY + b" ", NOW)


def test_an_old_delivery_and_a_short_secret_are_refused() -> None:
    with pytest.raises(Forbidden, match="too long ago"):
        read_delivery("standard", SECRET, signed("standard", at=NOW - STALE_US - SECOND_US), BODY, NOW)
    with pytest.raises(Forbidden, match="too short"):
        read_delivery("github", "short", signed("github", secret="short"), BODY, NOW)
    with pytest.raises(TooLarge):
        read_delivery("github", SECRET, {}, b"x" * (MOST_BYTES + 1), NOW)


@given(st.binary(max_size=200))
def test_whatever_is_signed_is_read_or_refused_as_wrong(body: bytes) -> None:
    try:
        assert read_delivery("github", SECRET, signed("github", body), body, NOW).key
    except Invalid as told:
        assert told.where == "body"


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=40)))
def test_no_headers_make_the_check_fail_otherwise_than_refusing(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        read_delivery("standard", SECRET, headers, BODY, NOW)
