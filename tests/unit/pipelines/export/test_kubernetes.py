"""What is exported to Kubernetes is of its types, with nothing in it that they do not have."""

from __future__ import annotations

import json
import os
import shlex
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from tests.unit.pipelines.export.drawn import PLACE, asked, graph, plain
from tests.unit.pipelines.export.kube import models, problems
from tests.unit.serving.test_kserve import closed

from mainspring.cli.root import root
from mainspring.core.errors import Invalid, MainspringError
from mainspring.loop.triggers.exported import TriggerSchedules
from mainspring.pipelines.export import Place, Schedule, cron_job, job, ray_job
from mainspring.pipelines.targets import load_target

BATCH = models("batch_v1")
TARGET = "search.py:search"
NIGHTLY = Schedule(cron="30 4 * * mon-fri", zone="Europe/Berlin")
CRDS = Path(os.environ.get("MAINSPRING_CRDS", Path(__file__).parents[5] / "shared" / "data" / "crds"))


def pod_of(made: Any) -> Any:
    spec = made["spec"]
    return spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]


def every_place(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each object in a manifest."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = [path] if isinstance(value, dict) else []
    return here + [way for key, each in inner for way in every_place(each, (*path, key))]


def test_jobs_are_of_the_types_that_kubernetes_has() -> None:
    assert problems(job(graph(), TARGET, PLACE), BATCH.Job) == []
    assert problems(job(graph(), TARGET, replace(PLACE, namespace="ml", name="other")), BATCH.Job) == []
    for schedule in (NIGHTLY, replace(NIGHTLY, catch_up="skip")):
        assert problems(cron_job(graph(), TARGET, PLACE, schedule), BATCH.CronJob) == []


def test_a_part_that_kubernetes_does_not_have_is_found_wherever_it_is() -> None:
    made = cron_job(graph(), TARGET, PLACE, NIGHTLY)
    free = ("labels", "limits", "requests", "emptyDir")
    for way in every_place(made):
        if way and way[-1] in free[:3]:
            continue  # names that people choose
        wrong: Any = deepcopy(made)
        part = wrong
        for key in way:
            part = part[key]
        part["mispelt"] = 1
        assert problems(wrong, BATCH.CronJob) == [f"{''.join(f'.{key}' for key in way)}.mispelt is unknown"]
    wrong = deepcopy(made)
    wrong["spec"]["suspend"] = "no"
    del wrong["spec"]["schedule"]
    assert len(problems(wrong, BATCH.CronJob)) == 2


def test_the_classes_of_kubernetes_own_client_agree() -> None:
    client = pytest.importorskip("kubernetes.client")
    from tests.unit.serving.test_kserve import typed

    typed(job(graph(), TARGET, PLACE), "V1Job", [client])
    typed(cron_job(graph(), TARGET, PLACE, NIGHTLY), "V1CronJob", [client])


def test_a_container_may_do_little_and_keeps_its_secrets_elsewhere() -> None:
    (container,) = pod_of(job(graph(), TARGET, PLACE))["containers"]
    env = {each["name"]: each for each in container["env"]}
    assert env["WAREHOUSE_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "tokens", "key": "WAREHOUSE_TOKEN"}}
    assert env["MAINSPRING_STORAGE_DB"]["valueFrom"] == {"secretKeyRef": {"name": "mainspring", "key": "db"}}
    assert env["STAGE"]["value"] == "$$(STAGE)", "Kubernetes would put something else there"
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "1536Mi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "1536Mi", "nvidia.com/gpu": "1"},
    }
    limits = container["securityContext"]
    assert limits["runAsNonRoot"] and limits["readOnlyRootFilesystem"] and not limits["allowPrivilegeEscalation"]


def test_its_command_is_one_that_ours_takes() -> None:
    (container,) = pod_of(job(graph(note="it's $(5)"), TARGET, PLACE))["containers"]
    program, *words = container["command"]
    assert program == "mainspring"
    group: Any = root.get_command(None, words[0])  # type: ignore[arg-type]
    context = group.commands[words[1]].make_context(words[1], words[2:])
    assert context.params["key"] == "$(MAINSPRING_RUN_KEY)"
    assert json.loads(context.params["whole"]) == {"depth": 1, "note": "it's $(5)"}


def test_deadlines_follow_from_the_limits_of_the_steps() -> None:
    made: Any = job(plain.draw({})[0], TARGET, replace(PLACE, retries=1))
    assert made["spec"]["activeDeadlineSeconds"] == 2 * 3 * 30
    assert "activeDeadlineSeconds" not in job(graph(), TARGET, PLACE)["spec"], "nobody knows how many items there are"  # type: ignore[operator]
    said: Any = job(graph(), TARGET, replace(PLACE, deadline_s=7200))
    assert said["spec"]["activeDeadlineSeconds"] == 7200


def test_a_cron_job_runs_as_the_trigger_would() -> None:
    made: Any = cron_job(graph(), TARGET, PLACE, NIGHTLY)
    assert (made["spec"]["schedule"], made["spec"]["timeZone"]) == ("30 4 * * mon-fri", "Europe/Berlin")
    assert made["spec"]["concurrencyPolicy"] == "Forbid" and "startingDeadlineSeconds" not in made["spec"]
    skipped: Any = cron_job(graph(), TARGET, PLACE, replace(NIGHTLY, catch_up="skip", zone="UTC"))
    assert skipped["spec"]["startingDeadlineSeconds"] == 60 and skipped["spec"]["timeZone"] == "Etc/UTC"
    with pytest.raises(Invalid, match="one run for all times"):
        cron_job(graph(), TARGET, PLACE, replace(NIGHTLY, catch_up="all"))


def test_days_are_written_as_a_cron_job_reads_them() -> None:
    schedules = TriggerSchedules({}, 0)
    days = ("7", "1-5", "fri-7", "*/2", "0,7", "5/2", "*")
    assert [schedules.of_text(f"0 0 * * {each}", "UTC").cron[8:] for each in days] == [
        *("0", "1,2,3,4,5", "0,5,6", "*/2", "0", "0,5", "*")
    ]
    assert schedules.of_text("@weekly", "UTC").cron == "@weekly"
    assert schedules.of_text("0 0 1 * 1", "UTC").cron == "0 0 1 * 1", "either day, here and there"
    with pytest.raises(Invalid, match="either of its days"):
        schedules.of_text("0 0 */2 * 1", "UTC")


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"cron": "* * * * *"}, "more than 24 times a day"),
        ({"cron": "@hourly", "cool_down": "2h"}, "more often than every 2h"),
        ({"dry_run": True}, "no dry_run"),
        ({"cpu_hours_a_day": 1.0}, "no cpu_hours_a_day"),
        ({"params": {"at": "$at"}}, "does not know"),
        ({"pipeline": "", "policy": "churn"}, "starts a policy"),
        ({"on": "data", "cron": "", "dataset": "late"}, "watches data"),
    ],
)
def test_what_a_trigger_says_and_a_cron_job_cannot_is_refused(section: dict[str, object], says: str) -> None:
    whole = {"on": "cron", "cron": "@daily", "pipeline": TARGET} | section
    with pytest.raises(Invalid, match=says):
        TriggerSchedules({"nightly": {k: v for k, v in whole.items() if v != ""}}, 0).of_trigger("nightly")


