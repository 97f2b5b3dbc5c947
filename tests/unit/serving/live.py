"""A real model server process over the two models of `doors`, with HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import own_ports
from tests.unit.serving.doors import packages

from mainspring.registry.manifests import Seal
from mainspring.registry.packages import write_folder
from mainspring.registry.signing import Signer, key_id, statement
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Plan, write_plan
from mainspring.serving.supervisor import ServerOptions, Supervisor


@dataclass(frozen=True)
class Live:
    url: str
    grpc: str
    folder: Path

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")


@contextmanager
def live(folder: Path, *, workers: int = 1) -> Iterator[Live]:
    """The server, until the block ends."""
    signer, endpoints = Signer(folder), []
    for name, package in packages().items():
        seal = Seal(name, 1, package.digest, key_id(signer.public), signer.sign(statement(name, 1, package.digest)))
        place = write_folder(folder / name, package.manifest.to_bytes(), package.files, seal)
        arm = ArmPlan(name="champion", version=1, share=1.0, folder=str(place), digest=package.digest)
        endpoints.append(EndpointPlan(name=name, arms=[arm]))
    plans = folder / "plans"
    write_plan(plans, Plan(generation=1, endpoints=endpoints, public_key=signer.public.hex(), durability="process"))
    (port,) = own_ports(1)
    server = Supervisor(plans, ServerOptions(drain_s=0.0, grpc_port=port, workers=workers))
    try:
        yield Live(server.start(), f"127.0.0.1:{port}", plans)
    finally:
        server.stop()
