"""Golden requests: what a version answers through a real model server, a process started for them alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid
from mainspring.serving.client import Client
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Plan, write_plan
from mainspring.serving.supervisor import ServerOptions, Supervisor

if TYPE_CHECKING:
    import polars as pl

    from mainspring.registry import ModelVersion, Registry

_ROWS = 500
_NAME = "probe"


class Probe:
    """Answers rows as production would: package, check, load, decode, predict, encode.

    Args:
        registry: Unpacks the version.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, version: ModelVersion, frame: pl.DataFrame) -> dict[str, list[object]]:
        """The numeric outputs for each row, by name; a list for each row where it has several.

        Raises:
            Failed: The version can't be loaded, or can't answer.
            Invalid: The rows do not fit its signature.
        """
        missing = [name for name in version.columns if name not in frame.columns]
        if missing:
            raise Invalid(f"the rows have no column {missing[0]!r}", where=version.ref, hint="probe with its inputs")
        with tempfile.TemporaryDirectory(prefix="mainspring-probe-") as place:
            folder = Path(place)
            package = self._registry.materialize(version.model, version.number, folder / "model")
            arm = ArmPlan(
                name="only",
                version=version.number,
                share=1.0,
                folder=str(package),
                digest=version.digest,
                grant=self._registry.permit(version),
            )
            key = self._registry.public_key.hex()
            plan = Plan(generation=1, endpoints=[EndpointPlan(name=_NAME, arms=[arm])], public_key=key)
            write_plan(folder, plan)
            server = Supervisor(folder, ServerOptions(drain_s=0.0))
            try:
                server.start()
                server.apply(1)
                return _answers(server.url, frame.select(version.columns))
            finally:
                server.stop()


def _answers(url: str, frame: pl.DataFrame) -> dict[str, list[object]]:
    client = Client(url)
    answers: dict[str, list[object]] = {}
    try:
        for part in frame.iter_slices(_ROWS):
            for name, values in client.predict(_NAME, part.to_dict(as_series=False)).outputs.items():
                if isinstance(values[0], int | float | list):
                    answers.setdefault(name, []).extend(values)
    finally:
        client.close()
    return answers
