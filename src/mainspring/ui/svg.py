"""Charts as SVG text: the same on pages, in cards and in notebooks. No numpy, no script; colours come from the page.

Every chart has a title that says what it shows, and a description with its numbers in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from markupsafe import Markup

from mainspring.core.clock import DAY_US, moment
from mainspring.core.values import dataclass

Point = tuple[float, float]

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 22
COLOURS = 8
"""How many colours curves have; after these they begin again with the next dash."""
_CAPTION = 16
"""Pixels of a line of text beside a chart."""
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True, slots=True)
class Curve:
    """One of several lines of a chart.

    Args:
        label: What it is called.
        points: Pairs (x, y) in the order of x.
        faint: What lies behind it, such as the same values before they were smoothed.
        band: Triples (x, low, high): the interval about each point.
    """

    label: str
    points: Sequence[Point]
    faint: Sequence[Point] = ()
    band: Sequence[tuple[float, float, float]] = ()


def svg_curves(
    curves: Sequence[Curve],
    *,
    label: str,
    width: int = 480,
    height: int = 200,
    log: bool = False,
    times: bool = False,
    marks: Sequence[float] = (),
) -> Markup:
    """Lines over the same axes, the colour and dash of each being that of its place, as in `svg_key`.

    Args:
        curves: The lines.
        label: What the chart shows.
        width: Pixels.
        height: Pixels.
        log: y grows by powers of ten; values that are not above zero leave gaps.
        times: x is epoch microseconds.
        marks: Values of x to mark with a vertical line, such as alarms.
    """
    everything = [point for curve in curves for point in (*curve.faint, *curve.points)]
    ends = [(x, end) for curve in curves for x, *both in curve.band for end in both]
    frame = _Frame([*everything, *ends], width, height, times=times, log=log)
    parts: list[str] = frame.lines(marks)
    for place, curve in enumerate(curves):
        style = f'class="c{place % COLOURS}"'
        dash = _DASHES[place // COLOURS % len(_DASHES)]
        parts += [_line(piece, style, "", faint=True) for piece in frame.pieces(curve.faint)]
        parts += frame.bands(curve.band, style)
        for piece in frame.pieces(curve.points):
            one = f'<circle {style} fill="currentColor" cx="{piece[0][0]:.1f}" cy="{piece[0][1]:.1f}" r="3"/>'
            parts.append(one if len(piece) == 1 else _line(piece, style, dash))
    words = "; ".join(f"{curve.label} {_range([y for _, y in curve.points])}" for curve in curves[:COLOURS])
    return _svg(width, height, label, words or "no data yet", [*frame.axes(), *parts])


def svg_key(place: int) -> Markup:
    """A short stroke in the colour and dash of the curve at a place, to stand before its name."""
    dash = _DASHES[place // COLOURS % len(_DASHES)]
    stroke = _line([(0, 6), (24, 6)], f'class="c{place % COLOURS}"', dash)
    return Markup(f'<svg class="key" viewBox="0 0 24 12" width="24" height="12" aria-hidden="true">{stroke}</svg>')  # noqa: S704


def svg_parallel(
    axes: Sequence[str],
    rows: Sequence[Sequence[float | str | None]],
    *,
    label: str,
    width: int = 960,
    height: int = 300,
) -> Markup:
    """Parallel coordinates: one upright axis a quantity, one line a row, coloured by its place on the last axis.

    Args:
        axes: Names of the quantities.
        rows: One value an axis: a number, a word, or None, which leaves a gap. An axis with a word is one of words.
        label: What the chart shows.
        width: Pixels.
        height: Pixels.
    """
    scales = [_Scale([row[place] for row in rows]) for place in range(len(axes))]
    gap = (width - 140) / max(len(axes) - 1, 1)
    top, bottom = 34, height - 14
    parts = []
    for row in rows:
        shares = [scale.share(value) for scale, value in zip(scales, row, strict=True)]
        last = shares[-1] if shares and shares[-1] is not None else None
        colour = "currentColor" if last is None else f"hsl({220 - 200 * last:.0f} 70% 50%)"
        for piece in _pieces([(70 + place * gap, share) for place, share in enumerate(shares)]):
            steps = "L".join(f"{x:.1f} {bottom - y * (bottom - top):.1f}" for x, y in piece)
            parts.append(f'<path fill="none" stroke="{colour}" stroke-opacity="0.75" stroke-width="1.4" d="M{steps}"/>')
    for place, (name, scale) in enumerate(zip(axes, scales, strict=True)):
        x = 70 + place * gap
        parts.append(f'<line class="axis" stroke="currentColor" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(_text(x, 14, name if len(name) <= 22 else name[:21] + "…", "middle"))
        for share, words in scale.ticks():
            side, anchor = (5, "start") if place and place == len(axes) - 1 else (-5, "end")  # lines end at the last
            parts.append(_text(x + side, bottom - share * (bottom - top) + 4, words[:16], anchor))
    return _svg(width, height, label, f"{len(rows)} lines over {', '.join(axes)}", parts)


def svg_line(
    points: Sequence[Point],
    *,
    label: str,
    width: int = 480,
    height: int = 150,
    times: bool = False,
    reference: float | None = None,
    marks: Sequence[float] = (),
) -> Markup:
    """A line through points in the order of x; a point whose y is missing or not finite leaves a gap.

    Args:
        points: Pairs (x, y).
        label: What the chart shows; its accessible name.
        width: Pixels.
        height: Pixels.
        times: x is epoch microseconds.
        reference: A level to compare with, drawn as a dashed line.
        marks: Values of x to mark with a vertical line, such as alarms.
    """
    frame = _Frame(points, width, height, times=times, reference=reference)
    parts = [_path(piece, "line") for piece in frame.pieces()]
    parts += [frame.dot(piece[0]) for piece in frame.pieces() if len(piece) == 1]
    return frame.drawn(parts, label, marks)


def svg_dots(
    points: Sequence[tuple[float, float | None, str]],
    *,
    label: str,
    width: int = 720,
    height: int = 260,
    log: bool = False,
    axes: tuple[str, str] = ("", ""),
) -> Markup:
    """Points that have names, such as models by how good and how slow they are.

    Args:
        points: Triples (x, y, name); a point without y is left out.
        label: What the chart shows.
        width: Pixels.
        height: Pixels.
        log: y grows by powers of ten.
        axes: What x and y are, written below and above the chart.
    """
    known = [(x, y, name) for x, y, name in points if y is not None]
    frame = _Frame([(x, y) for x, y, _ in known], width, height, log=log)
    parts = []
    for piece, (_, _, name) in zip(frame.places(), known, strict=True):
        x, y = piece
        side, anchor = (-6, "end") if x > width * 0.8 else (6, "start")
        parts += [frame.dot(piece), _text(x + side, y + 4, name, anchor)]
    words = "; ".join(f"{name} {_number(x)}, {_number(y)}" for x, y, name in known[:40])
    drawn = [*frame.axes(), *parts]
    if any(axes):
        moved = f'<g transform="translate(0 {_CAPTION})">{"".join(drawn)}</g>'
        below = _text(width / 2, height + _CAPTION + 10, axes[0], "middle")
        drawn, height = [_text(4, 11, axes[1], "start"), moved, below], height + 2 * _CAPTION
    return _svg(width, height, label, words or "no data yet", drawn)


def svg_steps(
    points: Sequence[Point],
    *,
    label: str,
    width: int = 480,
    height: int = 150,
    times: bool = False,
    reference: float | None = None,
    marks: Sequence[float] = (),
) -> Markup:
    """Like `svg_line`, but a value holds until the next point: versions that were live, counts, running evidence."""
    frame = _Frame(points, width, height, times=times, reference=reference)
    parts = []
    for piece in frame.pieces():
        corners = [piece[0]]
        for (_, before), (x, y) in pairwise(piece):
            corners += [(x, before), (x, y)]
        parts.append(_path(corners, "line"))
    return frame.drawn(parts, label, marks)


def svg_bars(
    values: Sequence[float],
    labels: Sequence[str] = (),
    *,
    label: str,
    width: int = 480,
    height: int = 150,
    reference: Sequence[float] = (),
) -> Markup:
    """Bars from zero, one a value.

    Args:
        values: Heights; negative values hang down.
        labels: Names under the bars; those that do not fit are left out.
        label: What the chart shows.
        width: Pixels.
        height: Pixels.
        reference: Heights to compare with, drawn as an outline behind each bar.
    """
    count = max(len(values), len(reference))
    tops = [(index + 0.5, value) for index, value in enumerate([*values])]
    hidden = [(0.0, 0.0), (float(max(count, 1)), 0.0), *((index + 0.5, r) for index, r in enumerate(reference))]
    frame = _Frame([*tops, *hidden], width, height, ticks_x=False)
    slot = (width - _LEFT - _RIGHT) / max(count, 1)
    parts = [frame.bar(index, value, slot, "ref-bar", 0.92) for index, value in enumerate(reference) if _finite(value)]
    parts += [frame.bar(index, value, slot, "bar", 0.72) for index, value in enumerate(values) if _finite(value)]
    every = max(1, math.ceil(max((len(name) for name in labels), default=1) * 6.5 / slot)) if labels else 1
    for index, name in enumerate(labels):
        if index % every == 0:
            parts.append(_text(_LEFT + (index + 0.5) * slot, height - 6, name, "middle"))
    words = ", ".join(f"{name} {_number(value)}" for name, value in zip(labels, values, strict=False)) or _range(values)
    return _svg(width, height, label, words, [*frame.axes(), *parts])


def svg_map(
    places: Sequence[Point],
    values: Sequence[float],
    labels: Sequence[str],
    *,
    label: str,
    width: int = 480,
    height: int = 220,
    reference: Sequence[float] = (),
) -> Markup:
    """Regions of a plane, each a disc as large as its share.

    Args:
        places: Where each region lies.
        values: Its share.
        labels: Its name.
        label: What the chart shows.
        width: Pixels.
        height: Pixels.
        reference: Shares to compare with, drawn as outlines.
    """
    shares = [share for share in (*values, *reference) if _finite(share)]
    scale = 0.14 * min(width, height) / math.sqrt(max([*shares, 1e-9]))
    frame = _Frame(places, width, height)
    parts = []
    for name, style, sizes in (
        ("ref-bar", 'fill="none" stroke="currentColor"', reference),
        ("bar", 'fill="currentColor" fill-opacity="0.45"', values),
    ):
        for (x, y), share in zip(frame.places(), sizes, strict=False):
            if _finite(share) and share > 0:
                radius = scale * math.sqrt(share)
                parts.append(f'<circle class="{name}" {style} cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
    words = ", ".join(f"{name} {_number(value)}" for name, value in zip(labels, values, strict=False)) or "no data yet"
    return _svg(width, height, label, words, [*frame.axes(), *parts])


def svg_interval(
    low: float,
    value: float,
    high: float,
    *,
    label: str,
    width: int = 240,
    height: int = 28,
    reference: float | None = 0.0,
    tone: str = "",
) -> Markup:
    """An estimate with its confidence interval, and the level it is held against.

    Args:
        low: Lower bound.
        value: Estimate.
        high: Upper bound.
        label: What is estimated.
        width: Pixels.
        height: Pixels.
        reference: The level, such as a margin, drawn as a vertical line; None for none.
        tone: "ok", "warn" or "bad" colours the estimate.
    """
    known = [n for n in (low, value, high, reference) if n is not None and _finite(n)] or [0.0]
    spread = (max(known) - min(known)) or 1.0
    start, scale = min(known) - 0.08 * spread, (width - 8) / (1.16 * spread)
    middle = height / 2

    def x_of(n: float) -> str:
        return f"{4 + (n - start) * scale:.1f}"

    parts = []
    if reference is not None and _finite(reference):
        parts.append(
            f'<line class="ref" stroke="currentColor" stroke-dasharray="3 3" x1="{x_of(reference)}" '
            f'x2="{x_of(reference)}" y1="2" y2="{height - 2}"/>'
        )
    if _finite(low) and _finite(high):
        parts.append(
            f'<line class="line {tone}" stroke="currentColor" stroke-width="2" x1="{x_of(low)}" x2="{x_of(high)}" '
            f'y1="{middle}" y2="{middle}"/>'
        )
    if _finite(value):
        parts.append(f'<circle class="dot {tone}" fill="currentColor" cx="{x_of(value)}" cy="{middle}" r="4"/>')
    words = f"{_number(value)}, between {_number(low)} and {_number(high)}"
    if reference is not None:
        words += f"; compared with {_number(reference)}"
    return _svg(width, height, label, words, parts)


class _Frame:
    """Where data lies on the paper: scales, axes and labels."""

    def __init__(
        self,
        points: Sequence[Point],
        width: int,
        height: int,
        *,
        times: bool = False,
        reference: float | None = None,
        ticks_x: bool = True,
        log: bool = False,
    ) -> None:
        self.log = log
        self.points = self._known(points)
        self.width, self.height, self.times, self.reference, self.ticks_x = width, height, times, reference, ticks_x
        xs = [x for x, _ in self.points] or [0.0, 1.0]
        ys = [y for _, y in self.points if _finite(y)] or [0.0, 1.0]
        if reference is not None:
            ys = [*ys, reference]
        self.x0, self.x1 = _widened(min(xs), max(xs), 0)
        if times and min(xs) == max(xs):  # a tenth of the time since 1970 would be years
            self.x0, self.x1 = xs[0] - DAY_US / 2, xs[0] + DAY_US / 2
        self.y0, self.y1 = _widened(min(ys), max(ys), 0.06)
        if not log and min(ys) >= 0 and (min(ys) <= 0.3 * max(ys) or min(ys) == 0):
            self.y0 = 0.0

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x0) / (self.x1 - self.x0) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return self.height - _BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (self.height - _TOP - _BOTTOM)

    def _known(self, points: Sequence[Point]) -> list[Point]:
        """Points that can be drawn, with NaN for a y that can't; on a logarithmic axis y is the exponent of ten."""
        known = [(float(x), float(y) if _finite(y) else math.nan) for x, y in points if _finite(x)]
        return [(x, math.log10(y) if y > 0 else math.nan) for x, y in known] if self.log else known

    def pieces(self, points: Sequence[Point] | None = None) -> list[list[Point]]:
        """Stretches of points (of all of them when not given) without a gap, on the paper."""
        known = self.points if points is None else self._known(points)
        return [[(self.x(x), self.y(y)) for x, y in piece] for piece in _pieces(known)]

    def places(self) -> list[Point]:
        """Where each point is on the paper."""
        return [(self.x(x), self.y(y)) for x, y in self.points]

    def dot(self, point: Point) -> str:
        return f'<circle class="dot" fill="currentColor" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="3"/>'

    def bar(self, index: int, value: float, slot: float, name: str, share: float) -> str:
        top, bottom = sorted((self.y(value), self.y(0.0)))
        left = _LEFT + index * slot + slot * (1 - share) / 2
        style = 'fill="none" stroke="currentColor"' if name == "ref-bar" else 'fill="currentColor"'
        return (
            f'<rect class="{name}" {style} x="{left:.1f}" y="{top:.1f}" width="{slot * share:.1f}" '
            f'height="{max(bottom - top, 0.5):.1f}"/>'
        )

    def axes(self) -> list[str]:
        parts = []
        for tick in _ticks(self.y0, self.y1):
            y = self.y(tick)
            parts.append(
                f'<line class="axis" stroke="currentColor" stroke-opacity="0.2" x1="{_LEFT}" '
                f'x2="{self.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(_text(_LEFT - 6, y + 4, _number(10**tick if self.log else tick), "end"))
        if self.ticks_x:
            for tick, words in self._x_ticks():
                parts.append(_text(self.x(tick), self.height - 6, words, "middle"))
        return parts

    def bands(self, band: Sequence[tuple[float, float, float]], style: str) -> list[str]:
        """Shapes between low and high; a value that can't be drawn parts one from the next."""
        lows, highs = ([(x, both[side]) for x, *both in band if all(map(_finite, both))] for side in (0, 1))
        known = {x for x, _ in lows}
        gaps = [(x, 0.0 if x in known else math.nan) for x, *_ in band]
        shapes = []
        for piece in _pieces(gaps):
            xs = {x for x, _ in piece}
            under, over = ([(self.x(x), self.y(y)) for x, y in side if x in xs] for side in (lows, highs))
            steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in [*under, *reversed(over)])
            shapes.append(f'<path {style} fill="currentColor" fill-opacity="0.14" stroke="none" d="M{steps}Z"/>')
        return shapes

    def lines(self, marks: Sequence[float]) -> list[str]:
        """Vertical lines at these values of x."""
        return [
            f'<line class="mark" stroke="currentColor" x1="{self.x(at):.1f}" x2="{self.x(at):.1f}" y1="{_TOP}" '
            f'y2="{self.height - _BOTTOM}"/>'
            for at in marks
            if self.x0 <= at <= self.x1
        ]

    def drawn(self, parts: list[str], label: str, marks: Sequence[float]) -> Markup:
        lines = self.lines(marks)
        if self.reference is not None:
            y = self.y(self.reference)
            lines.append(
                f'<line class="ref" stroke="currentColor" stroke-dasharray="4 3" x1="{_LEFT}" '
                f'x2="{self.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        return _svg(self.width, self.height, label, self._words(len(lines)), [*self.axes(), *lines, *parts])

    def _x_ticks(self) -> list[tuple[float, str]]:
        if not self.times:
            return [(tick, _number(tick)) for tick in _ticks(self.x0, self.x1)]
        form = "%d %b" if self.x1 - self.x0 >= 2 * DAY_US else "%H:%M"
        inner = [self.x0 + share * (self.x1 - self.x0) for share in (0.08, 0.36, 0.64, 0.92)]
        return [(at, moment(int(at)).strftime(form)) for at in inner]

    def _words(self, lines: int) -> str:
        ys = [y for _, y in self.points if _finite(y)]
        if not ys:
            return "no data yet"
        return f"{len(ys)} points, {_range(ys)}, last {_number(ys[-1])}" + (
            f", {lines} lines drawn in" if lines else ""
        )


class _Scale:
    """Where values lie on an upright axis, as shares of its height: numbers by size, words by their order."""

    def __init__(self, values: Sequence[float | str | None]) -> None:
        known = [value for value in values if value is not None and (isinstance(value, str) or _finite(value))]
        self._words: list[str] = []
        self._low, self._high = 0.0, 1.0
        if any(isinstance(value, str) for value in known):
            self._words = sorted({str(value) for value in known})
        elif known:
            numbers = [float(value) for value in known]
            self._low, self._high = _widened(min(numbers), max(numbers), 0)

    def share(self, value: float | str | None) -> float | None:
        """From 0 (the foot) to 1; None for what has no place."""
        if value is None or (isinstance(value, float) and not _finite(value)):
            return None
        if self._words:
            return (self._words.index(str(value)) + 0.5) / len(self._words)
        return (float(value) - self._low) / (self._high - self._low)

    def ticks(self) -> list[tuple[float, str]]:
        """What is written beside the axis, and where."""
        if self._words:
            every = math.ceil(len(self._words) / 12)
            return [((place + 0.5) / len(self._words), word) for place, word in enumerate(self._words)][::every]
        return [(0.0, _number(self._low)), (0.5, _number((self._low + self._high) / 2)), (1.0, _number(self._high))]


def _pieces(points: Sequence[tuple[float, float | None]]) -> list[list[Point]]:
    """Stretches of points without a gap."""
    found: list[list[Point]] = [[]]
    for x, y in points:
        if y is not None and _finite(y):
            found[-1].append((x, y))
        elif found[-1]:
            found.append([])
    return [piece for piece in found if piece]


def _line(points: Sequence[Point], style: str, dash: str, *, faint: bool = False) -> str:
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    more = f' stroke-dasharray="{dash}"' if dash else ""
    more += ' stroke-opacity="0.3"' if faint else ""
    return f'<path {style} fill="none" stroke="currentColor" stroke-width="1.6"{more} d="M{steps}"/>'


def _svg(width: int, height: int, label: str, words: str, parts: Sequence[str]) -> Markup:
    return Markup(  # noqa: S704 - every text in it is escaped by _text or here
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(f"{label}: {words}")}" font-size="11" '
        f'font-family="system-ui, sans-serif"><title>{escape(label)}</title><desc>{escape(words)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _path(points: Sequence[Point], name: str) -> str:
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="{name}" fill="none" stroke="currentColor" stroke-width="1.5" d="M{steps}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text class="tick" fill="currentColor" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
    )


def _finite(value: object) -> bool:
    """Whether a value can be drawn: a number, and not so large that differences overflow."""
    return isinstance(value, (int, float)) and abs(value) < 1e300


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    if high - low > max(1e-9 * max(abs(low), abs(high)), 1e-290):
        return low - share * (high - low), high + share * (high - low)
    margin = abs(low) * 0.1 if abs(low) > 1e-280 else 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """About four round numbers between `low` and `high`."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 5, 10, 20) if (high - low) / (step * m) <= 5)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    if not _finite(value):
        return "unknown"
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.1e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _range(values: Sequence[float]) -> str:
    known = [value for value in values if _finite(value)]
    return f"from {_number(min(known))} to {_number(max(known))}" if known else "no data yet"
