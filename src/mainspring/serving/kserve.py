"""A deployment as an InferenceService of KServe: our server in its container, with its probes."""

from __future__ import annotations

import re

import click

from mainspring.core.console import json_option, room, show
from mainspring.core.errors import Invalid, Refused
from mainspring.core.values import dataclass
from mainspring.registry import ModelVersion, Registry
from mainspring.serving.model import Deployment
from mainspring.serving.service import Serving

_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT = 8080
_DRAIN_S = 10
_FINISH_S = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how large the service shall be.

    Args:
        image: A container image with Mainspring in it, `mainspring` being its entry point.
        storage: Where KServe gets the package: s3://, gs://, pvc:// or whatever its storage initializer knows.
        name: Of the service; "" makes one of the deployment's.
        namespace: Of Kubernetes; "" leaves it to `kubectl`.
        workers: Processes in each pod, the fewest.
        max_workers: Most of them under load; 0 keeps their number.
        replicas: Fewest pods; 0 scales to none where KServe is serverless.
        max_replicas: Most of them; 0 leaves it to KServe.
        cpu: Cores of each pod, requested and at most.
        memory: Memory of each pod, likewise.
    """

    image: str
    storage: str
    name: str = ""
    namespace: str = ""
    workers: int = 1
    max_workers: int = 0
    replicas: int = 1
    max_replicas: int = 0
    cpu: str = "1"
    memory: str = "1Gi"

    def __post_init__(self) -> None:
        """Raises: Invalid: No image, no address of a package, or numbers that make no sense together."""
        if not self.image or not re.fullmatch(r"\S+", self.image):
            raise Invalid(f"{self.image[:60]!r} is no image", where="--image", hint="--image REGISTRY/mainspring:TAG")
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", self.storage):
            what = f"{self.storage[:60]!r} is no address of a package"
            raise Invalid(what, where="--storage", hint="upload the package, then --storage s3://BUCKET/PATH")
        if self.max_replicas and self.max_replicas < max(1, self.replicas):
            raise Invalid(f"{self.replicas} to {self.max_replicas} replicas", where="--max-replicas")


def manifest(deployment: Deployment, version: ModelVersion, key: str, place: Place) -> dict[str, object]:
    """The InferenceService as plain values.

    Args:
        deployment: What is served.
        version: Its champion.
        key: Public key that the package must be signed with, hex.
        place: Where.
    Raises:
        Refused: The version is a pickle: its grant holds in this project alone.
        Invalid: The name is none in Kubernetes.
    """
    if version.flavour == "pickle":
        raise Refused("a pickle is served only where it was granted", where=version.ref, hint="register a safe format")
    name = place.name or re.sub(r"[^a-z0-9]+", "-", deployment.name.lower()).strip("-")
    if not _LABEL.fullmatch(name):
        what = f"{name[:70]!r} is no name in Kubernetes"
        raise Invalid(what, where="--name", hint="use up to 63 small letters, digits and dashes, a letter first")
    predictor: dict[str, object] = {"minReplicas": place.replicas}
    if place.max_replicas:
        predictor["maxReplicas"] = place.max_replicas
    predictor["terminationGracePeriodSeconds"] = _DRAIN_S + _FINISH_S
    predictor["containers"] = [_container(deployment.name, key, place)]
    about = {"mainspring/model": f"{version.model}/{version.number}", "mainspring/digest": version.digest}
    metadata: dict[str, object] = {"name": name, "annotations": about}
    if place.namespace:
        metadata["namespace"] = place.namespace
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor},
    }


def _container(name: str, key: str, place: Place) -> dict[str, object]:
    args = ["serve", "/mnt/models", "--name", name, "--host", "0.0.0.0", "--port", str(_PORT)]  # noqa: S104 - a pod's own
    args += ["--workers", str(place.workers), "--drain-s", str(_DRAIN_S), "--key", key]
    args += ["--max-workers", str(place.max_workers)] if place.max_workers else []
    size = {"cpu": place.cpu, "memory": place.memory}
    ready = {"httpGet": {"path": "/v2/health/ready", "port": _PORT}}
    return {
        "name": "kserve-container",  # the one that KServe puts the model into
        "image": place.image,
        "args": args,
        "env": [{"name": "STORAGE_URI", "value": place.storage}],
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
        "startupProbe": {**ready, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**ready, "periodSeconds": 2, "failureThreshold": 3},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": _PORT}, "periodSeconds": 10, "failureThreshold": 3},
        "resources": {"requests": size, "limits": size},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def left_out(deployment: Deployment) -> list[str]:
    """What a deployment has here that a package alone does not: it is not in the manifest."""
    options, found = deployment.options, []
    if len(deployment.traffic.arms) > 1:
        found.append("the canary: all traffic goes to the champion")
    if options.rules:
        found.append("its rules")
    if options.interval is not None:
        found.append("its intervals")
    return [*found, "the log of predictions, and what is watched by it"]


@click.command()
@click.argument("deployment")
@click.option("--image", required=True, help="Container image with Mainspring, `mainspring` being its entry point.")
@click.option(
    "--storage", required=True, metavar="URI", help="Where KServe gets the package: s3://BUCKET/PATH, pvc://..."
)
@click.option("--name", default="", help="Name of the service (default: made of the deployment's).")
@click.option("--namespace", default="", help="Namespace (default: left to kubectl).")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes in each pod.")
@click.option("--max-workers", type=click.IntRange(0, 64), default=0, help="Most of them under load; 0: no more.")
@click.option("--replicas", type=click.IntRange(min=0), default=1, show_default=True, help="Fewest pods.")
@click.option("--max-replicas", type=click.IntRange(min=0), default=0, help="Most pods; 0: as KServe says.")
@click.option("--cpu", default="1", show_default=True, help="Cores of each pod.")
@click.option("--memory", default="1Gi", show_default=True, help="Memory of each pod.")
@json_option
@click.pass_context
def kserve(ctx: click.Context, /, deployment: str, *, as_json: bool, **place: object) -> None:
    """The manifest of a deployment as an InferenceService of KServe, for `kubectl apply -f -`.

    The package must lie where --storage says: mainspring models download MODEL VERSION DIR, then upload DIR.

    Example: mainspring kserve flights --image hub.example/mainspring:1 --storage s3://models/flights > flights.yaml
    """
    import yaml  # type: ignore[import-untyped]

    found = room(ctx, Serving).get(deployment)
    registry = room(ctx, Registry)
    version = registry.get(found.model, found.champion)
    made = manifest(found, version, registry.public_key.hex(), Place(**place))  # type: ignore[arg-type]  # click's types
    click.echo("\n".join(f"not in it: {what}" for what in left_out(found)), err=True)
    show(made, yaml.safe_dump(made, sort_keys=False).rstrip(), as_json=as_json)