def test_what_cannot_be_exported_is_refused_by_name() -> None:
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"image": ""}, "is no image"),
        ({"name": "Search_1"}, "no name in Kubernetes"),
        ({"cpu": 0.25}, "asks for more than the container"),
        ({"memory": 2**20}, "asks for more than the container"),
        ({"secret": ""}, "where the secret WAREHOUSE_TOKEN is"),
        ({"env": {"MAINSPRING_STORAGE_BLOBS": "s3://b"}}, "what STAGE is"),
        ({"env": {"STAGE": "a"}}, "would go with the container"),
        ({"env": {"MAINSPRING_STORAGE_DB": "postgresql://a:b@db/x"}, "secret_env": {}}, "password"),
        ({"volumes": {"models": "srv"}}, "is no path"),
    ]
    for change, says in wrongs:
        with pytest.raises(Invalid, match=says):
            job(graph(), TARGET, replace(PLACE, **change))
    for export in (job, ray_job):
        with pytest.raises(Invalid, match="asks a person"):
            export(asked.draw({})[0], TARGET, PLACE)
    with pytest.raises(Invalid, match="which Ray"):
        ray_job(graph(), TARGET, replace(PLACE, ray_version=""))


def test_results_may_stay_on_a_volume() -> None:
    kept = Place(image="a", env={"MAINSPRING_STORAGE_DATA": "/srv/kept"}, volumes={"claim": "/srv"})
    job(plain.draw({})[0], TARGET, replace(kept, env={**kept.env, "STAGE": "x"}))
    with pytest.raises(Invalid, match="would go with the container"):
        job(plain.draw({})[0], TARGET, replace(kept, env={"MAINSPRING_STORAGE_DATA": "/srvy"}))


