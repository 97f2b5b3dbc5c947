"""What the docs show and no test runs: few blocks, each named here, whose commands are ours and are written rightly."""

from __future__ import annotations

import importlib
import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from tests.docs.pages import LANGUAGES, NEEDS, NOT_RUN, ONCE, PAGES, ROOT, STAYS, Block, all_blocks, name_of

from mainspring.cli.root import root
from mainspring.core.errors import Failed
from mainspring.serving.standalone import serve

NOT_RUN_HERE = {
    ("README.md", "tests/e2e/test_demo.py runs the first, and this test is part of the second"),
    ("docs/asking.md", "it wants a bucket and a cluster of Kubernetes"),
    ("docs/export.md", "kfp wants an environment of its own"),
    ("docs/loop.md", "it takes minutes; tests/e2e/test_demo.py runs it"),
    ("docs/mlflow.md", "it takes minutes, and is part of `./ms test`"),
    ("docs/moving.md", "it wants a Postgres and a bucket that an MLflow server keeps things in"),
    ("docs/processes.md", "it wants Ray"),
    ("docs/ray.md", "it wants a cluster of Ray"),
    ("docs/quickstart.md", "the tests run in an environment where it is installed already"),
    ("docs/registry.md", "it would send to an address of the internet"),
    ("docs/tracking.md", "it installs every package of the run"),
}
"""All that is not run, and why. A block that can be run belongs into no such list."""
OTHERS = {"aws", "cd", "export", "kubectl", "pip", "python", "ray", "serve"}
"""Programs of others in these blocks; what they are told is not ours to check."""
DEVELOPER = {"bench", "check", "docs", "test"}
CRD = ROOT / "tests" / "unit" / "serving" / "inferenceservice.crd.yaml"


def parse(words: list[str]) -> None:
    """Let the parser of a command take its words, and do nothing.

    Raises: click.UsageError: It does not take them.
    """
    command: click.Command = root
    context = click.Context(root, info_name="mainspring")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    command.parse_args(context, list(words))


