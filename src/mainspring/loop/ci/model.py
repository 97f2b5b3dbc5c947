"""Values of continuous integration: what is to be run, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import cast

from mainspring.core.errors import Invalid
from mainspring.core.ids import check_name
from mainspring.core.settings import fill
from mainspring.core.values import dataclass
from mainspring.data.model import Check, parse_checks

PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"
EXITS = {"passed": 0, "failed": 1, "refused": 4}
"""Exit code of each outcome of a report."""


@dataclass(frozen=True, slots=True)
class Table:
    """`[[ci.data]]`: a file that becomes a version of a dataset, if its rows hold what they must.

    Attributes:
        name: The dataset.
        file: CSV or Parquet, beside `mainspring.toml`.
        checks: What every row must hold.
        most_quarantined: Share of the rows that may fail.
    """

    name: str
    file: str
    checks: tuple[Check, ...] = ()
    most_quarantined: float = 0.0

    def __post_init__(self) -> None:
        check_name(self.name, "dataset")
        if not 0 <= self.most_quarantined < 1:
            what = f"{self.most_quarantined} is no share"
            raise Invalid(what, where="ci.data.most_quarantined", hint="use 0 (no row may fail) to 0.99")


@dataclass(frozen=True, slots=True)
class CiSpec:
    """`[ci]`: what is run for a change before it is merged.

    Attributes:
        pipeline: `package.module:function` or `path/file.py:function`; it returns what a policy's pipeline returns.
        gate: Judges the version that the pipeline registers.
        params: Parameters of the pipeline.
        data: Tables that are checked and ingested before, `[[ci.data]]`.
    """

    pipeline: str
    gate: str
    params: Mapping[str, object] = field(default_factory=dict)
    data: tuple[Table, ...] = ()


def spec_of(section: Mapping[str, object], policies: Mapping[str, object]) -> CiSpec:
    """What `[ci]` says; where it does not name pipeline and gate, those of the one policy.

    Raises:
        Invalid: A setting is wrong, or nothing says which pipeline and gate.
    """
    values = dict(section)
    tables = values.pop("data", [])
    if not isinstance(tables, list) or not all(isinstance(each, Mapping) for each in tables):
        raise Invalid("the data is no list of tables", where="ci.data", hint="write [[ci.data]] for each")
    if len(policies) == 1:
        only = cast("Mapping[str, object]", next(iter(policies.values())))
        values = {key: only[key] for key in ("pipeline", "gate", "params") if key in only} | values
    for name in ("pipeline", "gate"):
        if name not in values:
            hint = f'write [ci] with {name} = "...", or one [policy.NAME] that has it'
            raise Invalid(f"nothing says which {name} to run", where="ci", hint=hint)
    return fill(CiSpec, {**values, "data": tuple(map(_table, tables))}, where="ci")


def _table(said: Mapping[str, object]) -> Table:
    checks = parse_checks(json.dumps(said.get("checks", []), default=str))
    return fill(Table, {**said, "checks": tuple(checks)}, where="ci.data")


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was looked at: a table, a step or a check of the gate."""

    suite: str
    name: str
    state: str
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it all.

    Attributes:
        outcome: "passed", "failed" (data, pipeline, or a gate that could not judge) or "refused" (the gate said no, or
            that it can't tell).
        reason: In one sentence.
        verdict: The gate's report in Markdown, empty when it was not asked.
    """

    outcome: str
    reason: str
    cases: tuple[Case, ...]
    seconds: float
    version: str = ""
    verdict: str = ""

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 4 refused."""
        return EXITS[self.outcome]