@pytest.mark.skipif(
    not (CRDS / "ray.io_rayjobs.yaml").is_file(), reason="MAINSPRING_CRDS names no folder with KubeRay's"
)
def test_the_crd_of_kuberay_takes_ray_jobs_and_nothing_that_it_does_not_have() -> None:
    crd = yaml.load((CRDS / "ray.io_rayjobs.yaml").read_text(), Loader=yaml.CSafeLoader)
    (version,) = (each for each in crd["spec"]["versions"] if each["name"] == "v1")
    check = Draft202012Validator(closed(version["schema"]["openAPIV3Schema"]))
    for place in (PLACE, replace(PLACE, namespace="ml", workers=0, deadline_s=60)):
        assert [error.message for error in check.iter_errors(ray_job(graph(), TARGET, place))] == []
    made: Any = ray_job(graph(), TARGET, PLACE)
    cluster = made["spec"]["rayClusterSpec"]
    container = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    for part in (made["spec"], cluster, cluster["headGroupSpec"], cluster["workerGroupSpecs"][0], container):
        part["mispelt"] = 1
        assert [error.message for error in check.iter_errors(made)] != []
        del part["mispelt"]
    params = json.loads(shlex.split(made["spec"]["entrypoint"])[-1])
    assert params == {"depth": 1, "note": "$(HOME)"}


def test_the_command_writes_what_kubectl_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).with_name("drawn.py").read_text()
    (tmp_path / "exported_flow.py").write_text(source)
    (tmp_path / "mainspring.toml").write_text(
        '[trigger.nightly]\non = "cron"\ncron = "@daily"\n'
        'pipeline = "exported_flow.py:search"\nparams = { depth = 3 }\n'
    )
    words = ["--image", "hub/x:1", "--secret", "tokens", "--env", "STAGE=a", "--env", "MAINSPRING_STORAGE_BLOBS=s3://b"]
    words += ["--secret-env", "MAINSPRING_STORAGE_DB=m/db"]

    def ask(*more: str) -> Any:
        return CliRunner().invoke(root, ["pipeline", "export", *more])

    done = ask("--to", "cronjob", "--trigger", "nightly", *words, "-o", "out.yaml")
    assert done.exit_code == 0, done.output
    made = yaml.safe_load((tmp_path / "out.yaml").read_text())
    assert problems(made, BATCH.CronJob) == []
    (container,) = pod_of(made)["containers"]
    assert container["command"][3] == "exported_flow.py:search"
    assert json.loads(container["command"][-1])["depth"] == 3
    assert json.loads(ask("exported_flow.py:search", "--to", "job", *words, "--json").stdout)["kind"] == "Job"
    for wrong in (
        ["--to", "cronjob", "exported_flow.py:search", "--cron", "61 * * * *", *words],
        ["--to", "cronjob", "exported_flow.py:search", "--cron", "@daily", "--zone", "Europe/Nowhere", *words],
        ["--to", "cronjob", "exported_flow.py:search", *words],
        ["--to", "job", "exported_flow.py:search", "--cron", "@daily", *words],
        ["--to", "job", *words],
        ["--to", "job", "exported_flow.py:search", *words, "--env", "STAGE"],
        ["--to", "job", "exported_flow.py:search"],
        ["--to", "job", "exported_flow.py:asked", *words],
        ["--to", "cronjob", "--trigger", "daily", *words],
    ):
        found = ask(*wrong).exception
        assert isinstance(found, MainspringError), wrong
    assert load_target("exported_flow.py:search", tmp_path).name == "search"
