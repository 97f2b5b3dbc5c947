"""Files of a run from the SDK and the command line: the same in this process and behind a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.cli.root import root
from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.sdk.shelf import HttpShelf
from mainspring.sdk.transfers import Transfers, error_of
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.tracking import Files, Tracking
from mainspring.tracking.page.preview import preview
from mainspring.tracking.shelf import LocalShelf, RunFiles


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Wiring]:
    made = open_house(load(tmp_path / "house", environ={}))
    yield made
    made.close()


class InProcess(Transfers):
    """Sends and fetches small files through a client of the same process."""

    def __init__(self, client: TestClient[object]) -> None:  # type: ignore[type-var]  # any application will do
        super().__init__("http://127.0.0.1:7600")
        self._client = client

    def upload(self, address: str, source: Path) -> None:
        _checked(self._client.put(address, content=source.read_bytes()))

    def download(self, address: str, to: Path) -> None:
        to.write_bytes(_checked(self._client.get(address)).content)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    raise error_of(answer.status_code, answer.content, "here")


@pytest.fixture(params=["embedded", "http"])
def own(request: pytest.FixtureRequest, house: Wiring) -> Iterator[RunFiles]:
    run = house.get(Tracking).create_run("flights")
    if request.param == "embedded":
        yield RunFiles(LocalShelf(house.get(Files)), run.id)
        return
    with TestClient(create_app(house, rooms=("tracking",)), base_url="http://127.0.0.1:7600") as client:
        shelf = HttpShelf(
            lambda method, path, body: _checked(client.request(method, path, content=body)),
            InProcess(client),  # type: ignore[arg-type]
        )
        yield RunFiles(shelf, f"runs/{run.id}")


def test_a_folder_goes_in_and_comes_back_whole(own: RunFiles, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    for name, text in (("a.svg", "<svg/>"), ("deep/er/b é.txt", "b"), ("empty", "")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert own.put(folder) == ["plots/a.svg", "plots/deep/er/b é.txt", "plots/empty"]
    assert own.put(folder / "a.svg", "top.svg") == ["top.svg"]
    assert own.put(b"1,2", "t.csv") == ["t.csv"]
    assert [file.path for file in own.list("plots/deep")] == ["plots/deep/er/b é.txt"]
    assert own.get("plots", tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out" / "deep" / "er" / "b é.txt").read_text() == "b"
    assert own.get("t.csv", tmp_path) == tmp_path / "t.csv"
    everything = own.get("", tmp_path / "all")
    found = sorted(entry.relative_to(everything).as_posix() for entry in everything.rglob("*") if entry.is_file())
    assert found == sorted(file.path for file in own.list())
    assert own.read("top.svg") == b"<svg/>"


def test_what_is_there_with_the_same_content_is_not_fetched_again(own: RunFiles, tmp_path: Path) -> None:
    own.put(b"same", "f/one")
    own.put(b"new!", "f/two")
    (tmp_path / "one").write_bytes(b"same")
    (tmp_path / "two").write_bytes(b"old.")
    before = (tmp_path / "one").stat()
    own.get("f", tmp_path)
    after = (tmp_path / "one").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert (tmp_path / "two").read_bytes() == b"new!"


def test_files_and_folders_are_deleted_and_missing_ones_are_said(own: RunFiles, tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b"):
        own.put(b"x", name)
    assert own.delete("a/") == 2
    assert [file.path for file in own.list()] == ["b"]
    for missing in (lambda: own.delete("a"), lambda: own.get("a", tmp_path), lambda: own.put(tmp_path / "none")):
        with pytest.raises(NotFound):
            missing()
    for wrong in (lambda: own.put(b"x"), lambda: own.put(b"x", "../up"), lambda: own.get("../up", tmp_path)):
        with pytest.raises(Invalid):
            wrong()
    with pytest.raises(Conflict):
        own.put(b"x", "b/below")
    own.delete("b")
    with pytest.raises(NotFound, match="keeps no files"):
        own.get("", tmp_path)


def test_files_are_listed_fetched_kept_and_deleted_on_the_command_line(house: Wiring, tmp_path: Path) -> None:
    run = house.get(Tracking).create_run("flights").id
    (tmp_path / "report.md").write_text("# fine")

    def said(*words: str) -> str:
        data = ["--data", str(tmp_path / "house" / ".mainspring")]
        found = CliRunner().invoke(root, [*data, "runs", *words], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.output

    kept = said("put", run, str(tmp_path / "report.md"), "--as", "notes/report.md", "--json")
    assert json.loads(kept) == {"files": ["notes/report.md"]}
    assert "notes/report.md" in said("files", run)
    assert json.loads(said("files", run, "notes", "--json"))[0]["size_bytes"] == 6
    said("get", run, "notes", "--to", str(tmp_path / "fetched"))
    assert (tmp_path / "fetched" / "report.md").read_text() == "# fine"
    assert "deleted 1" in said("rm-file", run, "notes")
    assert "no files there" in said("files", run)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "application/pdf"),
        ("a.PNG", "image/png"),
        ("a.log", "text/plain"),
        ("a.jsonl", "application/jsonl"),
        ("a.html", "application/octet-stream"),
        ("a.js", "application/octet-stream"),
    ],
)
def test_a_download_has_the_type_of_its_name_and_runs_nothing(house: Wiring, name: str, kind: str) -> None:
    run = house.get(Tracking).create_run("flights").id
    RunFiles(LocalShelf(house.get(Files)), run).put(b"x", name)
    with TestClient(create_app(house, rooms=("tracking",)), base_url="http://127.0.0.1:7600") as client:
        answer = client.get(f"/api/v1/runs/{run}/artifacts/{name}")
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_figure_of_plotly_that_cannot_be_drawn_says_how_to_see_it() -> None:
    data = json.dumps({"data": [], "layout": {}}).encode()
    assert "plotly.io.read_json" in preview("f.json", data, len(data)).note
    page = b'<html><script src="https://cdn.plot.ly/plotly-3.0.0.min.js"></script></html>'
    assert "stays empty" in preview("f.html", page, len(page)).note
    assert preview("g.html", b"<p>hi", 5).note == ""
