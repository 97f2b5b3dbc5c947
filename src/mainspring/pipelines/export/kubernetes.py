"""A pipeline as a Job or CronJob of Kubernetes.

One container runs the whole pipeline, so lists, conditions and loops do what they do elsewhere. The run has the Job's
name as its key: a container that died is started again, and goes on with the same run where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mainspring.core.canonical import canonical_json
from mainspring.core.errors import Invalid
from mainspring.pipelines.export.place import DATA, Place, Schedule, deadline_of, name_of, nodes_of
from mainspring.pipelines.model import Graph, Node

Manifest = dict[str, object]
FINAL = [1, 2, 3, 4]
"""Exit codes of what another container does not change: the run has failed, or the call is wrong, or refused."""
RUN_KEY = "MAINSPRING_RUN_KEY"
_GRACE_S = 30
_MIB = 2**20
_SCRATCH = "/tmp"  # noqa: S108 - an empty folder of the pod's own


def job(graph: Graph, target: str, place: Place) -> Manifest:
    """A Job that runs a pipeline once.

    Args:
        graph: The pipeline, drawn with its parameters.
        target: What it is called in the image: "path/file.py:function" or "package.module:function".
        place: Where.
    Raises:
        Invalid: It asks a person, reads variables or secrets that nobody gave, or has no name Kubernetes takes.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": about(graph, place),
        "spec": _spec(graph, target, place),
    }


def cron_job(graph: Graph, target: str, place: Place, schedule: Schedule) -> Manifest:
    """A CronJob that runs a pipeline at times of the clock, never twice at once.

    Args:
        graph: As for `job`.
        target: As for `job`.
        place: As for `job`.
        schedule: When. Times that passed are made up for by one run (`latest`) or passed over (`skip`).
    Raises:
        Invalid: As for `job`, or each time that passed is to have a run of its own.
    """
    if schedule.catch_up == "all":
        hint = 'use catch_up = "latest" or "skip", or leave it to `mainspring up`'
        raise Invalid("a CronJob starts one run for all times that passed", where="catch_up", hint=hint)
    late = {"startingDeadlineSeconds": 60} if schedule.catch_up == "skip" else {}
    spec: Manifest = {
        "schedule": schedule.cron,
        "timeZone": "Etc/UTC" if schedule.zone == "UTC" else schedule.zone,
        "concurrencyPolicy": "Forbid",
        **late,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"metadata": {"labels": labels(graph, place)}, "spec": _spec(graph, target, place)},
    }
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": about(graph, place), "spec": spec}


def labels(graph: Graph, place: Place) -> dict[str, str]:
    """What everything that belongs to the pipeline is labelled with."""
    return {"app.kubernetes.io/name": name_of(graph, place), "app.kubernetes.io/managed-by": "mainspring"}


def about(graph: Graph, place: Place) -> Manifest:
    """The metadata of what is made."""
    space = {"namespace": place.namespace} if place.namespace else {}
    return {"name": name_of(graph, place), **space, "labels": labels(graph, place)}


def run_command(graph: Graph, target: str, key: str, *more: str) -> list[str]:
    """The command that runs the whole pipeline, or goes on with what is left of the run of that key."""
    return ["mainspring", "pipeline", "run", target, "--key", key, *more, "--params", params_text(graph)]


def params_text(graph: Graph) -> str:
    """The parameters as JSON without the sign that Kubernetes, Kubeflow and shells look for."""
    return canonical_json(dict(graph.params)).decode().replace("$", "\\u0024")


def unexpanded(text: str) -> str:
    """A text in a command or a variable that Kubernetes leaves as it is: "$(NAME)" would be replaced.

    >>> unexpanded("costs $(5)")
    'costs $$(5)'
    """
    return text.replace("$(", "$$(")


def env_of(nodes: Sequence[Node], place: Place) -> list[Manifest]:
    """The variables of a container that runs these steps.

    Raises:
        Invalid: A step wants a variable or a secret that nobody gives.
    """
    read: dict[str, tuple[str, str]] = dict(place.secret_env)
    for node in nodes:
        place.check_env(node)
        read |= place.secrets_of(node)
    plain: list[Manifest] = [{"name": name, "value": unexpanded(value)} for name, value in sorted(place.env.items())]
    return plain + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, (secret, key) in sorted(read.items())
    ]