def lines_of(text: str) -> list[list[str]]:
    lines = (shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


def test_what_is_not_run_is_this_and_no_more() -> None:
    assert {(name_of(block.page), block.why_not) for block in all_blocks() if block.why_not} == NOT_RUN_HERE
    assert len([block for block in all_blocks() if block.why_not]) == len(NOT_RUN_HERE)


def test_every_block_says_what_it_is() -> None:
    for block in all_blocks():
        assert block.language in LANGUAGES, f"{name_of(block.page)}: {block.text}"
        assert block.mark in ("", ONCE, STAYS) or block.mark.startswith((NEEDS, NOT_RUN)), block.mark
        assert block.title or block.language != "toml", f"{name_of(block.page)}: which file is it?\n{block.text}"


def test_no_command_hides_where_no_test_looks() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("```") == 2 * len([block for block in all_blocks() if block.page == page]), page
        assert not re.search(
            r"^ {4}(mainspring|python|import|curl|\./ms) ", re.sub(r"(?s)```.*?```", "", text), re.M
        ), page


@pytest.mark.parametrize("block", [block for block in all_blocks() if block.why_not], ids=lambda block: block.why_not)
def test_what_is_not_run_is_written_rightly(block: Block) -> None:
    for program, *words in lines_of(block.text):
        if program in ("mainspring", "./ms") and words[0] not in DEVELOPER:
            parse(words)
        else:
            assert program in OTHERS or (program == "./ms" and words[0] in DEVELOPER), program
        for path in words if program == "python" else ():
            assert not path.startswith("tests/") or (ROOT / path).exists(), path


def test_python_that_may_not_run_here_compiles() -> None:
    for block in all_blocks():
        if block.mark.startswith(NEEDS):
            compile(block.text, name_of(block.page), "exec")


@pytest.mark.parametrize("words", [["deploy", "flights", "--versoin", "3"], ["shadow", "begin", "flights", "2"]])
def test_a_command_that_is_not_there_would_be_found(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


def test_every_command_that_the_text_names_is_there() -> None:
    """`mainspring NAME [NAME]` between backticks: the words that name commands do."""
    for page in [page for page in PAGES if page.name != "reference.md"]:
        prose = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
        for said in re.findall(r"`mainspring ([a-z][^`]*)`", prose):
            command: click.Command = root
            for word in said.split():
                if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z][a-z-]*", word):
                    break
                found = command.get_command(click.Context(command), word)
                assert found is not None, f"{name_of(page)}: mainspring {said}"
                command = found
            taken = {name for option in command.params for name in option.opts}
            assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", said)) <= taken | {"--help"}, f"{name_of(page)}: {said}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            file, _, part = target.partition("#")
            if "://" in target:
                continue
            aimed = (page.parent / file).resolve() if file else page
            assert aimed.exists(), f"{name_of(page)}: {target}"
            heads = re.findall(r"^#+ (.+)$", aimed.read_text(encoding="utf-8"), re.M) if part else []
            assert not part or part in [anchor(head) for head in heads], f"{name_of(page)}: {target}"


def anchor(head: str) -> str:
    return re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")


def test_every_page_is_in_the_menu_and_leads_on_from_the_first() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    first = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert f" {page.relative_to(ROOT / 'docs').as_posix()}" in menu
        assert page.name == "index.md" or page.parent.name == "decisions" or f"]({page.name})" in first, page


def test_the_container_of_the_runtime_is_one_and_starts_our_server() -> None:
    (block,) = [block for block in all_blocks() if block.language == "yaml"]
    (container,) = yaml.safe_load(block.text)["spec"]["containers"]
    schema = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    predictor = schema["properties"]["spec"]["properties"]["predictor"]["properties"]
    Draft202012Validator(predictor["containers"]["items"]).validate(container)
    command, folder, *words = container["args"]
    assert (command, folder) == (serve.name, "/mnt/models")
    serve.parse_args(click.Context(serve), [".", *words])


def test_the_pictures_of_the_architecture_are_of_this_house(tmp_path: Path) -> None:
    house, folder = (block.text for block in all_blocks() if name_of(block.page) == "docs/architecture.md")
    drawn = set(re.findall(r"\b(?:core|storage|engines|access|data|tracking|pipelines|registry|governance|gates|serving"
                           r"|monitoring|loop|ui|server|sdk|cli)\b", house))  # fmt: skip
    assert len(drawn) == 17
    for name in drawn:
        importlib.import_module(f"mainspring.{name}")
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "mainspring").rglob("*.py"))
    for name in re.findall(r"^  ([a-z.]+)/?(?:runs/)?  ", folder, re.M):
        assert f'"{name}"' in sources or f'"{name}/' in sources, name


def test_the_error_of_a_full_disk_is_the_one_that_is_shown() -> None:
    (block,) = [
        block for block in all_blocks() if name_of(block.page) == "docs/storage.md" and block.language == "text"
    ]
    what, where, hint = block.text.splitlines()
    made = str(Failed(what, where=where.removeprefix("where: "), hint=hint.removeprefix("try: ")))
    assert made.splitlines() == [what, where, hint]
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "mainspring").rglob("*.py"))
    assert what in sources and hint.removeprefix("try: ") in sources


def test_settings_that_the_text_names_are_there() -> None:
    """`[section] key` between backticks."""
    from mainspring.core.settings import ROOM_TABLES, SECTIONS

    known = {section: {field.name for field in fields(kind)} for section, kind in SECTIONS.items()}
    for page in PAGES:
        for section, key in re.findall(r"`\[(\w+)\] (\w+)(?: = [^`]+)?`", page.read_text(encoding="utf-8")):
            assert section in ROOM_TABLES or key in known[section], f"{name_of(page)}: {section}.{key}"
