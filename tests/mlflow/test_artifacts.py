"""Files of runs: up, down, listed, deleted, with names of every kind; and the proxy that carries them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import mlflow
import pytest
from mlflow import MlflowClient
from tests.mlflow.http import BAD, GONE, Http, Json

NAMES = [
    "plain.txt",
    "with space.txt",
    "ünïcode ✓.txt",
    "100%.txt",
    "a+b&c=d.txt",
    "quote'd.txt",
    "no-extension",
    ".hidden",
    "数据.bin",
    "semi;colon,comma.txt",
]
PROXY = "/api/2.0/mlflow-artifacts/artifacts"


def listed(http: Http, run: str, path: str = "") -> list[Json]:
    fields = {"path": path} if path else {}
    found: list[Json] = http.ok("GET", "artifacts/list", run_id=run, **fields).get("files", [])
    return found


@pytest.mark.parametrize("file", NAMES)
def test_a_file_goes_up_and_comes_down_as_it_was(client: MlflowClient, run: str, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"\x00\xff content of " + file.encode())
    client.log_artifact(run, str(tmp_path / file))
    assert [(f.path, f.is_dir) for f in client.list_artifacts(run)] == [(file, False)]
    back = Path(client.download_artifacts(run, file, str(tmp_path / "..")))
    assert back.read_bytes() == (tmp_path / file).read_bytes()


def test_a_file_can_go_into_a_folder(client: MlflowClient, run: str, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("x")
    client.log_artifact(run, str(tmp_path / "f.txt"), "deep/er folder/ünder")
    assert [(f.path, f.is_dir) for f in client.list_artifacts(run)] == [("deep", True)]
    assert [f.path for f in client.list_artifacts(run, "deep/er folder/ünder")] == ["deep/er folder/ünder/f.txt"]


def test_a_client_that_would_send_parts_is_told_and_sends_the_file_in_one(
    client: MlflowClient, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
    (tmp_path / "f.bin").write_bytes(b"parts")
    client.log_artifact(run, str(tmp_path / "f.bin"))
    assert Path(client.download_artifacts(run, "f.bin", str(tmp_path / ".."))).read_bytes() == b"parts"


def test_what_an_object_store_would_do_is_refused_as_by_a_server_without_one(http: Http, run: str) -> None:
    for verb in ("create", "complete", "abort"):
        made = http.call("POST", f"/api/2.0/mlflow-artifacts/mpu/{verb}/a/b", path="b", num_parts=2, parts=[{}])
        assert (made.status_code, made.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
        assert made.json()["message"] == "Multipart upload is not supported for the current artifact repository"
    assert http.error("GET", "/api/2.0/mlflow-artifacts/presigned/a/b") == (501, "NOT_IMPLEMENTED")
    assert http.error("GET", "/api/2.0/mlflow-artifacts/presigned/a/%2e%2e/b")[0] == 400
    for way in ("upload", "download"):
        assert http.error("POST", f"artifacts/presigned-{way}-url", run_id=run, path="x") == BAD
        assert http.error("POST", f"artifacts/presigned-{way}-url", run_id="0" * 32, path="x") == GONE
    assert http.error("POST", "artifacts/presigned-upload-url", path="x") == BAD
    assert http.error("POST", "artifacts/presigned-download-url", run_id=run, path="x", expiration=0) == BAD


def test_a_folder_goes_up_with_everything_in_it(client: MlflowClient, run: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("a.txt", "sub/b.txt", "sub/sub/c.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    client.log_artifacts(run, str(source), "top")
    assert [f.path for f in client.list_artifacts(run, "top")] == ["top/a.txt", "top/sub"]
    back = Path(client.download_artifacts(run, "top", str(tmp_path)))
    assert {str(p.relative_to(back)) for p in back.rglob("*") if p.is_file()} == {"a.txt", "sub/b.txt", "sub/sub/c.txt"}
    assert (back / "sub/sub/c.txt").read_text() == "sub/sub/c.txt"


def test_files_are_listed_with_size_and_by_name(http: Http, client: MlflowClient, run: str) -> None:
    for name, size in (("b.txt", 3), ("a.txt", 5), ("c/d.txt", 1)):
        client.log_text(run, "x" * size, name)
    assert [(f["path"], f["is_dir"], f.get("file_size")) for f in listed(http, run)] == [
        ("a.txt", False, 5),
        ("b.txt", False, 3),
        ("c", True, None),
    ]


def test_a_listing_names_the_root(http: Http, experiment: str, run: str) -> None:
    assert http.ok("GET", "artifacts/list", run_id=run)["root_uri"] == f"mlflow-artifacts:/{experiment}/{run}/artifacts"


def test_a_run_without_files_lists_none(http: Http, run: str) -> None:
    assert listed(http, run) == []
    assert listed(http, run, "not/there") == []


def test_listing_a_file_finds_nothing_in_it(client: MlflowClient, run: str) -> None:
    client.log_text(run, "x", "d/f.txt")
    assert client.list_artifacts(run, "d/f.txt") == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc", "..", "%2e%2e/x"])
def test_a_listing_stays_below_the_run(http: Http, run: str, path: str) -> None:
    assert http.call("GET", "artifacts/list", run_id=run, path=path).status_code == 400


def test_a_file_is_replaced_by_its_next_version(client: MlflowClient, run: str) -> None:
    client.log_text(run, "first", "f.txt")
    client.log_text(run, "second, longer", "f.txt")
    assert mlflow.artifacts.load_text(f"runs:/{run}/f.txt") == "second, longer"
    assert [f.file_size for f in client.list_artifacts(run)] == [14]


def test_text_dicts_and_json_are_logged(client: MlflowClient, run: str) -> None:
    client.log_text(run, "grüße\n", "t.txt")
    client.log_dict(run, {"a": [1, 2, {"b": None}]}, "d.json")
    client.log_dict(run, {"y": 1}, "d.yaml")
    assert mlflow.artifacts.load_text(f"runs:/{run}/t.txt") == "grüße\n"
    assert mlflow.artifacts.load_dict(f"runs:/{run}/d.json") == {"a": [1, 2, {"b": None}]}
    assert mlflow.artifacts.load_text(f"runs:/{run}/d.yaml").strip() == "y: 1"


def test_tables_are_logged_and_grow(client: MlflowClient, experiment: str, run: str) -> None:
    client.log_table(run, {"a": [1, 2], "b": ["x", "y"]}, "table.json")
    client.log_table(run, {"a": [3], "b": ["z"]}, "table.json")
    frame = client.load_table(experiment, "table.json", run_ids=[run])
    assert frame["a"].tolist() == [1, 2, 3]
    assert frame["b"].tolist() == ["x", "y", "z"]


def test_figures_are_logged(client: MlflowClient, run: str, tmp_path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    axes.plot([1, 2, 3])
    client.log_figure(run, figure, "plots/line.png")
    pyplot.close(figure)
    back = Path(client.download_artifacts(run, "plots/line.png", str(tmp_path)))
    assert back.read_bytes().startswith(b"\x89PNG")


def test_images_are_logged_by_name_and_by_step(client: MlflowClient, run: str) -> None:
    import numpy as np

    image = np.zeros((4, 5, 3), dtype=np.uint8)
    client.log_image(run, image, "image.png")
    client.log_image(run, image, key="samples", step=3)
    assert mlflow.artifacts.load_image(f"runs:/{run}/image.png").size == (5, 4)
    assert any("samples" in f.path for f in client.list_artifacts(run, "images"))


def test_an_empty_file_is_a_file(client: MlflowClient, run: str, tmp_path: Path) -> None:
    client.log_text(run, "", "empty.txt")
    assert [f.path for f in client.list_artifacts(run)] == ["empty.txt"]
    assert Path(client.download_artifacts(run, "empty.txt", str(tmp_path))).read_bytes() == b""


def test_a_file_of_some_megabytes_comes_back_whole(client: MlflowClient, run: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * 9
    (tmp_path / "big.bin").write_bytes(content)
    client.log_artifact(run, str(tmp_path / "big.bin"), "d")
    assert Path(client.download_artifacts(run, "d/big.bin", str(tmp_path / ".."))).read_bytes() == content


def test_a_missing_file_cannot_be_downloaded(client: MlflowClient, run: str) -> None:
    with pytest.raises(mlflow.exceptions.MlflowException):
        client.download_artifacts(run, "not/there.txt")


def test_artifacts_of_a_deleted_run_are_still_there(client: MlflowClient, run: str) -> None:
    client.log_text(run, "x", "f.txt")
    client.delete_run(run)
    assert [f.path for f in client.list_artifacts(run)] == ["f.txt"]


def test_the_fluent_client_logs_into_the_active_run(run: str, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("hello")
    with mlflow.start_run(run_id=run):
        mlflow.log_artifact("f.txt")
        assert mlflow.get_artifact_uri("f.txt").endswith(f"{run}/artifacts/f.txt")
    assert mlflow.artifacts.load_text(f"runs:/{run}/f.txt") == "hello"


def test_artifacts_are_listed_and_downloaded_by_their_uri(
    experiment: str, run: str, client: MlflowClient, tmp_path: Path
) -> None:
    client.log_text(run, "x", "a/f.txt")
    root = f"mlflow-artifacts:/{experiment}/{run}/artifacts"
    assert [f.path for f in mlflow.artifacts.list_artifacts(artifact_uri=f"{root}/a")] == ["a/f.txt"]
    back = mlflow.artifacts.download_artifacts(artifact_uri=f"{root}/a/f.txt", dst_path=str(tmp_path))
    assert Path(back).read_text() == "x"


@pytest.mark.parametrize("file", NAMES)
def test_the_proxy_takes_and_gives_bytes(http: Http, experiment: str, file: str) -> None:
    path = f"{PROXY}/{experiment}/free/{quote(file)}"
    assert http.send("PUT", path, data=b"some bytes").status_code == 200
    answer = http.send("GET", path)
    assert (answer.status_code, answer.content) == (200, b"some bytes")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "attachment" in answer.headers["Content-Disposition"]


def test_the_proxy_takes_chunks(http: Http, experiment: str) -> None:
    path = f"{PROXY}/{experiment}/chunked.bin"
    assert http.send("PUT", path, data=(b"x" * 1000 for _ in range(50))).status_code == 200
    assert http.send("GET", path).content == b"x" * 50_000


def test_the_proxy_lists_base_names(http: Http, experiment: str) -> None:
    for name in ("l/a.txt", "l/sub/b.txt"):
        http.send("PUT", f"{PROXY}/{experiment}/{name}", data=b"123")
    found = http.send("GET", PROXY, params={"path": f"{experiment}/l"}).json()["files"]
    assert [(f["path"], f["is_dir"], f.get("file_size", 0)) for f in found] == [("a.txt", False, 3), ("sub", True, 0)]


def test_the_proxy_lists_nothing_in_a_folder_that_is_not_there(http: Http, experiment: str) -> None:
    answer = http.send("GET", PROXY, params={"path": f"{experiment}/nowhere"})
    assert (answer.status_code, answer.json()) == (200, {})


def test_the_proxy_deletes_a_file_and_a_tree(http: Http, experiment: str) -> None:
    for name in ("t/a.txt", "t/sub/b.txt", "t/sub/c.txt"):
        http.send("PUT", f"{PROXY}/{experiment}/{name}", data=b"1")
    assert http.send("DELETE", f"{PROXY}/{experiment}/t/a.txt").status_code == 200
    assert http.send("GET", f"{PROXY}/{experiment}/t/a.txt").status_code == 404
    assert http.send("DELETE", f"{PROXY}/{experiment}/t").status_code == 200
    assert http.send("GET", PROXY, params={"path": f"{experiment}/t"}).json() == {}


def test_the_proxy_does_not_find_what_is_not_there(http: Http, experiment: str) -> None:
    assert http.send("GET", f"{PROXY}/{experiment}/none.txt").status_code == 404


ESCAPES = ["..%2Fx", "%2e%2e/x", "a/%2e%2e/%2e%2e/x", "a%2F..%2F..%2Fx", "%252e%252e%252fx"]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_proxy_stays_below_its_root(http: Http, method: str, path: str) -> None:
    import requests

    request = requests.Request(method, "http://x", data=b"x" if method == "PUT" else None).prepare()
    request.url = f"{http.uri}{PROXY}/{path}"  # as it is: requests would tidy the dots away
    with requests.Session() as session:
        answer = session.send(request, timeout=60)
    assert answer.status_code in (400, 404, 405)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_the_proxy_takes_no_absolute_path(http: Http, method: str) -> None:
    data = b"x" if method == "PUT" else None
    assert http.send(method, f"{PROXY}/%2Fetc/passwd", data=data).status_code in (400, 404)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc", "%2e%2e"])
def test_the_proxy_lists_only_below_its_root(http: Http, path: str) -> None:
    assert http.send("GET", PROXY, params={"path": path}).status_code == 400


def test_the_pages_of_a_client_get_a_file_as_an_attachment(http: Http, client: MlflowClient, run: str) -> None:
    client.log_text(run, "<script>", "d/page.html")
    answer = http.send("GET", "/get-artifact", params={"run_id": run, "path": "d/page.html"})
    assert (answer.status_code, answer.text) == (200, "<script>")
    assert "attachment" in answer.headers["Content-Disposition"]


def test_a_missing_file_of_a_run_is_not_got(http: Http, run: str) -> None:
    assert http.send("GET", "/get-artifact", params={"run_id": run, "path": "none.txt"}).status_code in (404, 500)
    assert http.send("GET", "/get-artifact", params={"run_id": "0" * 32, "path": "x"}).status_code == GONE[0]
