"""What monitors say to a collector of OpenTelemetry, as its own classes read it."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mainspring.core.clock import ManualClock
from mainspring.core.errors import Failed, Invalid, Unavailable
from mainspring.monitoring.telemetry import OtelSpec, Telemetry
from mainspring.storage.ports import Tables

sys.path.append(str(Path(__file__).parents[2]))

from tests.rooms.test_monitoring import START, House, build, flights, log, watched


class Collector(BaseHTTPRequestHandler):
    """Keeps what it is sent, and answers as it is told to."""

    heard: list[tuple[str, str, bytes]]
    status = 200

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        type(self).heard.append((self.path, self.headers["x-token"] or "", self.rfile.read(size)))
        self.send_response(type(self).status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def telemetry(house: House, endpoint: str) -> Telemetry:
    spec = OtelSpec(endpoint, headers_env="OTEL_TOKEN")
    clock = ManualClock(START)
    return Telemetry(spec, monitoring=house.monitoring, serving=house.serving, project="default", clock=clock)


def test_a_collector_reads_the_metrics_of_monitors(
    sqlite_tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    json_format = pytest.importorskip("google.protobuf.json_format")
    house = watched(build(sqlite_tables, tmp_path))
    log(house, flights(50, 2), start=START, at=START)
    house.monitoring.observe("live")

    class Kind(Collector):
        heard = list[tuple[str, str, bytes]]()

    monkeypatch.setenv("OTEL_TOKEN", "x-token=secret")
    with HTTPServer(("127.0.0.1", 0), Kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            sender = telemetry(house, f"http://127.0.0.1:{server.server_port}/")
            sent = sender.send()
            Kind.status = 503
            with pytest.raises(Failed, match="503"):
                sender.send()
        finally:
            server.shutdown()
            thread.join()
    path, token, body = Kind.heard[0]
    assert (path, token) == ("/v1/metrics", "secret")
    (resource,) = json_format.Parse(body, service.ExportMetricsServiceRequest()).resource_metrics
    assert {entry.key: entry.value.string_value for entry in resource.resource.attributes} == {
        "service.name": "mainspring",
        "mainspring.project": "default",
    }
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    counted = metrics["mainspring_monitored_predictions_total"].sum
    assert (counted.is_monotonic, counted.data_points[0].as_double) == (True, 50)
    assert counted.data_points[0].time_unix_nano == 1000 * START
    rate = metrics["mainspring_service_requests_per_second"].gauge.data_points[0]
    assert rate.as_double == pytest.approx(50 / 300)
    assert rate.attributes[0].value.string_value == "live"
    assert sent == sum(len((m.gauge or m.sum).data_points) + len(m.sum.data_points) for m in metrics.values())
    with pytest.raises(Unavailable):
        telemetry(house, f"http://127.0.0.1:{server.server_port}").send()


def test_nothing_is_sent_until_an_address_is_given(sqlite_tables: Tables, tmp_path: Path) -> None:
    sender = telemetry(watched(build(sqlite_tables, tmp_path)), "")
    sender.start()
    assert not sender._thread.is_alive()
    sender.stop()
    for wrong in ({"endpoint": "collector:4318"}, {"every_s": 0.0}):
        with pytest.raises(Invalid):
            OtelSpec(**wrong)
