"""From the spools of the model server to the table of predictions, exactly once."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainspring.serving.modelserver.plan import shadows_of
from mainspring.serving.modelserver.spool import COLUMNS, entries_after
from mainspring.serving.rules.conformal import LABEL_SET
from mainspring.storage.ports import Delta

if TYPE_CHECKING:
    import polars as pl
    from polars._typing import PolarsDataType

PERSONAL = ("inputs", "key", "features")
"""Columns of predictions that may say who somebody is: no least and greatest values are kept of them."""
_CHUNK_ROWS = 20_000
_POLL_S = 0.01
_TRIM_ENTRIES = 500
_COMPACT_EVERY = 200
Columns = Sequence[tuple[str, str]]


def table_of(endpoint: str) -> str:
    """The Delta table with the predictions of an endpoint."""
    return f"predictions/{endpoint}"


def after(position: Mapping[str, int]) -> pl.Expr:
    """Rows of a log behind a position: a row's place is its spool and its number in there.

    Literals, not a join: files whose statistics say that they hold older rows are not read.

    Args:
        position: The last number that was read, by spool; all of other spools is new.
    """
    import polars as pl

    new = [(pl.col("spool") == spool) & (pl.col("seq") > done) for spool, done in position.items()]
    return pl.any_horizontal(~pl.col("spool").is_in(list(position)), *new)


def holds_predictions(table: str) -> bool:
    """Whether a Delta table is one with the predictions of an endpoint, or of its shadows."""
    return table.startswith((table_of(""), shadows_of("")))


Notice = Callable[[str, "pl.DataFrame"], None]
"""Gets an endpoint and rows of it that are about to be moved; after a kill it may get them again."""


class Compactor:
    """Moves logged rows to Delta tables and trims the spools.

    A row is moved exactly once: a batch is named by its spool and its last row's number, the table keeps the last
    number it has of each spool in the same commit as the rows, and the spool is trimmed after that commit.

    Args:
        folder: Where the spools are.
        delta: Where the predictions go.
        notice: Is shown the rows before they are moved.
    """

    def __init__(self, folder: Path, delta: Delta, notice: Notice | None = None) -> None:
        self._folder = folder
        self._delta = delta
        self._notice = notice

    def run(self, *, wait_s: float = 0.0) -> int:
        """Move everything that is committed now. Returns how many rows moved; 0 too when another process is at it.

        Args:
            wait_s: How long to wait for that other one, for who reads the tables next.
        """
        moved = 0
        with _exclusive(self._folder / "compact.lock", wait_s) as mine:
            if mine:
                for path in sorted(self._folder.glob("*.sqlite")):
                    moved += self._drain(path)
        return moved

    def _drain(self, path: Path) -> int:
        with _exclusive(path.with_suffix(".lock")) as dead:  # its worker holds this lock as long as it lives
            moved = self._move(path)
            if dead:
                # The file that is looked for goes last: killed in between, the next turn finds the rest.
                for suffix in (".sqlite-wal", ".sqlite-shm", ".lock", ".sqlite"):
                    path.with_suffix(suffix).unlink(missing_ok=True)
        return moved

    def _move(self, path: Path) -> int:
        moved = 0
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as conn:
            if not conn.execute("select 1 from sqlite_master where name = 'prediction'").fetchone():
                return 0  # its worker died before the first table was made
            # No further than what is there now: under load a reader that wants all of it never ends.
            ends = conn.execute("select deployment, max(seq) from prediction group by deployment").fetchall()
            for endpoint, end in ends:
                moved += self._move_endpoint(conn, path.stem, endpoint, end)
        return moved

    def _move_endpoint(self, conn: sqlite3.Connection, spool: str, endpoint: str, end: int) -> int:
        shadows = endpoint.startswith(shadows_of(""))
        table, moved = (endpoint if shadows else table_of(endpoint)), 0
        last = self._delta.batch(table, spool)
        while rows := entries_after(conn, endpoint, last, end, limit=_CHUNK_ROWS):
            last = _int(rows[-1][0])
            frame = frame_of(endpoint, rows, _signatures(conn, endpoint), spool=spool)
            if shadows:
                frame = frame.drop("inputs", "deployment")  # they are with the answer that the user got
            elif self._notice is not None:
                self._notice(endpoint, frame)
            version = self._delta.append(table, frame, app=spool, batch=last, personal=PERSONAL)
            moved += len(rows)
            if version is not None and version % _COMPACT_EVERY == _COMPACT_EVERY - 1:
                self._delta.compact(table)
        _trim(conn, endpoint, last)
        return moved


def _trim(conn: sqlite3.Connection, endpoint: str, last: int) -> None:
    """Delete moved rows in small transactions, so that the worker's commits never wait long."""
    doomed = f"select seq from prediction where deployment = ? and seq <= ? limit {_TRIM_ENTRIES}"
    while conn.execute(f"delete from prediction where seq in ({doomed})", (endpoint, last)).rowcount > 0:
        pass


def _signatures(conn: sqlite3.Connection, endpoint: str) -> dict[int, Columns]:
    rows = conn.execute("select version, inputs from signature where deployment = ?", (endpoint,))
    return {version: msgspec.json.decode(text, type=list[tuple[str, str]]) for version, text in rows}


