"""Inputs that a table leaves out, looked up for each of its rows by the feature views of the endpoint.

A row whose entity is not known is put aside alone, where an endpoint would refuse its request. What was found goes into
the chunk beside the answers, so that the log says the same however often a batch is gone on with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from mainspring.core.values import dataclass
from mainspring.serving.batch.job import LOOKED
from mainspring.serving.batch.scoring import Reasons, misfits
from mainspring.serving.modelserver.columns import Cell, Features, Raw, plain
from mainspring.serving.modelserver.lookups import FRESH, LoggedFeatures, Looked, Lookup

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[dict[str, object], list[list[object]]]).decode


@dataclass(frozen=True, slots=True)
class Filling:
    """The columns of rows with what was looked up, why rows are put aside, and what each view gave."""

    columns: Mapping[str, Raw]
    reasons: Reasons
    looked: Sequence[Looked]

    def series(self, rows: int, redact: Sequence[str]) -> pl.Series:
        """For each row, as JSON, the inputs that were filled in and what the log has of the lookups."""
        names = [name for one in self.looked for name in one.names if name not in redact]
        told = [
            _encode(({name: self.columns[name][row] for name in names}, [o.logged(row, redact) for o in self.looked]))
            for row in range(rows)
        ]
        return pl.Series(LOOKED, [text.decode() for text in told], dtype=pl.String)


def fill(lookups: Sequence[Lookup], features: Features, columns: Mapping[str, Raw], rows: int) -> Filling:
    """Look up the inputs that a table has no column of.

    Args:
        lookups: The views of the endpoint; the table has the keys of those that are needed.
        features: What the model takes.
        columns: The rows by column, all of the same length.
        rows: How many.
    """
    now = time.time_ns() // 1000
    whole, reasons, looked = dict(columns), Reasons(), list[Looked]()
    for one in lookups:
        names = [name for name in one.plan.names if name in features.by_name and name not in columns]
        if not names:
            continue
        keys = _keys(one, columns, rows, reasons)
        found, how = one.find(keys, names, now)
        if one.plan.otherwise == "refuse":
            for row, state in enumerate(how.states):
                if state != FRESH and row not in reasons:
                    reasons[row] = [one.unknown(how, row)]
        whole |= found
        looked.append(how)
    return Filling(whole, reasons, looked)


def _keys(lookup: Lookup, columns: Mapping[str, Raw], rows: int, reasons: Reasons) -> list[tuple[Cell, ...]]:
    """The entity of each row; of one that is none there is nothing to be found."""
    cells: list[list[Cell]] = []
    for key in lookup.keys:
        values = columns[key.name]
        wrong = misfits(key, values)
        for row, reason in wrong.items():
            reasons.setdefault(row, []).append(reason)
        fits = values if not wrong else [None if row in wrong else values[row] for row in range(rows)]
        cells.append(plain(key.check(fits)))
    return list(zip(*cells, strict=True))


def filled_of(text: str) -> tuple[Mapping[str, object], list[LoggedFeatures]]:
    """What `Filling.series` says of a row: the inputs that were filled in, and what the log has of the lookups."""
    cells, logged = _decode(text)
    return cells, [tuple(one) for one in logged]  # type: ignore[misc]