def size_of_pod(nodes: Sequence[Node], place: Place) -> Manifest:
    """Room for the largest step: it is asked for and, memory and graphics cards, not gone beyond.

    Raises:
        Invalid: A step asks for more than the place was said to give.
    """
    asks = [node.options.resources for node in nodes]
    cpu, memory = (max(each.cpu for each in asks), max(each.memory for each in asks))
    for node in nodes:
        wants = node.options.resources
        if (place.cpu and wants.cpu > place.cpu) or (place.memory and wants.memory > place.memory):
            hint = "--cpu and --memory at least as large, or leave them out"
            raise Invalid("it asks for more than the container is to have", where=f"step {node.id}", hint=hint)
    cpu, memory, gpu = place.cpu or cpu, place.memory or memory, max(each.gpu for each in asks)
    wanted = {"cpu": cores_text(cpu)} if cpu else {}
    most = ({"memory": memory_text(memory)} if memory else {}) | ({"nvidia.com/gpu": str(gpu)} if gpu else {})
    return {name: what for name, what in (("requests", wanted | most), ("limits", most)) if what}


def cores_text(cpu: float) -> str:
    """Cores as Kubernetes writes them.

    >>> cores_text(2.0), cores_text(0.25)
    ('2', '250m')
    """
    return str(round(cpu)) if cpu == round(cpu) else f"{max(1, math.ceil(cpu * 1000))}m"


def memory_text(size: int) -> str:
    """Bytes as Kubernetes writes them, in whole MiB.

    >>> memory_text(2**30)
    '1024Mi'
    """
    return f"{math.ceil(size / _MIB)}Mi"


def volumes_of(place: Place) -> tuple[list[Manifest], list[Manifest]]:
    """The volumes of a pod, and where its containers mount them; a scratch folder is always there."""
    made: list[Manifest] = [{"name": "scratch", "emptyDir": {}}]
    mounts: list[Manifest] = [{"name": "scratch", "mountPath": _SCRATCH}]
    for claim, path in place.volumes.items():
        made.append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": claim, "mountPath": path})
    return made, mounts


def hardened() -> Manifest:
    """What a container of ours may not do: be root, become it, or write into its image."""
    return {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def scratch_env(place: Place) -> list[Manifest]:
    """Variables that send what is written elsewhere into the scratch folder, unless somebody says where it goes."""
    places = {"HOME": _SCRATCH, DATA: f"{_SCRATCH}/mainspring"}
    said = {*place.env, *place.secret_env}
    return [{"name": name, "value": value} for name, value in places.items() if name not in said]


def _spec(graph: Graph, target: str, place: Place) -> Manifest:
    nodes = nodes_of(graph)
    place.check_keeps()
    limit = deadline_of(nodes, place)
    volumes, mounts = volumes_of(place)
    of_the_pod = f"$({RUN_KEY})"
    key_of = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    container: Mapping[str, object] = {
        "name": "pipeline",
        "image": place.image,
        "command": [
            part if part == of_the_pod else unexpanded(part) for part in run_command(graph, target, of_the_pod)
        ],
        "env": [{"name": RUN_KEY, "valueFrom": key_of}, *scratch_env(place), *env_of(nodes, place)],
        "resources": size_of_pod(nodes, place),
        "securityContext": hardened(),
        "volumeMounts": mounts,
    }
    stop = {
        "action": "FailJob",
        "onExitCodes": {"containerName": "pipeline", "operator": "In", "values": FINAL},
    }
    return {
        "backoffLimit": place.retries,
        **({"activeDeadlineSeconds": limit} if limit else {}),
        "podFailurePolicy": {"rules": [stop]},
        "template": {
            "metadata": {"labels": labels(graph, place)},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": _GRACE_S,
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [dict(container)],
                "volumes": volumes,
            },
        },
    }