def frame_of(
    endpoint: str, rows: Sequence[tuple[object, ...]], signatures: Mapping[int, Columns], *, spool: str = ""
) -> pl.DataFrame:
    """Spooled rows as a typed frame: numbers of the inputs are Float64, so that a table outlives a change of width.

    Args:
        endpoint: Whose rows.
        rows: As `entries_after` gives them.
        signatures: The input columns of each version, (name, kind).
        spool: Where they come from. With `seq` it is a row's place in the log, so that a reader can go on where it was.
    """
    import polars as pl

    kinds = {name: kind for columns in signatures.values() for name, kind in columns}
    columns: dict[str, list[object]] = {
        name: [row[i] for row in rows]
        for i, name in enumerate(("seq", *COLUMNS))
        if name not in ("inputs", "outputs", "features")
    }
    inputs = [_named(signatures.get(_int(row[_VERSION]), ()), row[_INPUTS]) for row in rows]
    outputs = [row[_INPUTS + 1] or {} for row in rows]
    schema = _schema(kinds)
    columns["deployment"] = [endpoint] * len(rows)
    columns["spool"] = [spool] * len(rows)
    columns["inputs"] = list(inputs)
    columns["features"] = [_features(row[_FEATURES]) for row in rows]
    columns |= {name: [output_of(name, output) for output in outputs] for name in _OUTPUTS}
    columns["reasons"] = [_reasons(output, signatures.get(_int(row[_VERSION]), ())) for output, row in
                          zip(outputs, rows, strict=True)]  # fmt: skip
    return pl.DataFrame({name: columns[name] for name in schema}, schema=schema)


_VERSION, _INPUTS, _FEATURES = (1 + COLUMNS.index(name) for name in ("version", "inputs", "features"))
_OUTPUTS = ("probability", "prediction", "label_out", "probabilities", "low", "high", LABEL_SET, "reasons_base")


def _schema(kinds: Mapping[str, str]) -> dict[str, PolarsDataType]:
    import polars as pl

    types = {"float": pl.Float64, "int": pl.Float64, "bool": pl.Boolean, "text": pl.String}
    return {
        "id": pl.String,
        "request_id": pl.String,
        "at": pl.Int64,
        "event_at": pl.Int64,
        "deployment": pl.String,
        "version": pl.Int64,
        "arm": pl.String,
        "propensity": pl.Float64,
        "key": pl.String,
        "rollout": pl.String,
        "inputs": pl.Struct({name: types[kind] for name, kind in kinds.items()}),
        "probability": pl.Float64,
        "prediction": pl.Float64,
        "label_out": pl.String,
        "probabilities": pl.List(pl.Float64),
        "low": pl.Float64,
        "high": pl.Float64,
        LABEL_SET: pl.List(pl.String),
        "reasons": pl.List(pl.Struct({"column": pl.String, "contribution": pl.Float64})),
        "reasons_base": pl.Float64,
        "latency_us": pl.Int64,
        "status": pl.Int64,
        "error": pl.String,
        "caller": pl.String,
        "wait_us": pl.Int64,
        "model_us": pl.Int64,
        "marks": pl.List(pl.String),
        "features": pl.List(pl.Struct(dict(zip(LOOKED, _looked_types(), strict=True)))),
        "spool": pl.String,
        "seq": pl.Int64,
    }


LOOKED = ("view", "number", "materialization", "entity", "at", "event_at", "state", "names")
"""What the log has of one lookup in a feature view; the entity's key is a JSON list, null where it is redacted."""


def _looked_types() -> list[PolarsDataType]:
    import polars as pl

    return [pl.String, pl.Int64, pl.String, pl.String, pl.Int64, pl.Int64, pl.String, pl.List(pl.String)]


def _features(entries: object) -> list[dict[str, object]] | None:
    """The lookups of a row; None where there was none."""
    found = [dict(zip(LOOKED, entry, strict=True)) for entry in entries] if isinstance(entries, list) else []
    for entry in found:
        entry["entity"] = None if entry["entity"] is None else msgspec.json.encode(entry["entity"]).decode()
    return found or None


def output_of(name: str, output: object) -> object:
    """A column of the log, from an answer by the names of the model's outputs; None where there is none."""
    if not isinstance(output, dict):
        return None
    if name == "label_out":
        label = output.get("label")
        return None if label is None else str(label)
    if name == LABEL_SET:
        classes = output.get(name)
        return [str(label) for label in msgspec.json.decode(classes)] if isinstance(classes, str) else None
    if name in ("probability", "probabilities"):
        value = output.get("probability")
        return value if isinstance(value, list) == (name == "probabilities") else None
    return output.get(name)


def _reasons(output: object, columns: Columns) -> list[dict[str, object]] | None:
    """The reason codes of a row by the names of its inputs; those that are not known, as of redacted ones, left out."""
    found = output.get("reasons") if isinstance(output, dict) else None
    if not isinstance(found, list):
        return None
    pairs = zip(columns, found, strict=True)
    return [{"column": name, "contribution": code} for (name, _), code in pairs if code is not None] or None


def _named(columns: Columns, cells: object) -> dict[str, object]:
    values = cells if isinstance(cells, list) else []
    return {
        name: float(value) if kind == "int" and isinstance(value, int) else value
        for (name, kind), value in zip(columns, values, strict=True)
    }


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


@contextmanager
def _exclusive(path: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Whether this process got the lock of that file, held until the block ends. The kernel frees it on any death."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(_POLL_S)
            else:
                yield True
                return
