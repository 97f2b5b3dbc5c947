"""One chunk of a batch: read, answered, and written whole or not at all."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from mainspring.serving.batch.filling import fill
from mainspring.serving.batch.job import ID, REASON, RULES, Job, Parts, settle
from mainspring.serving.batch.scoring import score
from mainspring.serving.modelserver.columns import Features, Raw
from mainspring.serving.modelserver.humility import humility_of
from mainspring.serving.modelserver.lookups import Lookup, filled
from mainspring.serving.modelserver.models import LoadedModel, load_model
from mainspring.serving.modelserver.protocols.parquet import raw_of
from mainspring.serving.modelserver.protocols.rows import value_of


class Scorer:
    """Answers the chunks of one job, with the model in memory.

    Raises: Corrupt, Refused, Failed: The model can't be loaded.
    """

    def __init__(self, parts: Parts, job: Job) -> None:
        arm = job.plan.arms[0]
        key = bytes.fromhex(job.public_key) if job.public_key else None
        self.model: LoadedModel = load_model(arm, public_key=key, max_rows=max(job.request.chunk_rows, 1))
        self._humility = humility_of(arm, self.model, job.plan.options.rules)
        self._lookups = [Lookup(view) for view in job.plan.views]
        self._features = filled(self.model.features, self._lookups)
        self._parts, self._job = parts, job

    def __call__(self, number: int) -> None:
        """Answer one chunk. Done twice, it is the same file."""
        made = self.answered(number, self._parts.rows_of(self._job, number))
        path = self._parts.chunk(number)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        made.write_parquet(part)
        settle(part, path)

    def answered(self, number: int, rows: pl.DataFrame) -> pl.DataFrame:
        """A chunk, made of its rows."""
        with _no_collection():
            given = fill(self._lookups, self.model.features, raws_of(rows, self._features, self._job), rows.height)
            scored = score(self.model, self._humility, given.columns, rows.height, given.reasons)
        keep = self._job.request.keep
        first = number * self._job.request.chunk_rows
        return (rows.select(keep) if keep else rows).with_columns(
            *(_series(name, scored.outputs[name], dtype) for name, dtype in self.answers().items()),
            pl.Series(ID, [f"{self._job.id}.{first + row}" for row in range(rows.height)], dtype=pl.String),
            _marks(scored.marks, rows.height),
            pl.Series(REASON, scored.reasons, dtype=pl.String),
            *([given.series(rows.height, self._job.plan.options.redact)] if self._lookups else []),
        )

    def answers(self) -> Mapping[str, pl.DataType]:
        """The columns of the answers and their types."""
        predictor = self.model.predictor
        beside = self._humility.beside if self._humility else []
        if predictor.task == "regression":
            return {name: pl.Float64() for name in ("prediction", *beside)}
        number: pl.DataType = pl.List(pl.Float64) if predictor.task == "multiclass" else pl.Float64()
        sets = {name: pl.String() for name in beside}
        return {"probability": number, "label": pl.Series(list(predictor.classes)).dtype, **sets}


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from walking through the lists of a chunk again and again: none is in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _series(name: str, values: Sequence[object], dtype: pl.DataType) -> pl.Series:
    """A column of answers. One of lists is made from all their numbers at once: one by one would take the longest."""
    first = next((value for value in values if isinstance(value, list)), None)
    if first is None:
        return pl.Series(name, values, dtype=dtype)
    width = len(first)
    flat = [number for value in values for number in (value if isinstance(value, list) else [None] * width)]
    made = pl.Series(name, flat, dtype=pl.Float64).reshape((len(values), width)).cast(dtype)
    there = pl.Series([value is not None for value in values])
    return made.zip_with(there, pl.Series([None], dtype=dtype).new_from_index(0, len(values)))


def _marks(marks: Mapping[int, Sequence[str]], rows: int) -> pl.Series:
    """The rules that held, a list for each row; a mark has no comma in it."""
    none = pl.Series(RULES, [[]], dtype=pl.List(pl.String)).new_from_index(0, rows)
    if not marks:
        return none
    texts = pl.Series(RULES, [",".join(marks.get(row, ())) for row in range(rows)], dtype=pl.String)
    return texts.str.split(",").zip_with(texts != "", none)


def raws_of(rows: pl.DataFrame, features: Features, job: Job) -> dict[str, Raw]:
    """The columns a model takes, or looks others up by, as a protocol gives them; a CSV's are read as what it takes."""
    found: dict[str, Raw] = {}
    for field in features.by_name.values():
        if field.name in rows.columns:
            series = rows[field.name]
            series = series.cast(pl.Float64) if isinstance(series.dtype, pl.Decimal) else series
            if job.texts:
                found[field.name] = [None if text is None else value_of(field, text) for text in series.to_list()]
            else:
                found[field.name] = raw_of(series.cast(pl.String) if field.kind == "text" else series)
    return found


def work(folder: Path, start: Path = Path()) -> Scorer:
    """The scorer of the batch under way in a folder of parts, whose relative source starts from another folder."""
    parts = Parts(folder.with_name(folder.name.removesuffix(".parts")), start)
    job = parts.job()
    if job is None:
        raise FileNotFoundError(folder)
    return Scorer(parts, job)
