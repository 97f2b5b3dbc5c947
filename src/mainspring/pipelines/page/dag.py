"""The graph of a run as SVG: steps by their distance from the start, coloured by state, each a link to its details."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from mainspring.pipelines.model import Kind, StepRun, StepState
from mainspring.pipelines.rules import levels
from mainspring.pipelines.service import WHOLE_STEPS

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 160, 44, 44, 16, 4
_NAME_LETTERS = 20
MOST_DRAWN = WHOLE_STEPS
LONG = 40
"""With more steps than this the page shows the details of one at a time."""
TONES = {
    StepState.FINISHED: "ok",
    StepState.CACHED: "ok",
    StepState.RUNNING: "warn",
    StepState.ASKED: "warn",
    StepState.FAILED: "bad",
    StepState.CANCELLED: "bad",
}
"""The colour of a state; states that are not here have none."""


def draw(steps: Sequence[StepRun], name: str) -> Markup:
    """The steps of a run from left to right, items of a list folded into their step.

    Empty when there are none, or too many to see anything.
    """
    inner: dict[str, list[StepRun]] = {}
    for step in steps:
        inner.setdefault(step.parent, []).append(step)
    steps = inner.get("", [])
    if not 0 < len(steps) <= MOST_DRAWN:
        return Markup("")
    known = {step.id for step in steps}
    columns = levels({step.id: [need for need in step.needs if need in known] for step in steps})
    places = {step: _place(x, y) for x, column in enumerate(columns) for y, step in enumerate(column)}
    width = len(columns) * (_WIDTH + _GAP_X) - _GAP_X + 2 * _EDGE
    height = max(map(len, columns)) * (_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _EDGE
    edges = [_edge(places[need], places[step.id]) for step in steps for need in step.needs if need in places]
    boxes = [_box(step, places[step.id], inner.get(step.id, ()), is_long=len(steps) > LONG) for step in steps]
    words = "; ".join(f"{step.id} {step.state}" for step in steps)
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="group" aria-label="{escape(f"Steps of {name}: {words}")}" font-size="12" '
        f'font-family="system-ui, sans-serif">{"".join(edges)}{"".join(boxes)}</svg>'
    )


def _place(column: int, row: int) -> tuple[int, int]:
    return _EDGE + column * (_WIDTH + _GAP_X), _EDGE + row * (_HEIGHT + _GAP_Y)


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x0, y0, x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT // 2, end[0], end[1] + _HEIGHT // 2
    middle = (x0 + x1) // 2
    return (
        f'<path fill="none" stroke="currentColor" stroke-opacity="0.5" '
        f'd="M{x0} {y0}C{middle} {y0} {middle} {y1} {x1} {y1}"/>'
    )


def _box(step: StepRun, place: tuple[int, int], items: Sequence[StepRun], *, is_long: bool) -> str:
    x, y = place
    shown = step.id if len(step.id) <= _NAME_LETTERS else step.id[: _NAME_LETTERS - 1] + "…"
    dashes = ' stroke-dasharray="4 3"' if step.state is StepState.CACHED else ""
    address = f"?step={step.id}" if is_long else ""
    title = f"{step.group}/{step.id}" if step.group else step.id
    edge = f"M{x + 6} {y + _HEIGHT + 3}H{x + _WIDTH + 3}V{y + 6}"
    place_and_size = f'x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"'
    behind = f'<path fill="none" stroke="currentColor" d="{edge}"/>' if step.kind is Kind.EACH else ""
    return (
        f'<a href="{escape(address)}#step-{escape(step.id)}"><g class="{TONES.get(step.state, "")}">'
        f"<title>{escape(title)}</title>{behind}"
        f'<rect class="under" {place_and_size}/>'  # lines go behind a step, not through its words
        f'<rect {place_and_size} fill="currentColor" fill-opacity="0.08" '
        f'stroke="currentColor" stroke-width="1.5"{dashes}/>'
        f'<text fill="currentColor" x="{x + 10}" y="{y + 18}" font-weight="600">{escape(shown)}</text>'
        f'<text fill="currentColor" x="{x + 10}" y="{y + 34}">{escape(_words(step, items))}</text></g></a>'
    )


def _words(step: StepRun, items: Sequence[StepRun]) -> str:
    if items:
        done = sum(item.state.has_result for item in items)
        failed = sum(item.state is StepState.FAILED for item in items)
        return f"{done} of {len(items)}{f', {failed} failed' if failed else ''}"
    if step.state is StepState.FINISHED and step.seconds is not None:
        return f"finished in {step.seconds:.2f} s"
    return str(step.state)
