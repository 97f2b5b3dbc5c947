"""Pure decisions of tracking: names, texts, special values, which point is the latest, and what a chart shows."""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import unquote

from mainspring.core.errors import Conflict, Invalid, TooLarge, did_you_mean
from mainspring.tracking.model import ENDED, CodeState, DatasetRead, Metric

MAX_METRICS = 1000
MAX_PARAMS = 1000
MAX_VALUE = 6000
MAX_TAG = 8000
MAX_PATH = 1000
MAX_EXPERIMENT_TAG = 20000
MAX_IDS = 50_000
"""Most ids in one question; Postgres takes 65,535 values in a statement."""
MAX_INPUT_TAG_KEY, MAX_INPUT_TAG = 255, 500
DATASET_LIMITS = {
    "name": 500,
    "digest": 36,
    "source_type": 500,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
"""Most characters of each part of a dataset's description."""
_KEY = re.compile(r"[/\w.\- :]{1,250}")
_STEP = 2**63
_NAN, _MINUS, _FINITE, _PLUS = -2, -1, 0, 1


@lru_cache(4096)
def check_key(key: str, what: str) -> str:
    """Return `key` when it may name a metric, param or tag.

    Raises:
        Invalid: It is empty, longer than 250 characters, or reads like a path with `..`, `//` or a leading `/`.
    """
    plain = posixpath.normpath(key) == key and key not in (".", "..") and not key.startswith(("/", "../"))
    if plain and _KEY.fullmatch(key):
        return key
    raise Invalid(
        f"{key[:60]!r} can't name a {what}",
        where=what,
        hint="use 1 to 250 letters, digits, '_', '.', '-', ' ', ':' or single '/' between them",
    )


def check_ids(ids: Iterable[str], where: str) -> list[str]:
    """The ids that a question names, each once, sorted.

    Raises:
        Invalid: They are more than a database takes in one statement.
    """
    found = sorted(set(ids))
    if len(found) > MAX_IDS:
        raise Invalid(f"{len(found)} ids", where=where, hint=f"name at most {MAX_IDS}")
    return found


def check_experiment(name: str) -> str:
    """Return `name` when it may name an experiment.

    Raises:
        Invalid: It is empty, longer than 500 characters, or has control characters.
    """
    if name.strip() and len(name) <= 500 and not any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return name
    hint = "use 1 to 500 characters that can be printed"
    raise Invalid(f"{name[:60]!r} can't name an experiment", where="experiment", hint=hint)


def check_model_name(name: str) -> str:
    """Return `name` when it may name a logged model.

    Raises:
        Invalid: It is empty, longer than 500 characters, or has one of the characters / : . % " '.
    """
    if 0 < len(name) <= 500 and name.isprintable() and not set(name) & set("/:.%\"'"):
        return name
    hint = "use 1 to 500 characters without / : . % and quotes"
    raise Invalid(f"{name[:60]!r} can't name a logged model", where="name", hint=hint)


def check_location(location: str) -> str:
    """Return `location` when it may be where an experiment's runs keep their files; "" is the project's own place.

    Raises:
        Invalid: It holds `#`, `?`, `..` or control characters, names a run, or is too long.
    """
    parts = re.split(r"[/\\]", unquote(location))
    odd = any(letter in location for letter in "#?") or ".." in parts or not location.isprintable()
    if odd or location.startswith("runs:") or len(location) > 2000:
        hint = "use an address such as s3://bucket/folder, without '#', '?' and '..'"
        raise Invalid(f"{location[:60]!r} can't be an artifact location", where="artifact_location", hint=hint)
    return location


def check_path(path: str) -> str:
    """Return `path` when it may be the place of an artifact in its run.

    Raises:
        Invalid: It is absolute, leaves the run, or has control characters or backslashes.
    """
    plain = posixpath.normpath(path) == path and not path.startswith(("/", "../")) and path not in ("", ".", "..")
    if plain and len(path) <= MAX_PATH and "\\" not in path and path.isprintable():
        return path
    raise Invalid(
        f"{path[:60]!r} can't be the path of an artifact", where="artifact", hint="use a path like plots/a.svg"
    )


def check_folder(folder: str) -> str:
    """Return `folder` with a slash at its end when it may be a folder of artifacts; "" is all of them.

    Raises:
        Invalid: It is absolute, leaves the tree, or has control characters or backslashes.

    >>> check_folder("plots"), check_folder("plots/"), check_folder("")
    ('plots/', 'plots/', '')
    """
    plain = folder.removesuffix("/")
    return f"{check_path(plain)}/" if plain else ""


Row: TypeAlias = "tuple[str, int, int, int, float]"
"""A point as it is stored: name, step, time, sort of number, number. Rows of one name sort as `rank` does."""


def rows_of(metrics: Iterable[Metric], now: int = 0) -> list[Row]:
    """Points as they are stored; those without a time get that of now.

    >>> rows_of([Metric("loss", float("nan"), 3, 7)])
    [('loss', 3, 7, -2, 0.0)]
    """
    rows = []
    for metric in metrics:
        value, sort = split(metric.value)
        rows.append((metric.key, metric.step, metric.at or now, sort, value))
    return rows


def check_rows(rows: Sequence[Row]) -> None:
    """Refuse names, steps and counts that can't be stored.

    Raises:
        Invalid: A name or a step is out of range.
        TooLarge: More than `MAX_METRICS` points.
    """
    if len(rows) > MAX_METRICS:
        raise TooLarge(f"{len(rows)} points in one batch", where="metrics", hint=f"send at most {MAX_METRICS}")
    for key in {row[0] for row in rows}:
        check_key(key, "metric")
    for key, step, at, _, _ in rows:
        if not (-_STEP <= step < _STEP and 0 <= at < _STEP):
            raise Invalid(f"step {step} or time {at} is out of range", where=f"metric {key}")


def check_texts(texts: Mapping[str, str], what: str, limit: int) -> None:
    """Refuse params or tags whose name or text can't be stored.

    Raises:
        Invalid: A name or a text.
        TooLarge: Too many, or a text over `limit` characters.
    """
    if len(texts) > MAX_PARAMS:
        raise TooLarge(f"{len(texts)} {what}s in one batch", where=what, hint=f"send at most {MAX_PARAMS}")
    for key, text in texts.items():
        check_key(key, what)
        if len(text) > limit:
            raise TooLarge(f"{len(text)} characters, at most {limit}", where=f"{what} {key}", hint="log an artifact")
        if "\x00" in text:
            raise Invalid("a text can't hold the character NUL", where=f"{what} {key}")


def check_dataset(read: DatasetRead) -> None:
    """Refuse a dataset that can't be told from others or is described at too great a length.

    Raises:
        Invalid: It has no name or no digest, or a character NUL.
        TooLarge: A part is too long.
    """
    for name, most in DATASET_LIMITS.items():
        text = getattr(read.dataset, name)
        if len(text) > most:
            raise TooLarge(f"{len(text)} characters, at most {most}", where=f"dataset {name}", hint="log an artifact")
        if "\x00" in text:
            raise Invalid("a text can't hold the character NUL", where=f"dataset {name}")
        if not text and name in ("name", "digest"):
            raise Invalid(f"a dataset needs a {name}", where=f"dataset {name}")
    for key, value in read.tags.items():
        if len(key) > MAX_INPUT_TAG_KEY or len(value) > MAX_INPUT_TAG or "\x00" in key + value:
            what = f"{key[:40]!r} can't be a tag of a dataset"
            hint = f"use a key up to {MAX_INPUT_TAG_KEY} and a text up to {MAX_INPUT_TAG} characters"
            raise Invalid(what, where="dataset tags", hint=hint)


def changed_params(stored: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Params are written once: the same value again is fine, another is not.

    Raises:
        Conflict: A param has another value already.
    """
    for key, value in wanted.items():
        if stored.get(key, value) != value:
            found = f"param {key!r} is {stored[key][:60]!r} and can't become {value[:60]!r}"
            raise Conflict(
                f"Changing param values is not allowed: {found}",
                where=f"param {key}",
                hint="start a new run, or log it as a tag",
            )


def split(value: float) -> tuple[float, int]:
    """A number as (finite number, sort of number): databases lose NaN, so it is kept beside the value.

    The sort orders NaN < -inf < numbers < inf. Minus zero becomes zero.

    >>> split(1.5), split(float("-inf"))
    ((1.5, 0), (0.0, -1))
    """
    if math.isfinite(value):
        return float(value) + 0.0, _FINITE
    if math.isnan(value):
        return 0.0, _NAN
    return 0.0, _PLUS if value > 0 else _MINUS


def joined(value: float, sort: int) -> float:
    """Back from `split`.

    >>> joined(0.0, 1)
    inf
    """
    if sort == _FINITE:
        return value
    return {_NAN: math.nan, _MINUS: -math.inf, _PLUS: math.inf}[sort]


def rank(metric: Metric) -> tuple[int, int, int, float]:
    """What decides which point is the latest: step, then time, then value."""
    value, sort = split(metric.value)
    return metric.step, metric.at, sort, value


def latest(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """The latest point of each metric; the order they come in does not matter."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        known = found.get(metric.key)
        if known is None or rank(metric) > rank(known):
            found[metric.key] = metric
    return found


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points that draw the same curve: first and last, and the lowest and highest of every stretch.

    Args:
        points: (x, y) in the order of x; points whose y is not finite are left out.
        most: At least 4.

    >>> thinned([(float(i), float(i == 500)) for i in range(1000)], 10)[0], (500.0, 1.0) in thinned(
    ...     [(float(i), float(i == 500)) for i in range(1000)], 10)
    ((0.0, 0.0), True)
    """
    kept = [point for point in points if math.isfinite(point[1])]
    if len(kept) <= most:
        return kept
    stretches = max(1, (most - 2) // 2)
    size = math.ceil((len(kept) - 2) / stretches)
    chosen = [kept[0]]
    for start in range(1, len(kept) - 1, size):
        stretch = kept[start : min(start + size, len(kept) - 1)]
        low, high = min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])
        chosen.extend(sorted({low, high}))
    return [*chosen, kept[-1]]


def spread(steps: Sequence[int], most: int) -> list[int]:
    """At most `most` of some steps, evenly spread over them, the first and the last among them when 2 or more.

    >>> spread(range(10), 4), spread([1, 5], 4)
    ([0, 3, 6, 9], [1, 5])
    """
    if len(steps) <= most:
        return list(steps)
    if most == 1:
        return [steps[-1]]
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]


_ADDABLE = 1e300


def smoothed(points: Sequence[tuple[float, float]], weight: float) -> list[tuple[float, float]]:
    """The points with y as the running mean whose memory fades by `weight` a point, free of the bias of its start.

    Args:
        points: (x, y) in the order of x; a y that is not finite, or too large to be added to others, stays as it is.
        weight: In [0, 1); 0 changes nothing.

    Source: the bias correction of Kingma and Ba, "Adam" (2015), section 3.

    >>> smoothed([(0.0, 1.0), (1.0, 3.0)], 0.5)
    [(0.0, 1.0), (1.0, 2.3333333333333335)]
    """
    total, share, found = 0.0, 0.0, []
    for x, y in points:
        known = abs(y) < _ADDABLE
        if known:
            total = weight * total + (1 - weight) * y
            share = weight * share + (1 - weight)
        found.append((x, total / share if known else y))
    return found


def appended(text: str, entry: Mapping[str, object], *, where: str) -> str:
    """A text that holds a JSON list, with one entry more.

    Raises:
        Invalid: It holds something else.

    >>> appended("[]", {"a": 1}, where="tag")
    '[{"a": 1}]'
    """
    try:
        kept = json.loads(text)
    except ValueError:
        kept = None
    if not isinstance(kept, list):
        raise Invalid("this is no JSON list", where=where, hint="delete the tag first")
    return json.dumps([*kept, dict(entry)])


def filled(kept: CodeState | None, given: CodeState) -> CodeState:
    """A code state with the fields that `given` has in place of its own.

    >>> found = filled(CodeState(commit="a", entry="x.py"), CodeState(commit="b"))
    >>> found.commit, found.entry
    ('b', 'x.py')
    """
    have = {name: getattr(given, name) for name in CodeState.__slots__ if getattr(given, name)}
    return replace(kept or CodeState(), **have)


def check_status(status: str) -> str:
    """Return `status` when a run can end with it.

    Raises:
        Invalid: It is not one of finished, failed, killed.
    """
    if status in ENDED:
        return status
    hint = did_you_mean(status, ENDED) or "use finished, failed or killed"
    raise Invalid(f"a run can't end as {status!r}", where="status", hint=hint)


def differences(sides: Sequence[Mapping[str, object]]) -> dict[str, tuple[object, ...]]:
    """The keys on which mappings differ, with the value of each side (None where it has none), sorted by key.

    >>> differences([{"a": 1, "b": 2}, {"a": 1, "b": 3}])
    {'b': (2, 3)}
    """
    keys = sorted({key for side in sides for key in side})
    rows = {key: tuple(side.get(key) for side in sides) for key in keys}
    return {key: row for key, row in rows.items() if any(entry != row[0] for entry in row)}


def opinion(said: Mapping[str, object]) -> tuple[str, object]:
    """What an assessment of a trace is and says, for filters: feedback or expectation, and its value.

    One that another took the place of is nothing any more.

    >>> opinion({"feedback": {"value": True}}), opinion({"valid": False, "feedback": {"value": 1}})
    (('feedback', True), ('', None))
    """
    if not said.get("valid", True):
        return "", None
    for kind in ("feedback", "expectation"):
        content = said.get(kind)
        if isinstance(content, Mapping):
            whole = content.get("serialized_value", content.get("serializedValue"))
            return kind, whole.get("value") if isinstance(whole, Mapping) else content.get("value")
    return "", None
