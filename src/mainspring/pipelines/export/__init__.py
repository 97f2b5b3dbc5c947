"""Pipelines for machines that run something else: Kubernetes, as Job, CronJob or RayJob, and Kubeflow Pipelines.

What is made says the same as the pipeline, or it is refused by name: nothing of a pipeline is left out in silence.
"""

from __future__ import annotations

from mainspring.pipelines.export.kubeflow import kubeflow
from mainspring.pipelines.export.kubernetes import cron_job, job
from mainspring.pipelines.export.place import Place, Schedule, Schedules
from mainspring.pipelines.export.rayjob import ray_job

__all__ = ["Place", "Schedule", "Schedules", "cron_job", "job", "kubeflow", "ray_job"]
