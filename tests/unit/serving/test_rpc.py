from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.unit.serving.doors import MODEL, PLAIN, Doors, doors

from mainspring.core.errors import Unavailable
from mainspring.serving.modelserver.plan import Limits
from mainspring.serving.modelserver.protocols import messages
from mainspring.serving.modelserver.protocols.messages import METHODS, SERVICE, message
from mainspring.serving.supervisor import check_grpc

grpc = pytest.importorskip("grpc")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with doors(tmp_path_factory.mktemp("doors")) as made:
        yield made


def talk(served: Doors, story: Callable[[Ask, Any], Awaitable[None]], limits: Limits | None = None) -> None:
    """Serve gRPC on a free port, and let `story` ask it: (method, **fields) and the channel."""
    from mainspring.serving.modelserver.protocols.rpc import RpcServer

    async def run() -> None:
        server = RpcServer(served.app.served, limits or Limits())
        port = await server.start("127.0.0.1", 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

            async def ask(method: str, **fields: object) -> Any:
                takes, gives = (message(name) for name in METHODS[method])
                call = channel.unary_unary(
                    f"/{SERVICE}/{method}",
                    request_serializer=lambda made: made.SerializeToString(),
                    response_deserializer=gives.FromString,
                )
                return await call(takes(**fields), timeout=60)

            await story(ask, channel)
        await server.stop(0)

    served.loop.run_until_complete(run())


def matrix(datatype: str = "FP64", shape: tuple[int, ...] = (2, 2), **contents: object) -> dict[str, object]:
    return {"name": "m", "datatype": datatype, "shape": list(shape), **({"contents": contents} if contents else {})}


def test_health_readiness_and_metadata_are_told(served: Doors) -> None:
    async def story(ask: Ask, channel: Any) -> None:
        assert (await ask("ServerLive")).live
        assert (await ask("ServerReady")).ready
        assert (await ask("ModelReady", name=MODEL, version="1")).ready
        found = await ask("ModelMetadata", name=MODEL)
        assert [(entry.name, entry.datatype, list(entry.shape)) for entry in found.inputs] == [
            ("delay", "FP64", [-1]),
            ("hour", "INT64", [-1]),
            ("carrier", "BYTES", [-1]),
        ]
        assert "model_repository" in (await ask("ServerMetadata")).extensions
        assert [entry.state for entry in (await ask("RepositoryIndex")).models] == ["READY", "READY"]
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for service in ("", SERVICE, PLAIN):
            assert (await check(health_pb2.HealthCheckRequest(service=service))).status == 1
        with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
            await check(health_pb2.HealthCheckRequest(service="other"))

    talk(served, story)


def test_clients_can_ask_what_is_served(served: Doors) -> None:
    pb2 = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2")

    async def story(_: Ask, channel: Any) -> None:
        reflect = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=pb2.ServerReflectionResponse.FromString,
        )
        asked = [
            pb2.ServerReflectionRequest(list_services=""),
            pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
        listed, file = [answer async for answer in reflect(iter(asked))]
        assert SERVICE in [entry.name for entry in listed.list_services_response.service]
        assert len(file.file_descriptor_response.file_descriptor_proto) == 1

    talk(served, story)


def test_typed_and_raw_tensors_get_the_same_answer_in_their_own_form(served: Doors) -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0]])

    async def story(ask: Ask, _: Any) -> None:
        typed = await ask(
            "ModelInfer", model_name=PLAIN, id="a", inputs=[matrix(fp64_contents=values.ravel().tolist())]
        )
        raw = await ask("ModelInfer", model_name=PLAIN, inputs=[matrix()], raw_input_contents=[values.tobytes()])
        half = values.astype("<f2").tobytes()
        small = await ask("ModelInfer", model_name=PLAIN, inputs=[matrix("FP16")], raw_input_contents=[half])
        assert (typed.id, typed.model_version, typed.parameters["arm"].string_param) == ("a", "1", "champion")
        np.testing.assert_allclose(typed.outputs[0].contents.fp64_contents, [5.0, 11.0])
        assert raw.raw_output_contents[0] == np.array(typed.outputs[0].contents.fp64_contents).tobytes()
        assert (len(raw.id), small.raw_output_contents) == (32, raw.raw_output_contents)

    talk(served, story)


def test_columns_of_every_type_and_wanted_outputs_are_taken(served: Doors) -> None:
    columns = [
        {"name": "delay", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [0.5]}},
        {"name": "hour", "datatype": "INT8", "shape": [1, 1], "contents": {"int_contents": [3]}},
        {"name": "carrier", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"AA"]}},
    ]

    async def story(ask: Ask, _: Any) -> None:
        answer = await ask("ModelInfer", model_name=MODEL, inputs=columns, outputs=[{"name": "label"}])
        assert [(entry.name, list(entry.contents.int64_contents)) for entry in answer.outputs] == [("label", [1])]

    talk(served, story)


