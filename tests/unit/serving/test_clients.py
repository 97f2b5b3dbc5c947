"""Our client and those of others against a real model server."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.serving.doors import MODEL, PLAIN
from tests.unit.serving.live import Live, live

from mainspring.core.errors import Failed, Invalid, MainspringError, NotFound, Overloaded, Timeout, Unavailable
from mainspring.serving.client import Asked, Client

pytestmark = pytest.mark.usefixtures("warm_programs")

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [-1.0, 1.5]])
SUMS = ROWS @ [1.0, 2.0]
LATE: dict[str, list[object]] = {"delay": [0.5, -2.0], "hour": [3, 4], "carrier": ["AA", "UA"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("live")) as made:
        yield made


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[Client]:
    with Client(server.url) as made:
        yield made


def test_lists_and_arrays_get_the_same_answers(client: Client) -> None:
    listed = client.predict(PLAIN, {"a": ROWS[:, 0].tolist(), "b": ROWS[:, 1].tolist()})
    matrix = client.predict_arrays(PLAIN, ROWS, Asked(request_id="mine"))
    turned = client.predict_arrays(PLAIN, np.asfortranarray(ROWS))
    named = client.predict_arrays(PLAIN, {"b": ROWS[:, 1], "a": ROWS[:, 0].astype(">f8")})
    np.testing.assert_allclose(matrix.outputs["prediction"].tolist(), SUMS)
    for other in (turned, named):
        np.testing.assert_array_equal(other.outputs["prediction"], matrix.outputs["prediction"])
    assert listed.outputs["prediction"] == matrix.outputs["prediction"].tolist()
    assert (matrix.ids, matrix.version, matrix.arm) == (["mine.0", "mine.1", "mine.2"], "1", "champion")
    assert len(listed.id) == 32


def test_arrays_of_every_type_and_wanted_outputs_travel(client: Client) -> None:
    arrays: dict[str, NDArray[np.generic]] = {
        "delay": np.array([0.5, -2.0], dtype=np.float32),
        "hour": np.array([3, 4], dtype=np.int8),
        "carrier": np.array(["AA", "UA"]),
    }
    found = client.predict_arrays(MODEL, arrays, Asked(version=1, outputs=["label"]))
    assert {name: values.tolist() for name, values in found.outputs.items()} == {"label": [1, 0]}
    assert found.arm == "direct"
    assert client.predict(MODEL, LATE, outputs=["label"]).outputs == {"label": [1, 0]}  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="complex128"):
        client.predict_arrays(PLAIN, ROWS * 1j)


def test_errors_come_as_the_errors_they_are_and_say_why(client: Client) -> None:
    with pytest.raises(NotFound, match="other"):
        client.predict("other", {"a": [1.0]})
    with pytest.raises(Invalid, match="input 'b' is missing"):
        client.predict(PLAIN, {"a": [1.0]})
    with pytest.raises(Invalid, match="no output 'odd'"):
        client.predict(PLAIN, {"a": [1.0], "b": [1.0]}, outputs=["odd"])
    with pytest.raises(Invalid, match="not JSON"):
        client.predict(PLAIN, {"a": [math.inf], "b": [1.0]})
    for url in ("ftp://x", "http://", "http://h:99999999", "127.0.0.1:1"):
        with pytest.raises(Invalid, match="no address of a model server"):
            Client(url)


def test_the_document_of_a_model_comes_with_it(client: Client) -> None:
    assert client.document(MODEL)["info"]["version"] == "1"  # type: ignore[index]
    assert client.metadata(MODEL)["name"] == MODEL


def test_threads_may_share_a_client_and_no_answer_gets_lost(client: Client) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        for count in range(20):
            value = number + count / 100
            found = client.predict(PLAIN, {"a": [value], "b": [0.0]}, request_id=f"{number}-{count}")
            if found.id != f"{number}-{count}" or not math.isclose(float(str(found.outputs["prediction"][0])), value):
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class _Script(BaseHTTPRequestHandler):
    """Answers what the next line of its script says: a status, or "drop" for a connection that ends."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[list[int | str]] = []
    seen: ClassVar[list[tuple[int, str, str]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.client_address[1], json.loads(body)["id"], self.headers["request-timeout"]))
        step = self.script.pop(0)
        if step == "drop":
            self.close_connection = True
            return
        answer = {"id": "x", "outputs": []} if step == 200 else {"error": f"told {step}"}
        text = b"<html>" if step == 502 else json.dumps(answer).encode()
        self.send_response(int(step))
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = step == 503

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def scripted(*script: int | str, retries: int = 2, timeout_s: float = 10.0) -> Iterator[Client]:
    _Script.script, _Script.seen = list(script), []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Script) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        with Client(f"http://127.0.0.1:{http.server_port}", retries=retries, timeout_s=timeout_s) as client:
            yield client
        http.shutdown()
        thread.join()


