"""Any history of a queue, beside a plain dict that says what has to come out."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import SECOND_US, ManualClock
from mainspring.core.errors import Conflict, Fenced, Unavailable
from mainspring.core.ids import new_id
from mainspring.storage.jobs import Lease, QueueMode
from mainspring.storage.ports import Tables
from mainspring.testing.queue_calls import PROJECTS, FullQueue, cancel, fail, finish, put


class QueueMachine(RuleBasedStateMachine):
    """Any sequence of calls, next to a dict of rows that does the same in the plainest way."""

    def __init__(self, tables: Tables, queue: FullQueue, clock: ManualClock) -> None:
        super().__init__()
        self.tables, self.queue, self.clock = tables, queue, clock
        self.name = f"q-{new_id()}"
        self.rows: dict[str, dict[str, object]] = {}
        self.leases: list[Lease] = []
        self.limit = self.group_limit = 0
        self.quotas = dict.fromkeys(PROJECTS, 0)
        self.mode = QueueMode.OPEN

    @rule(
        key=st.sampled_from(["", "", "k1", "k2"]),
        priority=st.integers(0, 2),
        attempts=st.integers(1, 2),
        project=st.sampled_from(PROJECTS),
        group=st.sampled_from(["", "g"]),
    )
    def put(self, key: str, priority: int, attempts: int, project: str, group: str) -> None:
        with calling(Caller(project=project)):
            self._put(key, priority, attempts, {"project": project, "group": group})

    def _put(self, key: str, priority: int, attempts: int, whose: dict[str, str]) -> None:
        if self.mode == QueueMode.DRAINING:
            with pytest.raises(Unavailable):
                put(self.tables, self.queue, self.name)
            return
        same = [
            i
            for i, row in self.rows.items()
            if key
            and row["key"] == key
            and row["project"] == whose["project"]
            and row["state"] in ("queued", "running")
        ]
        more: dict[str, object] = {"key": key, "priority": priority, "max_attempts": attempts}
        got = put(self.tables, self.queue, self.name, "work", group=whose["group"], **more)
        if same:
            assert [got] == same
        else:
            assert got not in self.rows
            order = (-priority, self.clock.now(), self.clock.now(), got)
            self.rows[got] = {**whose, "key": key, "state": "queued", "attempt": 0, "most": attempts, "order": order}

    @rule()
    def lease(self) -> None:
        self._let_leases_run_out()
        lease = self.queue.lease("w", [self.name], lease_s=10)
        due = [
            i
            for i, row in self.rows.items()
            if row["state"] == "queued" and row["order"][1] <= self.clock.now() and self._may_run(row)  # type: ignore[index]
        ]
        running = sum(row["state"] == "running" for row in self.rows.values())
        if not due or self.mode == QueueMode.PAUSED or 0 < self.limit <= running:
            assert lease is None
            return
        expected = min(due, key=lambda i: self.rows[i]["order"])  # type: ignore[arg-type,return-value]
        assert lease is not None
        assert lease.job.id == expected
        row = self.rows[expected]
        row.update(state="running", attempt=int(str(row["attempt"])) + 1, until=self.clock.now() + 10 * SECOND_US)
        self.leases.append(lease)

    @rule(pick=st.integers(0, 9), how=st.sampled_from(["renew", "finish", "retry", "give up"]))
    def use_a_lease(self, pick: int, how: str) -> None:
        if not self.leases:
            return
        lease = self.leases[pick % len(self.leases)]
        row = self.rows[lease.job.id]
        if row["state"] != "running" or row["attempt"] != lease.attempt:
            with pytest.raises(Fenced):
                self._do(lease, how)
            return
        self._do(lease, how)
        if how == "renew":
            row["until"] = self.clock.now() + 10 * SECOND_US
        elif how == "finish":
            row["state"] = "finished"
        elif how == "retry" and lease.attempt < int(str(row["most"])):
            old = row["order"]
            row.update(state="queued", order=(old[0], self.clock.now() + 5 * SECOND_US, *old[2:]))  # type: ignore[index]
        else:
            row["state"] = "dead"

    @rule(pick=st.integers(0, 9))
    def cancel(self, pick: int) -> None:
        if self.rows:
            job_id = list(self.rows)[pick % len(self.rows)]
            row = self.rows[job_id]
            open_before = row["state"] in ("queued", "running")
            assert cancel(self.tables, self.queue, job_id) == open_before
            row["state"] = "cancelled" if open_before else row["state"]

    @rule(pick=st.integers(0, 9))
    def revive(self, pick: int) -> None:
        if self.rows:
            job_id = list(self.rows)[pick % len(self.rows)]
            row = self.rows[job_id]
            keyed = [r for r in self.rows.values() if r["key"] and r["key"] == row["key"] and r is not row]
            same = [r for r in keyed if r["project"] == row["project"]]
            was_dead = row["state"] == "dead"
            if was_dead and any(r["state"] in ("queued", "running") for r in same):
                with pytest.raises(Conflict):
                    self.queue.revive(job_id)
                return
            assert self.queue.revive(job_id) == was_dead
            if was_dead:
                order = row["order"]
                row.update(
                    state="queued",
                    most=int(str(row["most"])) + int(str(row["attempt"])),
                    order=(order[0], self.clock.now(), *order[2:]),  # type: ignore[index]
                )

    @rule(seconds=st.sampled_from([1, 5, 11]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds * SECOND_US)

    @rule(mode=st.sampled_from(QueueMode))
    def set_mode(self, mode: QueueMode) -> None:
        self.queue.set_mode(self.name, mode)
        self.mode = mode

    @rule(limit=st.integers(0, 3), group_limit=st.integers(0, 1))
    def set_limit(self, limit: int, group_limit: int) -> None:
        self.queue.set_limits(self.name, limit=limit, group_limit=group_limit)
        self.limit, self.group_limit = limit, group_limit

    @rule(project=st.sampled_from(PROJECTS), quota=st.integers(0, 2))
    def set_quota(self, project: str, quota: int) -> None:
        self.queue.set_quota(self.name, project, quota)
        self.quotas[project] = quota

    @invariant()
    def jobs_agree(self) -> None:
        found = []
        for project in PROJECTS:
            with calling(Caller(project=project)):
                found += self.queue.find(queue=self.name)
        assert {job.id: job.attempt for job in found} == {job_id: row["attempt"] for job_id, row in self.rows.items()}
        for job in found:
            assert job.state == self.rows[job.id]["state"], job

    def _may_run(self, row: dict[str, object]) -> bool:
        """Whether neither the quota of its project nor the limit of its group is used up."""
        of_project = [r for r in self.rows.values() if r["state"] == "running" and r["project"] == row["project"]]
        of_group = [r for r in of_project if r["group"] and r["group"] == row["group"]]
        has_quota = self.quotas[str(row["project"])]
        return not (0 < has_quota <= len(of_project) or 0 < self.group_limit <= len(of_group))

    def _let_leases_run_out(self) -> None:
        for row in self.rows.values():
            if row["state"] == "running" and int(str(row["until"])) < self.clock.now():
                row["state"] = "dead" if int(str(row["attempt"])) >= int(str(row["most"])) else "queued"

    def _do(self, lease: Lease, how: str) -> None:
        if how == "renew":
            with self.tables.write() as conn:
                self.queue.renew(conn, lease, lease_s=10)
        elif how == "finish":
            finish(self.tables, self.queue, lease)
        else:
            fail(self.tables, self.queue, lease, 5 if how == "retry" else None)
