"""Prompts, which are registered models with tags, as the client makes and finds them."""

from __future__ import annotations

import mlflow
import pytest
from mlflow import MlflowClient
from tests.mlflow.http import Http


def test_a_prompt_is_registered_and_loaded(uri: str, name: str) -> None:
    made = mlflow.genai.register_prompt(name, "Hello {{who}}, it is {{when}}.", commit_message="first", tags={"a": "1"})
    assert made.version == 1
    found = mlflow.genai.load_prompt(name, 1)
    assert (found.template, found.commit_message) == ("Hello {{who}}, it is {{when}}.", "first")
    assert found.format(who="Ann", when="noon") == "Hello Ann, it is noon."
    assert found.variables == {"who", "when"}


def test_a_prompt_registered_again_is_its_next_version(uri: str, name: str) -> None:
    numbers = [mlflow.genai.register_prompt(name, f"version {i}").version for i in range(3)]
    assert numbers == [1, 2, 3]
    assert mlflow.genai.load_prompt(f"prompts:/{name}/2").template == "version 1"


def test_a_prompt_is_found_by_its_alias(uri: str, name: str) -> None:
    mlflow.genai.register_prompt(name, "one")
    mlflow.genai.register_prompt(name, "two")
    mlflow.genai.set_prompt_alias(name, "production", 1)
    assert mlflow.genai.load_prompt(f"prompts:/{name}@production").template == "one"
    mlflow.genai.set_prompt_alias(name, "production", 2)
    assert MlflowClient().load_prompt(f"prompts:/{name}@production", cache_ttl_seconds=0).template == "two"
    mlflow.genai.delete_prompt_alias(name, "production")
    with pytest.raises(mlflow.exceptions.MlflowException):
        MlflowClient().load_prompt(f"prompts:/{name}@production", cache_ttl_seconds=0)


def test_a_prompt_of_messages_is_kept_as_messages(uri: str, name: str) -> None:
    messages = [{"role": "system", "content": "Be {{mood}}."}, {"role": "user", "content": "{{question}}"}]
    mlflow.genai.register_prompt(name, messages)
    found = mlflow.genai.load_prompt(name, 1)
    assert found.template == messages
    assert not found.is_text_prompt


def test_prompts_are_found_and_models_are_not(http: Http, uri: str, name: str) -> None:
    mlflow.genai.register_prompt(f"{name}-p", "text")
    http.ok("POST", "registered-models/create", name=f"{name}-m")
    assert [p.name for p in mlflow.genai.search_prompts(f"name LIKE '{name}%'")] == [f"{name}-p"]


def test_models_are_found_and_prompts_are_not(http: Http, uri: str, name: str) -> None:
    mlflow.genai.register_prompt(f"{name}-p", "text")
    http.ok("POST", "registered-models/create", name=f"{name}-m")
    found = http.ok("GET", "registered-models/search", filter=f"name LIKE '{name}%'")["registered_models"]
    assert [m["name"] for m in found] == [f"{name}-m"]


def test_an_unknown_prompt_is_none_when_allowed(uri: str, name: str) -> None:
    assert mlflow.genai.load_prompt(name, 1, allow_missing=True) is None


def test_tags_of_a_prompt_and_of_its_versions_are_two_things(client: MlflowClient, name: str) -> None:
    client.register_prompt(name, "text", tags={"version": "v"})
    client.set_prompt_tag(name, "whole", "w")
    client.set_prompt_version_tag(name, 1, "more", "m")
    assert client.get_prompt(name).tags["whole"] == "w"
    assert client.get_prompt_version(name, "1").tags == {"version": "v", "more": "m"}
    client.delete_prompt_version_tag(name, 1, "more")
    client.delete_prompt_tag(name, "whole")
    assert "more" not in client.get_prompt_version(name, "1").tags


def test_a_prompt_is_deleted_when_its_versions_are(client: MlflowClient, name: str) -> None:
    client.register_prompt(name, "text")
    client.delete_prompt_version(name, "1")
    client.delete_prompt(name)
    assert client.get_prompt(name) is None