def test_what_was_refused_is_sent_again_with_the_same_id_over_the_same_connection() -> None:
    with scripted(429, 503, 200, 200) as client:
        client.predict("m", {"a": [1]})
        client.predict("m", {"a": [1]})
    lines, ids, left = zip(*_Script.seen, strict=True)
    assert len(set(ids)) == 2
    assert len(set(ids[:3])) == 1
    assert lines[0] == lines[1] != lines[2] == lines[3]
    assert all(0 < float(seconds) <= 10 for seconds in left)


def test_a_request_that_may_have_been_done_is_not_sent_again() -> None:
    with scripted("drop") as client, pytest.raises(Unavailable, match=r"(?s)no answer.*look for its id"):
        client.predict("m", {"a": [1]})
    assert len(_Script.seen) == 1


@pytest.mark.parametrize(
    ("script", "error", "requests"),
    [
        ((400,), Invalid, 1),
        ((504,), Timeout, 1),
        ((500,), Failed, 1),
        ((502,), Failed, 1),
        ((429, 429, 429), Overloaded, 3),
    ],
)
def test_other_refusals_are_final_and_so_is_the_last_one(
    script: tuple[int, ...], error: type[MainspringError], requests: int
) -> None:
    with scripted(*script) as client, pytest.raises(error, match=r"told|<html>"):
        client.predict("m", {"a": [1]})
    assert len(_Script.seen) == requests


def test_nobody_waits_longer_than_the_deadline_for_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.serving.channel._FIRST_PAUSE_S", 20.0)
    with scripted(429, 200) as client, pytest.raises(Overloaded):
        client.predict("m", {"a": [1]})


def test_a_server_that_is_not_there_is_named() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unavailable, match=r"127\.0\.0\.1:9/v2"):
        client.predict("m", {"a": [1]})


def test_the_client_of_triton_over_http_gets_the_answers_in_both_forms(server: Live) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(server.address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(PLAIN, "1")
    assert client.get_model_metadata(PLAIN)["inputs"][0]["datatype"] == "FP64"
    assert [entry["name"] for entry in client.get_model_repository_index()] == [MODEL, PLAIN]
    for binary in (True, False):
        tensor = triton.InferInput("m", list(ROWS.shape), "FP64")
        tensor.set_data_from_numpy(ROWS, binary_data=binary)
        wanted = [triton.InferRequestedOutput("prediction", binary_data=binary)]
        found = client.infer(PLAIN, [tensor], outputs=wanted, request_id="t1")
        np.testing.assert_allclose(found.as_numpy("prediction"), SUMS)
        assert found.get_response()["id"] == "t1"
    text = triton.InferInput("carrier", [2], "BYTES")
    text.set_data_from_numpy(np.array(["AA", "UA"], dtype=object))
    others = [("delay", np.array([0.5, -2.0])), ("hour", np.array([3, 4]))]
    inputs = [text]
    for name, values in others:
        inputs.append(triton.InferInput(name, [2], "FP64" if name == "delay" else "INT64"))
        inputs[-1].set_data_from_numpy(values)
    assert client.infer(MODEL, inputs).as_numpy("label").tolist() == [1, 0]
    with pytest.raises(Exception, match=r"400.*'a' is missing"):
        client.infer(PLAIN, inputs[1:2])
    client.close()


def test_the_client_of_triton_over_grpc_gets_them_too(server: Live) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    with triton.InferenceServerClient(server.grpc) as client:
        assert client.is_server_ready()
        assert client.is_model_ready(PLAIN)
        assert client.get_model_metadata(MODEL, as_json=True)["inputs"][2]["datatype"] == "BYTES"
        tensor = triton.InferInput("m", list(ROWS.shape), "FP64")
        tensor.set_data_from_numpy(ROWS)
        found = client.infer(PLAIN, [tensor], request_id="g1", client_timeout=20)
        np.testing.assert_allclose(found.as_numpy("prediction"), SUMS)
        assert found.get_response().id == "g1"
        with pytest.raises(Exception, match=r"NOT_FOUND.*other"):
            client.infer("other", [tensor])


def test_mlflows_client_of_its_scoring_server_gets_them_too(server: Live) -> None:
    pd = pytest.importorskip("pandas")
    scoring = pytest.importorskip("mlflow.pyfunc.scoring_server.client")
    host, _, port = server.address.partition(":")
    client = scoring.ScoringServerClient(host, int(port))
    client.ping()
    assert client.get_version()
    client.url_prefix = f"{server.url}/models/{PLAIN}"
    found = client.invoke(pd.DataFrame(ROWS, columns=["a", "b"]))
    np.testing.assert_allclose(found.get_predictions()[0].to_numpy(), SUMS)
