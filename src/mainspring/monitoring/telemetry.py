"""What monitors say to a collector of OpenTelemetry: OTLP over HTTP, as JSON. Off until an address is given."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import Clock
from mainspring.core.errors import Failed, Invalid, MainspringError
from mainspring.core.values import dataclass
from mainspring.monitoring.exporting import Family, families
from mainspring.monitoring.service import Monitoring
from mainspring.registry.outside import post
from mainspring.serving import Serving

log = logging.getLogger("mainspring.monitoring")
_CUMULATIVE = 2


@dataclass(frozen=True, slots=True)
class OtelSpec:
    """`[otel]`: where what monitors say is sent.

    Attributes:
        endpoint: Address of a collector, such as "http://127.0.0.1:4318"; "" = nothing is sent.
        every_s: How often.
        headers_env: Name of an environment variable with headers, "name=value,name=value", such as a token.
    Raises:
        Invalid: A value is out of range.
    """

    endpoint: str = ""
    every_s: float = 60.0
    headers_env: str = ""

    def __post_init__(self) -> None:
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            hint = 'write endpoint = "http://127.0.0.1:4318"'
            raise Invalid(f"{self.endpoint[:60]!r} is no address", where="otel.endpoint", hint=hint)
        if not 1 <= self.every_s <= 86_400:
            raise Invalid(f"every {self.every_s:g} s", where="otel.every_s", hint="use 1 to 86400")


class Telemetry:
    """Sends what monitors say again and again. What does not arrive is logged and not sent later: it was a state.

    Args:
        spec: Where to and how often.
        monitoring: Says it.
        serving: Knows the projects.
        project: The one of this folder.
        clock: Tells the time.
    """

    def __init__(self, spec: OtelSpec, *, monitoring: Monitoring, serving: Serving, project: str, clock: Clock) -> None:
        self._spec, self._monitoring, self._serving = spec, monitoring, serving
        self._project, self._clock = project, clock
        self._began = clock.now()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin, where an address is given; returns at once."""
        if self._spec.endpoint:
            self._thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._spec.every_s):
            try:
                self.send()
            except MainspringError as error:
                log.warning("otel.send_failed what=%s", error.what)
            except Exception:
                log.exception("otel.send_failed")

    def send(self) -> int:
        """Send every project's metrics now. Returns how many values were sent.

        Raises:
            Unavailable: The collector could not be reached.
            Failed: It did not take them.
        """
        sent = 0
        for project in sorted({self._project, *self._serving.projects()}):
            with calling(Caller("telemetry", project)):
                found = families(self._monitoring)
            body = payload(found, project=project, now=self._clock.now(), began=self._began)
            headers = {"Content-Type": "application/json", "User-Agent": "mainspring", **self._headers()}
            address = self._spec.endpoint.rstrip("/") + "/v1/metrics"
            reply = post(address, body, headers, local=True)  # the address is of the folder's own settings
            if reply.status >= 300:
                raise Failed(f"the collector answered {reply.status}", where="otel.endpoint", hint="does it take OTLP?")
            sent += sum(len(family.series) for family in found)
        return sent

    def _headers(self) -> dict[str, str]:
        said = os.environ.get(self._spec.headers_env, "") if self._spec.headers_env else ""
        pairs = (entry.partition("=") for entry in said.split(",") if "=" in entry)
        return {name.strip(): value.strip() for name, _, value in pairs}


def payload(found: Sequence[Family], *, project: str, now: int, began: int) -> bytes:
    """An `ExportMetricsServiceRequest` in JSON.

    Args:
        found: What is said.
        project: Becomes an attribute of the resource.
        now: Microseconds.
        began: Since when counters count, microseconds.
    Source: OpenTelemetry Protocol 1.5, OTLP/HTTP, JSON Protobuf encoding: 64-bit numbers are texts.
    """
    resource = {"service.name": "mainspring", "mainspring.project": project}
    metrics = [_metric(family, str(1000 * now), str(1000 * began)) for family in found]
    scope = {"scope": {"name": "mainspring.monitoring"}, "metrics": metrics}
    request = {"resourceMetrics": [{"resource": {"attributes": _attributes(resource)}, "scopeMetrics": [scope]}]}
    return json.dumps(request, ensure_ascii=False, allow_nan=False).encode()


def _metric(family: Family, now: str, began: str) -> dict[str, object]:
    is_sum = family.kind == "counter"
    points = [
        {
            "attributes": _attributes(labels),
            "timeUnixNano": now,
            "asDouble": value,
            **({"startTimeUnixNano": began} if is_sum else {}),
        }
        for labels, value in family.series
    ]
    if is_sum:
        total = {"dataPoints": points, "aggregationTemporality": _CUMULATIVE, "isMonotonic": True}
        return {"name": family.name, "sum": total}
    return {"name": family.name, "gauge": {"dataPoints": points}}


def _attributes(labels: dict[str, str]) -> list[dict[str, object]]:
    return [{"key": key, "value": {"stringValue": text}} for key, text in labels.items()]
