"""Every page once: light and dark, wide and narrow, by keyboard, and as axe sees it."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Literal

import httpx
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]
LOOKS: list[tuple[Literal["light", "dark"], int]] = [("light", 1440), ("dark", 1440), ("light", 400)]
OF_COLOURS = ("color-contrast", "link-in-text-block")
"""Rules of axe whose findings depend on the colour scheme."""
NOTE_FOCUS = """
window.focused = [];
document.addEventListener("focusin", event => {
  const look = getComputedStyle(event.target);
  window.focused.push([event.target.outerHTML.slice(0, 120), look.outlineStyle, look.outlineWidth]);
});
"""
KNOWN_PAGES = 20


def _kind(path: str) -> tuple[str, int]:
    """Pages of one noun and one depth differ only in names and numbers."""
    noun, *names = path.partition("?")[0].strip("/").split("/")
    return noun, len(names)


def _crawl(address: str) -> dict[str, httpx.Response]:
    """Every page that can be reached from the first one by links, two of each kind."""
    found: dict[str, httpx.Response] = {}
    queue = deque(["/", "/nothing-here"])
    with httpx.Client(base_url=address, headers={"Accept": "text/html"}, timeout=30) as client:
        while queue:
            path = queue.popleft()
            if path in found:
                continue
            found[path] = client.get(path)
            for link in re.findall(r'href="(/[^"#]*)"', found[path].text):
                link = link.replace("&amp;", "&")
                if link not in found and sum(_kind(link) == _kind(known) for known in [*found, *queue]) < 2:
                    queue.append(link)
    return found


@pytest.fixture(scope="module")
def crawled(address: str) -> dict[str, httpx.Response]:
    return _crawl(address)


@pytest.fixture(scope="module")
def pages(crawled: dict[str, httpx.Response]) -> list[str]:
    """One page of each kind."""
    kinds: dict[tuple[str, int], str] = {}
    for path, answer in crawled.items():
        is_page = "text/html" in answer.headers["content-type"] and "content-disposition" not in answer.headers
        if is_page:  # and no file to keep
            kinds.setdefault(_kind(path), path)
    assert len(kinds) >= KNOWN_PAGES, sorted(kinds)
    return list(kinds.values())


def _open(browser: Browser, address: str) -> Page:
    return browser.new_context(base_url=address, viewport={"width": 1440, "height": 900}).new_page()


def test_no_link_is_broken(crawled: dict[str, httpx.Response]) -> None:
    broken = {path: answer.status_code for path, answer in crawled.items() if answer.status_code != 200}
    assert broken == {"/nothing-here": 404}


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(LOOKS[:1], id="light and wide"),
        pytest.param(LOOKS[1:], id="dark, and narrow", marks=pytest.mark.long),
    ],
)
def test_every_page_fits_its_window_satisfies_axe_and_loads_nothing_from_elsewhere(
    chromium: Browser, address: str, pages: list[str], looks: list[tuple[Literal["light", "dark"], int]]
) -> None:
    page = _open(chromium, address)
    faults: list[str] = []
    complaints: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(address) else foreign.append(request.url))
    for path in pages:
        page.goto(path, wait_until="load")
        for width in sorted({width for _, width in LOOKS}):
            page.set_viewport_size({"width": width, "height": 900})
            over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if over:
                faults.append(f"{path} is {over} pixels too wide of {width}")
        for scheme, width in looks:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            rules = () if scheme == "light" else OF_COLOURS
            faults += [f"{path}, {scheme}, {width}: {fault}" for fault in _findings(page, *rules)]
    page.context.close()
    assert faults == []
    assert [text for text in complaints if "404" not in text] == []
    assert foreign == []


def test_every_link_and_field_is_reached_by_keyboard_and_shows_it(
    chromium: Browser, address: str, pages: list[str]
) -> None:
    page = _open(chromium, address)
    page.add_init_script(NOTE_FOCUS)
    for path in pages:
        page.goto(path, wait_until="load")
        wanted = min(page.locator("a[href]:visible, button:visible, input:visible, select:visible").count(), 40)
        for _ in range(wanted):
            page.keyboard.down("Tab")  # held down: it repeats
        page.keyboard.up("Tab")
        states = page.evaluate("window.focused")
        assert len(states) == wanted, f"{path}: focus was lost after {len(states)} steps"
        for text, style, width in states:
            assert style != "none", f"{path}: no visible focus on {text}"
            assert width != "0px", f"{path}: no visible focus on {text}"
        seen = {text for text, _, _ in states}
        assert len(seen) >= wanted * 0.5, f"{path}: only {len(seen)} of {wanted} are reached"
    page.context.close()


def test_the_first_stop_skips_to_the_content(chromium: Browser, address: str) -> None:
    page = _open(chromium, address)
    page.goto("/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.context.close()


def test_an_open_page_hears_of_a_new_event_by_itself(chromium: Browser, address: str) -> None:
    page = _open(chromium, address)
    page.goto("/events")
    first = page.locator("tbody tr").first.inner_text()
    with page.expect_response(lambda answer: answer.url == f"{address}/events", timeout=20_000):
        reply = httpx.post(f"{address}/api/v1/policies/keep-good/switch", json={"enabled": True, "reason": "a test"})
        assert reply.status_code == 200
    page.wait_for_function(
        "before => document.querySelector('tbody tr').innerText !== before", arg=first, timeout=20_000
    )
    assert "loop.policy_switched" in page.locator("tbody tr").first.inner_text()
    page.context.close()


def test_filters_are_in_the_address(chromium: Browser, address: str) -> None:
    page = _open(chromium, address)
    page.goto("/events")
    page.get_by_label("Subject").fill("models/late")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/events?kind=&subject=models%2Flate")
    subjects = page.locator("tbody td:nth-child(4)").all_inner_texts()
    assert subjects
    assert all(text.startswith("models/late") for text in subjects)
    page.context.close()


def test_runs_are_filtered_sorted_ticked_and_compared(chromium: Browser, address: str) -> None:
    page = _open(chromium, address)
    page.goto("/runs?experiment=flights")
    page.get_by_label("Filter").fill("metrics.loss <")
    page.get_by_role("button", name="Show").click()
    assert "a value was expected" in page.get_by_role("alert").inner_text()
    page.get_by_label("Filter").fill("metrics.loss < 1 and params.solver = 'lbfgs'")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="loss").click()
    assert page.locator("tbody tr td:nth-child(2)").all_inner_texts() == ["trial 1", "trial 2"]
    page.get_by_label("compare trial 1").check()
    page.get_by_label("compare trial 2").check()
    page.get_by_role("button", name="Compare the ticked runs").click()
    page.wait_for_url("**/runs/compare?run=*&run=*")
    rows = page.get_by_role("region", name="Params of the runs").locator("tbody tr").all_inner_texts()
    assert [row.split() for row in rows] == [["C", "1", "2"]], "what is the same is left out"
    assert page.locator("svg.chart path.c1").count() == 1, "the second run has a curve"
    page.context.close()


def test_a_filter_is_written_by_choosing_from_what_may_come_by_keyboard_alone(chromium: Browser, address: str) -> None:
    page = _open(chromium, address)
    page.goto("/runs?experiment=flights")
    box, offered = page.get_by_role("combobox", name="Filter"), page.get_by_role("listbox")
    box.focus()

    def pick(typed: str, wanted: str) -> None:
        page.keyboard.type(typed)
        option = offered.get_by_role("option", name=wanted)
        option.first.wait_for()
        while option.first.get_attribute("aria-selected") != "true":
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")

    pick("params.sol", "params.solver name")
    pick("", "= operator")
    assert _findings(page) == [], "with the list open"
    pick("", "'lbfgs' value")
    pick("a", "AND word")
    pick("stat", "status name")
    pick("!", "!= operator")
    pick("fa", "'failed' value")
    assert box.input_value() == "params.solver = 'lbfgs' AND status != 'failed' "
    page.keyboard.press("Escape")
    assert offered.count() == 0
    assert box.get_attribute("aria-expanded") == "false"
    page.keyboard.press("Enter")
    page.wait_for_url("**filter=params.solver*")
    assert page.locator("tbody tr td:nth-child(2)").all_inner_texts() == ["trial 2", "trial 1"]
    page.context.close()


def test_runs_are_grouped_columned_and_opened_by_keyboard_alone(chromium: Browser, address: str) -> None:
    page = _open(chromium, address)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto("/runs?experiment=flights", wait_until="load")
    assert len(requests) < 10
    page.get_by_label("Group by").focus()
    page.keyboard.type("params.solver")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Show").press("Enter")
    page.get_by_role("region", name="Groups of runs").get_by_role("link", name="lbfgs").press("Enter")
    page.wait_for_url("**filter=params.solver*")
    page.locator("summary", has_text="Columns").press("Enter")
    page.get_by_label("duration").press("Space")
    page.get_by_role("button", name="Show").press("Enter")
    page.get_by_role("link", name="Run", exact=True).press("Enter")
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Run")
    page.get_by_label("compare trial 1").press("Space")
    page.get_by_label("compare trial 2").press("Space")
    page.get_by_role("button", name="Compare the ticked runs").press("Enter")
    page.wait_for_url("**/runs/compare?run=*&run=*")
    page.context.close()


def test_a_new_run_appears_in_the_table_by_itself_and_ticks_stay(chromium: Browser, address: str) -> None:
    page = _open(chromium, address)
    page.goto("/runs?experiment=flights")
    page.get_by_label("compare trial 1").check()
    made = httpx.post(f"{address}/api/v1/runs", json={"experiment": "flights", "name": "just begun"})
    assert made.status_code == 201
    page.get_by_role("link", name="just begun").wait_for(timeout=20_000)
    assert page.get_by_label("compare trial 1").is_checked()
    httpx.delete(f"{address}/api/v1/runs/{made.json()['id']}")
    page.context.close()


def test_a_figure_in_html_is_drawn_in_a_sandbox_that_reaches_nothing(chromium: Browser, address: str) -> None:
    page = _open(chromium, address)
    page.goto("/runs")
    page.get_by_role("link", name="trial 1").click()
    page.get_by_role("link", name="plots/figure.html", exact=True).click()
    assert page.locator("iframe").count() == 0, "nothing of it runs unasked"
    page.get_by_role("link", name="Draw it").click()
    page.frame_locator("iframe").get_by_text("drawn, alone").wait_for()
    page.goto(page.url.replace("figure.html?framed=true", "square.svg"))
    assert page.evaluate("document.querySelector('figure img').naturalWidth") == 80
    page.context.close()


def _findings(page: Page, *rules: str) -> list[str]:
    """What axe finds wrong with a page as it is, by these rules or by all."""
    from axe_playwright_python.base import AXE_SCRIPT

    options: dict[str, object] = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    if not page.evaluate("'axe' in window"):  # half a megabyte: once for all looks at a page
        page.evaluate(AXE_SCRIPT)
    results = page.evaluate("options => axe.run(options)", options)
    assert results["passes"], f"axe looked at nothing on {page.url}"
    return [f"{one['id']} {[node['html'][:200] for node in one['nodes']][:3]}" for one in results["violations"]]
