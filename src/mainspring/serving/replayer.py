"""The process of a replay: answers logged rows once more, the way the model server would.

`python -m mainspring.serving.replayer FOLDER`, started by whoever replays. Numbers of chunks come on standard input and
go back when they are answered; it ends with its parent, whose end of the pipe the kernel closes on any death.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from mainspring.serving.batch.scoring import Scored, score, status_of
from mainspring.serving.frames import output_of
from mainspring.serving.modelserver.columns import Column, Raw
from mainspring.serving.modelserver.humility import humility_of
from mainspring.serving.modelserver.models import LoadedModel, load_model
from mainspring.serving.modelserver.plan import read_plan

TIMED_ROWS = 25
"""Rows of a chunk that both versions are asked one by one, for their latency."""
BEFORE_US = "before_us"
_SCHEMA = {
    "id": pl.String,
    "version": pl.Int64,
    "status": pl.Int64,
    "error": pl.String,
    "model_us": pl.Float64,
    BEFORE_US: pl.Float64,
    "probability": pl.Float64,
    "prediction": pl.Float64,
    "label_out": pl.String,
}


def asked_of(folder: Path, number: int) -> Path:
    """The file with the rows of a chunk: their ids and inputs."""
    return folder / f"asked-{number}.parquet"


def said_of(folder: Path, number: int) -> Path:
    """The file with what was answered to a chunk."""
    return folder / f"said-{number}.parquet"


class Replayer:
    """Answers chunks with the first arm of a plan; the second one, the champion, is asked for its latency.

    Raises: Corrupt, Refused, Failed: A version can't be loaded.
    """

    def __init__(self, folder: Path) -> None:
        plan = read_plan(folder)
        (endpoint,) = plan.endpoints
        key = bytes.fromhex(plan.public_key) if plan.public_key else None
        most = plan.limits.max_rows
        self._models = [load_model(arm, public_key=key, max_rows=most) for arm in endpoint.arms]
        self._humility = humility_of(endpoint.arms[0], self._models[0], endpoint.options.rules)
        self._folder = folder

    def __call__(self, number: int) -> None:
        """Answer one chunk."""
        asked = pl.read_parquet(asked_of(self._folder, number))
        ids, rows, model = asked["id"].to_list(), asked["inputs"].struct.unnest(), self._models[0]
        columns: dict[str, Raw] = {
            name: rows[name].to_list() if name in rows.columns else [None] * rows.height
            for name in model.features.names
        }
        scored = score(model, self._humility, columns, rows.height)
        answered = [row for row, reason in enumerate(scored.reasons) if not reason][:TIMED_ROWS]
        times = [(ids[row], *(_took(model, rows, row) for model in self._models)) for row in answered]
        frame = _frame(ids, model.version, scored)
        took = pl.DataFrame(
            times, schema={"id": pl.String, "model_us": pl.Float64, BEFORE_US: pl.Float64}, orient="row"
        )
        frame.drop("model_us", BEFORE_US).join(took, on="id", how="left").select(*_SCHEMA).write_parquet(
            said_of(self._folder, number)
        )


def _took(model: LoadedModel, rows: pl.DataFrame, row: int) -> float | None:
    """Microseconds for one row; None where the model does not take it."""
    named: Mapping[str, Raw] = {
        name: [rows[name][row]] if name in rows.columns else [None] for name in model.features.names
    }
    try:
        columns: Sequence[Column] = model.features.from_named(named)
        started = time.perf_counter_ns()
        model.predict(columns)
        return (time.perf_counter_ns() - started) / 1000
    except Exception:  # noqa: BLE001 - a model may raise anything; what it answers is told elsewhere
        return None


def _frame(ids: Sequence[str], version: int, scored: Scored) -> pl.DataFrame:
    said = []
    for row, reason in enumerate(scored.reasons):
        answer = None if reason else {name: values[row] for name, values in scored.outputs.items()}
        status = status_of(reason)
        outputs = [output_of(name, answer) for name in ("probability", "prediction", "label_out")]
        said.append((ids[row], version, status, reason, None, None, *outputs))
    return pl.DataFrame(said, schema=_SCHEMA, orient="row")


def main() -> None:
    """Answer chunks until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it, and says when to end
    replayer = Replayer(Path(sys.argv[1]))
    for line in sys.stdin:
        replayer(int(line))
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    os.nice(10)
    main()
