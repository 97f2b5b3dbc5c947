"""Batches on the wire and in spool files: compact JSON, in which NaN and the infinities are the words for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field

import msgspec

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.tracking.model import DEFAULT, CodeState, Environment, Metric


@dataclass(frozen=True, slots=True)
class NewRun:
    """What starts a run. With `run_id`, sending it again gives the same run; `started_at` is for what is sent later."""

    experiment: str = DEFAULT
    name: str = ""
    parent: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    code: CodeState | None = None
    environment: Environment | None = None
    seed: int | None = None
    run_id: str = ""
    started_at: int = 0


_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class Point(msgspec.Struct, array_like=True, frozen=True):
    """One point of a metric: key, value (a number, "NaN", "Infinity" or "-Infinity"), step, time in microseconds."""

    key: str
    value: float | str
    step: int = 0
    at: int = 0


class Batch(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What `POST /api/v1/runs/{id}/log` takes: stored whole or not at all, once however often it is sent."""

    metrics: list[Point] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}

    def points(self) -> list[Metric]:
        """The points as values.

        Raises:
            Invalid: A value is another word.
        """
        return [Metric(point.key, _number(point), point.step, point.at) for point in self.metrics]


_batches = msgspec.json.Decoder(Batch)
_encoder = msgspec.json.Encoder()


def decode(data: bytes) -> Batch:
    """A batch from its bytes.

    Raises:
        Invalid: The bytes are not a batch; says where.
    """
    try:
        return _batches.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as reason:
        hint = '{"metrics": [["loss", 0.5, 1, 0]], "params": {"lr": "0.1"}, "tags": {}}'
        raise Invalid(f"not a batch: {reason}", where="body", hint=hint) from None


def encode(metrics: Sequence[Metric], *, params: Mapping[str, str] = {}, tags: Mapping[str, str] = {}) -> bytes:
    """The bytes of a batch, on one line."""
    points = [Point(m.key, number_or_word(m.value), m.step, m.at) for m in metrics]
    return _encoder.encode(Batch(points, dict(params), dict(tags)))


def encode_rows(rows: Sequence[tuple[str, float | str, int, int]]) -> bytes:
    """The bytes of a batch of points whose values went through `number_or_word`; a few times faster than `encode`.

    >>> decode(encode_rows([("loss", 0.5, 1, 7)])).points() == [Metric("loss", 0.5, 1, 7)]
    True
    """
    return _encoder.encode({"metrics": rows})


def number_or_word(value: float) -> float | str:
    """A finite number as it is; else "NaN", "Infinity" or "-Infinity", since JSON has no numbers for these."""
    if value - value == 0:
        return value
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def numbers_or_words(values: list[float]) -> list[float | str]:
    """Each value as `number_or_word` writes it.

    >>> numbers_or_words([0.5, float("inf")])
    [0.5, 'Infinity']
    """
    if all(map(math.isfinite, values)):
        return list(values)
    return [number_or_word(value) for value in values]


def _number(point: Point) -> float:
    if isinstance(point.value, str):
        if point.value not in _WORDS:
            raise Invalid(f"{point.value[:40]!r} is no number", where=f"metric {point.key[:60]}")
        return _WORDS[point.value]
    return point.value
