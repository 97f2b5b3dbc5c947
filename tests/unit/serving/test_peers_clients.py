"""The clients of KServe and MLServer against a real model server, where they are installed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.serving.doors import MODEL, PLAIN
from tests.unit.serving.live import Live, live

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [-1.0, 1.5]])
SUMS = ROWS @ [1.0, 2.0]
LATE = {"delay": [0.5, -2.0], "hour": [3, 4], "carrier": ["AA", "UA"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("live")) as made:
        yield made


def tensor(kserve: Any, *, binary: bool) -> Any:
    made = kserve.InferInput(name="m", shape=list(ROWS.shape), datatype="FP64")
    made.set_data_from_numpy(ROWS, binary_data=binary)
    return made


@pytest.mark.parametrize("binary", [True, False])
def test_kserves_client_gets_the_answers_of_version_2_in_both_forms(server: Live, binary: bool) -> None:
    kserve = pytest.importorskip("kserve")
    config = pytest.importorskip("kserve.inference_client").RESTConfig

    async def asked() -> Any:
        client = kserve.InferenceRESTClient(config(protocol="v2", retries=0))
        assert await client.is_server_live(server.url)
        assert await client.is_server_ready(server.url)
        assert await client.is_model_ready(server.url, PLAIN)
        wanted = [kserve.protocol.infer_type.RequestedOutput("prediction", parameters={"binary_data": binary})]
        given = [tensor(kserve, binary=binary)]
        request = kserve.InferRequest(PLAIN, given, request_id="k1", request_outputs=wanted)
        try:
            return await client.infer(server.url, request, model_name=PLAIN, headers={})
        finally:
            await client.close()

    found = asyncio.run(asked())
    assert (found.id, found.model_name) == ("k1", PLAIN)
    np.testing.assert_allclose(found.outputs[0].as_numpy(), SUMS)


def test_kserves_client_gets_the_answers_of_version_1(server: Live) -> None:
    kserve = pytest.importorskip("kserve")
    inference_client = pytest.importorskip("kserve.inference_client")
    httpx = pytest.importorskip("httpx")

    async def asked() -> Any:
        client = kserve.InferenceRESTClient(inference_client.RESTConfig(protocol="v1", retries=0))
        assert await client.is_model_ready(server.url, MODEL)
        rows = [dict(zip(LATE, row, strict=True)) for row in zip(*LATE.values(), strict=True)]
        found = await client.infer(server.url, {"instances": rows}, model_name=MODEL)
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            await client.infer(server.url, {"instances": [{"delay": "x"}]}, model_name=MODEL)
        await client.close()
        return found

    assert len(asyncio.run(asked())["predictions"]) == 2


def test_kserves_client_gets_the_answers_over_grpc(server: Live) -> None:
    kserve = pytest.importorskip("kserve")

    async def asked() -> Any:
        async with kserve.InferenceGRPCClient(server.grpc, retries=0) as client:
            assert await client.is_server_live()
            assert await client.is_model_ready(PLAIN)
            return await client.infer(kserve.InferRequest(PLAIN, [tensor(kserve, binary=True)], request_id="g1"))

    found = asyncio.run(asked())
    assert found.id == "g1"
    np.testing.assert_allclose(found.outputs[0].as_numpy(), SUMS)


def test_what_mlserver_writes_is_read_and_it_reads_the_answer(server: Live) -> None:
    types, codecs = pytest.importorskip("mlserver.types"), pytest.importorskip("mlserver.codecs")
    frame = pytest.importorskip("pandas").DataFrame(LATE)
    for model, written in (
        (PLAIN, types.InferenceRequest(inputs=[codecs.NumpyCodec.encode_input("m", ROWS)])),
        (MODEL, codecs.PandasCodec.encode_request(frame)),
    ):
        body = written.model_dump_json(exclude_none=True).encode()
        asked = urllib.request.Request(
            f"{server.url}/v2/models/{model}/infer", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:
            found = types.InferenceResponse.model_validate_json(answer.read())
        outputs = {output.name: codecs.NumpyCodec.decode_output(output) for output in found.outputs}
        if model == PLAIN:
            np.testing.assert_allclose(outputs["prediction"].ravel(), SUMS)
        else:
            assert outputs["label"].ravel().tolist() == [1, 0]


def test_mlservers_client_of_the_command_line_gets_the_answers(server: Live, tmp_path: Path) -> None:
    pytest.importorskip("mlserver")
    lines = [{"inputs": [{"name": "m", "shape": [1, 2], "datatype": "FP64", "data": row}]} for row in ROWS.tolist()]
    (tmp_path / "in.txt").write_text("".join(json.dumps(line) + "\n" for line in lines))
    places = ["-i", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.txt")]
    client = [sys.executable, "-c", "from mlserver.cli import main; main()", "infer"]
    command = [*client, "-u", server.address, "-m", PLAIN, *places, "--insecure"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "out.txt").read_text().splitlines()]
    ordered = sorted(found, key=lambda one: int(one["parameters"]["batch_index"]))
    values = [output["data"][0] for one in ordered for output in one["outputs"] if output["name"] == "prediction"]
    np.testing.assert_allclose(values, SUMS)
