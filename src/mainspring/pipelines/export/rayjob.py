"""A pipeline as a RayJob of KubeRay: a cluster is made for it, its steps run on its pods, and it goes again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from mainspring.core.errors import Invalid
from mainspring.pipelines.export.kubernetes import (
    RUN_KEY,
    Manifest,
    about,
    env_of,
    hardened,
    labels,
    run_command,
    scratch_env,
    size_of_pod,
    volumes_of,
)
from mainspring.pipelines.export.place import Place, deadline_of, nodes_of
from mainspring.pipelines.model import Graph, Node

_PORTS = (("gcs", 6379), ("dashboard", 8265), ("client", 10001))
_STAYS_S = 600
_OWN: list[Manifest] = [
    {"name": RUN_KEY, "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['ray.io/cluster']"}}},
    {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
]
"""The cluster has a name that no other has had, which is the key of the run."""


def ray_job(graph: Graph, target: str, place: Place) -> Manifest:
    """A RayJob that runs a pipeline once, its steps anywhere in a cluster of their own.

    Every pod is large enough for the largest step. What is tried again is the Job that hands the pipeline in: it goes
    on with the same run.

    Args:
        graph: The pipeline, drawn with its parameters.
        target: What it is called in the image: "path/file.py:function" or "package.module:function".
        place: Where; `ray_version` is Ray's in the image.
    Raises:
        Invalid: As for a Job, or nobody said which Ray is in the image.
    """
    nodes = nodes_of(graph)
    place.check_keeps()
    if not re.fullmatch(r"\d+\.\d+\.\d+", place.ray_version):
        hint = "--ray-version 2.50.0: the head, the workers and the pipeline must have the same"
        raise Invalid("nobody says which Ray is in the image", where="--ray-version", hint=hint)
    limit = deadline_of(nodes, place)
    metadata = about(graph, place)
    command = run_command(graph, target, f"${RUN_KEY}", "--engine", "ray")
    spec: Manifest = {
        "entrypoint": shell_line(command),
        "submissionMode": "K8sJobMode",
        "backoffLimit": 0,
        "submitterConfig": {"backoffLimit": place.retries},
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": _STAYS_S,
        **({"activeDeadlineSeconds": limit} if limit else {}),
        "rayClusterSpec": _cluster(graph, nodes, place),
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def shell_line(command: Sequence[str]) -> str:
    """A command as a shell reads it; the key of the run is filled in by the shell.

    >>> shell_line(["run", "--key", "$MAINSPRING_RUN_KEY", "two words"])
    'run --key "$MAINSPRING_RUN_KEY" \'two words\''
    """
    return " ".join(f'"{part}"' if part == f"${RUN_KEY}" else shlex.quote(part) for part in command)


def _cluster(graph: Graph, nodes: Sequence[Node], place: Place) -> Manifest:
    head: Manifest = {"rayStartParams": {"dashboard-host": "0.0.0.0"}}  # noqa: S104 - a pod's own address
    head["template"] = _pod(graph, nodes, place, "ray-head")
    cluster: Manifest = {"rayVersion": place.ray_version, "headGroupSpec": head}
    if place.workers:
        group: Manifest = {"groupName": "steps", "rayStartParams": {}}
        group |= {"replicas": place.workers, "minReplicas": place.workers, "maxReplicas": place.workers}
        cluster["workerGroupSpecs"] = [{**group, "template": _pod(graph, nodes, place, "ray-worker")}]
    return cluster


def _pod(graph: Graph, nodes: Sequence[Node], place: Place, name: str) -> Manifest:
    volumes, mounts = volumes_of(place)
    container: Manifest = {
        "name": name,
        "image": place.image,
        "env": [*_OWN, *scratch_env(place), *env_of(nodes, place)],
        "resources": size_of_pod(nodes, place),
        "securityContext": hardened(),
        "volumeMounts": mounts,
    }
    if name == "ray-head":
        container["ports"] = [{"name": each, "containerPort": port} for each, port in _PORTS]
    return {
        "metadata": {"labels": labels(graph, place)},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": volumes,
        },
    }