GOOD: dict[str, Any] = {"fp64_contents": [1.0, 2.0, 3.0, 4.0]}
REFUSED: list[tuple[dict[str, object], str, str]] = [
    ({"model_name": "other"}, "NOT_FOUND", "other"),
    ({"model_version": "9"}, "NOT_FOUND", "9"),
    ({"inputs": []}, "INVALID_ARGUMENT", "at least one"),
    ({"inputs": [matrix(fp64_contents=[1.0])]}, "INVALID_ARGUMENT", "1 values"),
    ({"inputs": [matrix(fp32_contents=[1.0])]}, "INVALID_ARGUMENT", "fp32_contents"),
    ({"inputs": [matrix("FP16")]}, "INVALID_ARGUMENT", "binary only"),
    ({"inputs": [matrix("WHAT")]}, "INVALID_ARGUMENT", "datatype"),
    ({"inputs": [matrix(shape=(-2, -2), **GOOD)]}, "INVALID_ARGUMENT", "rows|shape"),
    ({"inputs": [matrix(shape=(2**40, 2), **GOOD)]}, "INVALID_ARGUMENT", "values"),
    ({"inputs": [matrix(shape=(0, 2))]}, "INVALID_ARGUMENT", "rows"),
    ({"inputs": [matrix(shape=(1, 2), fp64_contents=[float("inf"), 1.0])]}, "INVALID_ARGUMENT", "'a'.*finite.*float64"),
    ({"inputs": [matrix(shape=(1, 2), fp64_contents=[float("nan"), 1.0])]}, "INVALID_ARGUMENT", "'a'.*missing"),
    ({"inputs": [matrix("BYTES", shape=(1, 2), bytes_contents=[b"a", b"\xff"])]}, "INVALID_ARGUMENT", "UTF-8"),
    ({"inputs": [matrix("BYTES", shape=(1, 2), bytes_contents=[b"a", b"b"])]}, "INVALID_ARGUMENT", "'a'.*float64"),
    ({"inputs": [matrix()], "raw_input_contents": [b"\0" * 31]}, "INVALID_ARGUMENT", "31 bytes"),
    ({"inputs": [matrix()], "raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "2 raw contents"),
    ({"inputs": [matrix(**GOOD)], "raw_input_contents": [b"\0" * 32]}, "INVALID_ARGUMENT", "contents"),
    ({"outputs": [{"name": "other"}]}, "INVALID_ARGUMENT", "prediction"),
    ({"parameters": {"timeout_ms": {"string_param": "soon"}}}, "INVALID_ARGUMENT", "timeout_ms"),
    (
        {"inputs": [matrix(shape=(100_000, 2))], "raw_input_contents": [b"\0" * 1_600_000]},
        "RESOURCE_EXHAUSTED",
        "larger",
    ),
]


def test_what_does_not_fit_gets_the_status_that_says_so(served: Doors) -> None:
    async def story(ask: Ask, _: Any) -> None:
        for change, code, words in REFUSED:
            fields: dict[str, object] = {"model_name": PLAIN, "inputs": [matrix(**GOOD)], **change}
            with pytest.raises(grpc.aio.AioRpcError, match=f"(?s){code}.*{words}"):
                await ask("ModelInfer", **fields)
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await ask("RepositoryModelUnload", model_name=PLAIN)
        for field in ("model_name", "repository_name"):  # KServe has the model's name in the first field
            assert (await ask("RepositoryModelLoad", **{field: PLAIN})).isLoaded

    talk(served, story, Limits(max_body_bytes=1_000_000))


def test_a_call_whose_time_is_up_is_told_so_and_the_next_one_is_answered(served: Doors) -> None:
    async def story(ask: Ask, _: Any) -> None:
        late = ask(
            "ModelInfer", model_name=PLAIN, inputs=[matrix(**GOOD)], parameters={"timeout_ms": {"int64_param": 1}}
        )
        answers = await asyncio.gather(late, ask("ServerLive"), return_exceptions=True)
        assert getattr(answers[1], "live", False)
        assert (await ask("ModelInfer", model_name=PLAIN, inputs=[matrix(**GOOD)])).outputs

    talk(served, story)


def test_a_client_that_goes_away_leaves_nothing_behind(served: Doors) -> None:
    async def story(ask: Ask, _: Any) -> None:
        calls = [asyncio.ensure_future(ask("ModelInfer", model_name=PLAIN, inputs=[matrix(**GOOD)])) for _ in range(30)]
        await asyncio.sleep(0.002)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(getattr(answer, "outputs", None) for answer in answers[1::2])

    talk(served, story)
    assert served.app.served.held_bytes == 0


def test_one_who_watches_the_health_does_not_hold_up_the_end(served: Doors) -> None:
    from mainspring.serving.modelserver.protocols.rpc import RpcServer

    async def run() -> None:
        server = RpcServer(served.app.served, Limits())
        port = await server.start("127.0.0.1", 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            watch = channel.unary_stream(
                "/grpc.health.v1.Health/Watch",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )(health_pb2.HealthCheckRequest(service=PLAIN))
            assert (await watch.read()).status == 1
            await asyncio.wait_for(server.stop(60), 10)

    served.loop.run_until_complete(run())


def test_who_is_refused_hears_when_to_come_again(served: Doors) -> None:
    async def story(ask: Ask, _: Any) -> None:
        served.app.served.held_bytes = Limits().max_held_bytes
        big = {"inputs": [matrix(shape=(5_000, 2))], "raw_input_contents": [b"\0" * 80_000]}
        with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED") as refused:
            await ask("ModelInfer", model_name=PLAIN, **big)
        assert ("grpc-retry-pushback-ms", "1000") in list(refused.value.trailing_metadata())
        served.app.served.held_bytes = 0

    talk(served, story)


def test_a_port_for_grpc_without_its_packages_is_refused_with_the_way_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "grpc_health", None)
    check_grpc(0)
    with pytest.raises(Unavailable, match="gRPC is not installed"):
        check_grpc(7777)


def test_the_messages_are_those_of_a_client_of_triton() -> None:
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2")
    pool = messages.pool()
    for name in {name for pair in METHODS.values() for name in pair}:
        ours = pool.FindMessageTypeByName(f"{messages.PACKAGE}.{name}")
        fields = theirs.DESCRIPTOR.message_types_by_name[name].fields_by_number
        shared = [(fields[number], field) for number, field in ours.fields_by_number.items() if number in fields]
        assert [(other.name, other.type) for other, _ in shared] == [(field.name, field.type) for _, field in shared]
        assert set(fields) <= set(ours.fields_by_number) or name.startswith("Repository")
