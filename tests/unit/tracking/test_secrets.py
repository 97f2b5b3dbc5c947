"""What is secret is masked, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.tracking.secrets import MASK, masked, masked_text

SECRET = "hunter2"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--password", SECRET],
        ["--db-password", SECRET],
        ["-password", SECRET],
        [f"--password={SECRET}"],
        [f"--api_key={SECRET}"],
        [f"--API-KEY={SECRET}"],
        [f"TOKEN={SECRET}"],
        [f"HF_TOKEN={SECRET}"],
        [f"db.password={SECRET}"],
        ["--aws-secret-access-key", SECRET],
        [f"https://me:{SECRET}@example.org/x"],
    ],
)
def test_a_secret_is_masked_and_it_is_said(arguments: list[str]) -> None:
    made, hidden = masked(["train.py", *arguments, "--depth", "6"])
    assert hidden
    assert SECRET not in " ".join(made)
    assert made[0] == "train.py" and made[-2:] == ("--depth", "6")


@pytest.mark.parametrize(
    "argument",
    ["--tokenizer=bert", "--compass", "--author=me", "--max-tokens-per-batch", "--passes=3", "https://example.org/a@b"],
)
def test_what_only_looks_like_it_stays(argument: str) -> None:
    assert masked([argument, "value"]) == ((argument, "value"), False)


def test_a_flag_without_a_value_does_not_eat_the_next_flag() -> None:
    assert masked(["--token", "--depth", "6"]) == (("--token", "--depth", "6"), False)


@pytest.mark.parametrize("token", ["ghp_" + "a" * 36, "hf_" + "b" * 30, "AKIA" + "C" * 16, "sk-" + "d" * 32])
def test_a_token_of_a_known_service_is_masked_wherever_it_stands(token: str) -> None:
    assert masked_text(f"--use={token}") == f"--use={MASK}"


@given(st.lists(st.text(max_size=20)))
def test_masking_twice_changes_nothing_more(arguments: list[str]) -> None:
    once, _ = masked(arguments)
    assert masked(once)[0] == once
