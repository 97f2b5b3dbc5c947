"""`mainspring serve`: packages of a folder behind a model server and nothing else, such as in a container."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from mainspring.core.errors import Invalid, NotFound
from mainspring.core.ids import check_name
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Options, Plan, write_plan

PLACES = (Path("/opt/ml/model"), Path("/mnt/models"))
"""Where platforms put the model of a container: SageMaker, KServe."""
PORTS = ("SAGEMAKER_BIND_TO_PORT", "PORT")
"""Variables in which they name the port."""
_PORT = 8080
_MANIFEST = "manifest.json"
_KEY = re.compile(r"[0-9a-f]{64}")


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--name", default="", help="Name of the endpoint, for one package (default: the model's).")
@click.option("--host", default=None, help="Address (default: 127.0.0.1; in a container, without FOLDER, every one).")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="Port (default: $PORT, else 8080).")
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=None, help="Port for gRPC (default: none).")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes, the fewest.")
@click.option("--max-workers", type=click.IntRange(1, 64), default=None, help="Most processes under load.")
@click.option("--key", default="", metavar="HEX", help="Public key the packages must be signed with.")
@click.option("--drain-s", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds after SIGTERM.")
def serve(
    folder: Path | None,
    *,
    name: str,
    host: str | None,
    port: int | None,
    grpc_port: int | None,
    workers: int,
    max_workers: int | None,
    key: str,
    drain_s: float,
) -> None:
    """Serve the package in FOLDER, or those in its subfolders, until SIGTERM. Nothing is logged.

    Without FOLDER it serves what a platform put into its container: /opt/ml/model or /mnt/models.

    Example: mainspring models download flights 3 model && mainspring serve model
    """
    from mainspring.serving.modelserver.__main__ import main
    from mainspring.serving.supervisor import check_grpc

    check_grpc(grpc_port or 0)
    place, inside = (folder, False) if folder is not None else (place_of(PLACES), True)
    address = host or ("0.0.0.0" if inside else "127.0.0.1")  # noqa: S104 - a container is reached from outside
    plan = plan_of(place, name=name, key=key)
    with tempfile.TemporaryDirectory(prefix="mainspring-serve-") as made:
        write_plan(Path(made), plan)
        given = ["--plan", made, "--host", address, "--port", str(port or port_of(os.environ))]
        given += ["--grpc-port", str(grpc_port or 0), "--workers", str(workers), "--drain-s", str(drain_s)]
        given += ["--max-workers", str(max_workers or 0)]
        names = ", ".join(endpoint.name for endpoint in plan.endpoints)
        click.echo(f"serving {names} on http://{address}:{port or port_of(os.environ)}", err=True)
        raise SystemExit(main(given))


def place_of(places: Sequence[Path]) -> Path:
    """The first of these folders that is there.

    Raises: NotFound: None is.
    """
    for place in places:
        if place.is_dir():
            return place
    raise NotFound(
        f"no folder was named, and there is no {' or '.join(map(str, places))}",
        where="FOLDER",
        hint="mainspring models download NAME VERSION DIR, then mainspring serve DIR",
    )


def port_of(environ: Mapping[str, str]) -> int:
    """The port that the environment names, else 8080.

    Raises: Invalid: It is no port.
    """
    for name in PORTS:
        if text := environ.get(name, ""):
            if not text.isdigit() or not 1 <= int(text) <= 65535:
                raise Invalid(f"{text[:20]!r} is no port", where=name, hint="use 1 to 65535")
            return int(text)
    return _PORT


def plan_of(place: Path, *, name: str = "", key: str = "") -> Plan:
    """The plan of a server over the package in a folder, or over those in its subfolders, each checked.

    Args:
        place: The folder.
        name: Of the endpoint; "" takes the model's, or for several packages those of the subfolders.
        key: Public key that the packages must be signed with, 64 hex digits; "" checks digests only.
    Raises:
        NotFound: There is no package. Invalid: A name for several packages, a name or key that is none.
        Corrupt: A package is not what it was made as.
    """
    if key and not _KEY.fullmatch(key):
        raise Invalid("the key is not 64 hex digits", where="--key")
    found = [place] if (place / _MANIFEST).is_file() else sorted(p.parent for p in place.glob(f"*/{_MANIFEST}"))
    if not found:
        hint = "mainspring models download NAME VERSION DIR"
        raise NotFound("there is no model package", where=str(place), hint=hint)
    if name and len(found) > 1:
        raise Invalid(f"{len(found)} packages can't all be named {name!r}", where="--name", hint="leave it out")
    endpoints = [_endpoint(folder, name, key, alone=len(found) == 1) for folder in found]
    return Plan(generation=1, endpoints=endpoints, public_key=key, durability="process")


def _endpoint(folder: Path, name: str, key: str, *, alone: bool) -> EndpointPlan:
    from mainspring.registry.packages import read_folder

    _, _, seal = read_folder(folder, public_key=bytes.fromhex(key) if key else None)
    name = check_name(name or (seal.model if alone else folder.name), "deployment")
    arm = ArmPlan(name="champion", version=seal.version, share=1.0, folder=str(folder.absolute()), digest=seal.digest)
    return EndpointPlan(name=name, arms=[arm], options=Options(log_share=0.0))
