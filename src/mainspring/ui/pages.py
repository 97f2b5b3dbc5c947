"""The Jinja environment of all pages: where templates are found, and the filters and functions they may use."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from mainspring import __version__
from mainspring.core.caller import caller
from mainspring.core.clock import SECOND_US, SystemClock, iso, moment
from mainspring.ui.files import address_of
from mainspring.ui.svg import (
    Curve,
    svg_bars,
    svg_curves,
    svg_dots,
    svg_interval,
    svg_key,
    svg_line,
    svg_map,
    svg_parallel,
    svg_steps,
)

NAVIGATION = (
    ("loop", "/", "Loop"),
    ("datasets", "/datasets", "Data"),
    ("runs", "/runs", "Runs"),
    ("pipelines", "/pipelines", "Pipelines"),
    ("training", "/leaderboards", "Training"),
    ("models", "/models", "Models"),
    ("gates", "/gates", "Gates"),
    ("deployments", "/deployments", "Deployments"),
    ("monitors", "/monitors", "Monitors"),
    ("events", "/events", "Events"),
)
"""Section, address and name of every entry of the navigation, in the order of the loop."""


def page_environment(paths: Iterable[str] = ()) -> Environment:
    """Templates by name: `shell.html` from here, `<room>/page/NAME.html` from the rooms. Everything is escaped.

    Args:
        paths: The paths of all pages, so that the navigation and references lead only to pages that exist.
    """
    paths = set(paths)
    shapes = page_shapes(paths)
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("mainspring.ui", "page"), PackageLoader("mainspring", "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": ago,
        "brief": brief,
        "bytes": size,
        "count": count,
        "iso": iso,
        "percent": percent,
        "quoted": shlex.quote,
        "reference": reference,
        "short": short,
        "time": time,
        "address": lambda subject: address(subject, shapes),
        "significant": significant,
    }
    environment.globals |= {
        "caller": caller,
        "curve": Curve,
        "file": address_of,
        "navigation": [entry for entry in NAVIGATION if entry[1] in paths],
        "now": SystemClock().now,
        "svg_bars": svg_bars,
        "svg_curves": svg_curves,
        "svg_dots": svg_dots,
        "svg_key": svg_key,
        "svg_parallel": svg_parallel,
        "svg_interval": svg_interval,
        "svg_line": svg_line,
        "svg_map": svg_map,
        "svg_steps": svg_steps,
        "release": __version__,
    }
    return environment


def ago(at: int | None, now: int | None = None) -> str:
    """How long ago `at` was, in words.

    >>> ago(0, 90_000_000)
    '1 min ago'
    """
    if at is None:
        return "never"
    seconds = ((SystemClock().now() if now is None else now) - at) // SECOND_US
    if abs(seconds) < 5:
        return "just now"
    steps = ((86400 * 365, "years"), (86400, "days"), (3600, "h"), (60, "min"), (1, "s"))
    length, unit = next(step for step in steps if abs(seconds) >= step[0])
    number = abs(seconds) // length
    words = f"{number} {unit[:-1] if number == 1 and unit.endswith('s') and len(unit) > 1 else unit}"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def time(at: int | None) -> str:
    """A time in UTC to the second, empty when there is none.

    >>> time(1364774400000000)
    '2013-04-01 00:00:00'
    """
    return "" if at is None else moment(at).strftime("%Y-%m-%d %H:%M:%S")


def size(number: int | None) -> str:
    """Bytes in a readable unit.

    >>> size(1536)
    '1.5 KiB'
    """
    if number is None:
        return ""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def count(number: float | None) -> str:
    """A whole number with thousands apart.

    >>> count(1234567)
    '1,234,567'
    """
    return "" if number is None else f"{number:,.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.256)
    '25.6 %'
    """
    return "" if share is None else f"{100 * share:.{digits}f} %"


def significant(value: float | None, digits: int = 4) -> str:
    """A number to some significant digits.

    >>> significant(0.123456)
    '0.1235'
    """
    return "" if value is None else f"{value:.{digits}g}"


def short(text: str | None, length: int = 8) -> str:
    """The end of an id, which is where two ids of the same moment differ; the start of a digest; other text up to 24.

    >>> short("0192f3a4b5c67d8e9f00112233445566")
    '33445566'
    """
    if not text:
        return ""
    if set(text) - set("0123456789abcdef"):
        return text if len(text) <= 24 else text[:23] + "…"
    return text[-length:] if len(text) == 32 else text[:length]


def reference(subject: str) -> str:
    """A reference as a person reads it: ids are shortened.

    >>> reference("runs/0192f3a4b5c67d8e9f00112233445566")
    'runs/33445566'
    """
    return "/".join(short(part) if len(part) == 32 else part for part in subject.split("/"))


def address(subject: str, shapes: frozenset[tuple[str, int]]) -> str:
    """The page about the thing a reference names; its events when it has no page of its own.

    Args:
        subject: A reference such as `models/flights/3`.
        shapes: Which pages there are: the noun, and how many names follow it.

    >>> address("models/flights/3", frozenset({("models", 2)}))
    '/models/flights/3'
    """
    noun, *names = subject.split("/")
    path = quote(subject, safe="/")
    return f"/{path}" if (noun, len(names)) in shapes else f"/events?subject={path}"


def page_shapes(paths: Iterable[str]) -> frozenset[tuple[str, int]]:
    """Which pages there are, from the paths of the routes: `/models/{name:str}` is ("models", 1)."""
    found = set()
    for path in paths:
        noun, *rest = path.strip("/").split("/")
        if all(part.startswith("{") for part in rest):
            found.add((noun, len(rest)))
    return frozenset(found)


def brief(value: object) -> str:
    """A value of a payload on one line."""
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, str):
        digest = len(value) in (32, 64) and not set(value) - set("0123456789abcdef")
        return (
            short(value, 8 if len(value) == 32 else 12) if digest else value if len(value) <= 80 else value[:79] + "…"
        )
    if isinstance(value, Mapping | Sequence):
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text if len(text) <= 80 else text[:79] + "…"
    return str(value)
