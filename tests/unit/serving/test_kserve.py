"""The manifest for KServe: of its types, with arguments that our server takes and probes that it answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from tests.unit.serving.doors import doors

from mainspring.core.errors import Invalid, Refused
from mainspring.registry.model import ModelVersion
from mainspring.serving.kserve import Place, left_out, manifest
from mainspring.serving.model import Arm, Deployment, Traffic
from mainspring.serving.modelserver.plan import Options
from mainspring.serving.rules.humility import Rule
from mainspring.serving.standalone import serve

SCHEMA = Path(__file__).with_name("inferenceservice.crd.yaml")
PLACE = Place("hub.example/mainspring:1", "s3://models/late", max_workers=3, max_replicas=4)


def deployment(name: str = "late", options: Options | None = None) -> Deployment:
    return Deployment(name, name, "late", Traffic.only(3), 0, 0, options or Options())


def version(**changes: object) -> ModelVersion:
    made = object.__new__(ModelVersion)
    about = {"model": "late", "number": 3, "flavour": "sklearn", "digest": "d" * 64} | changes
    for key, value in about.items():
        object.__setattr__(made, key, value)
    return made


def container(made: dict[str, Any]) -> dict[str, Any]:
    (found,) = made["spec"]["predictor"]["containers"]
    assert isinstance(found, dict)
    return found


def test_it_is_yaml_that_says_the_same() -> None:
    made = manifest(deployment(), version(), "ab" * 32, PLACE)
    assert yaml.safe_load(yaml.safe_dump(made)) == made
    assert made["metadata"] == {
        "name": "late",
        "annotations": {"mainspring/model": "late/3", "mainspring/digest": "d" * 64},
    }


def test_our_server_takes_its_arguments() -> None:
    name, *arguments = container(manifest(deployment(), version(), "ab" * 32, PLACE))["args"]
    assert name == serve.name
    arguments[0] = "."  # /mnt/models is there in a container only
    context = serve.make_context("serve", list(arguments))
    assert (context.params["host"], context.params["port"], context.params["max_workers"]) == ("0.0.0.0", 8080, 3)


def test_our_server_answers_its_probes(tmp_path: Path) -> None:
    found = container(manifest(deployment(), version(), "ab" * 32, PLACE))
    with doors(tmp_path) as open_doors:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert open_doors.ask("GET", found[probe]["httpGet"]["path"]).status == 200
            assert found[probe]["httpGet"]["port"] == found["ports"][0]["containerPort"]
        open_doors.app.served.draining = True
        assert open_doors.ask("GET", found["readinessProbe"]["httpGet"]["path"]).status == 503
        assert open_doors.ask("GET", found["livenessProbe"]["httpGet"]["path"]).status == 200, "it finishes its work"


def test_names_are_made_fit_for_kubernetes_or_refused() -> None:
    named = manifest(deployment("My_Model.v2"), version(), "", PLACE)
    assert named["metadata"]["name"] == "my-model-v2"  # type: ignore[index]
    assert "My_Model.v2" in container(named)["args"], "it answers under its own name"
    for name in ("7up", "x" * 64):
        with pytest.raises(Invalid, match="no name in Kubernetes"):
            manifest(deployment(name), version(), "", PLACE)


def test_what_cannot_be_served_there_is_refused_and_what_is_left_out_is_told() -> None:
    with pytest.raises(Refused, match="pickle"):
        manifest(deployment(), version(flavour="pickle"), "", PLACE)
    for wrong in ({"image": ""}, {"storage": "models/late"}, {"replicas": 3, "max_replicas": 2}):
        with pytest.raises(Invalid):
            Place(**{"image": "a", "storage": "s3://b", **wrong})  # type: ignore[arg-type]
    split = Traffic((Arm("champion", 3, 0.9), Arm("canary", 4, 0.1)))
    many = Deployment("late", "late", "late", split, 0, 0, Options(rules=(Rule("far", "out_of_range", "refuse"),)))
    assert len(left_out(many)) == len(left_out(deployment())) + 2


def problems(made: object) -> list[str]:
    """What the schema of KServe's own CRD says against it; a part that is not in there is one, as for `kubectl`."""
    schema = yaml.safe_load(SCHEMA.read_text())
    return [error.message for error in Draft202012Validator(closed(schema)).iter_errors(made)]


def closed(schema: Any) -> Any:
    """An object has no parts but those that are named; those of a "metadata" are Kubernetes' own."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(entry) for key, entry in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def test_the_crd_of_kserve_takes_it_and_would_not_take_it_otherwise() -> None:
    for place in (PLACE, Place("a", "pvc://b/c", namespace="n", replicas=0), Place("a", "s3://b", cpu="500m")):
        made: Any = manifest(deployment(), version(), "ab" * 32, place)
        assert problems(made) == []
    found, predictor = container(made), made["spec"]["predictor"]
    wrongs: list[tuple[dict[str, Any], str, object]] = [
        (predictor, "minReplica", 1),
        (predictor, "minReplicas", "1"),
        (found, "args", "serve"),
        (found["startupProbe"]["httpGet"], "port", None),
        (found["resources"]["limits"], "memory", "one GiB"),
        (found["securityContext"], "runAsNonRoot", "yes"),
        (found["ports"][0], "containerPort", "8080"),
    ]
    for part, name, value in wrongs:
        before = dict(part)
        part[name] = value
        assert problems(made), name
        part.clear()
        part.update(before)
    del found["name"]
    assert problems(made) == ["'name' is a required property"]


def test_every_part_of_it_is_of_the_type_that_kserve_declares() -> None:
    """KServe's own package has its resources as classes, also for what the copy of the schema leaves out."""
    ours = pytest.importorskip("kserve.models")
    theirs = pytest.importorskip("kubernetes.client")
    made = manifest(deployment(), version(), "ab" * 32, Place("a", "s3://b", namespace="n", max_replicas=2))
    typed(made, "V1beta1InferenceService", [ours, theirs])
    made["spec"]["predictor"]["minReplica"] = 1  # type: ignore[index]
    with pytest.raises(AssertionError, match="minReplica"):
        typed(made, "V1beta1InferenceService", [ours, theirs])


def typed(value: Any, kind: str, modules: list[Any]) -> object:
    """The value as an object of that type, whose constructor refuses what lacks a part."""
    if found := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        assert isinstance(value, list), (kind, value)
        return [typed(entry, found[1], modules) for entry in value]
    if found := re.fullmatch(r"[Dd]ict[\[(](\w+), (\w+)[\])]", kind):
        return {typed(key, found[1], modules): typed(entry, found[2], modules) for key, entry in value.items()}
    plain = {"str": str, "int": int, "bool": bool, "ResourceQuantity": str, "object": object}
    if kind in plain:
        assert isinstance(value, plain[kind]), (kind, value)
        return value
    cls = next(getattr(module, kind) for module in modules if hasattr(module, kind))
    names = {json_name: name for name, json_name in cls.attribute_map.items()}
    assert set(value) <= set(names), (kind, set(value) - set(names))
    return cls(**{names[key]: typed(entry, cls.openapi_types[names[key]], modules) for key, entry in value.items()})
