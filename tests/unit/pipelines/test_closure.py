from __future__ import annotations

import textwrap

import pytest

from mainspring.pipelines.closure import Module, Place, reach

STEPS = """
    '''Steps.'''
    import math
    from project.features import clean
    import project.plots as plots
    from project import settings

    SCALE = 3
    UNUSED = 4

    def half(x):
        return x / 2

    def scaled(x):
        '''Scale it.'''
        return half(x) * SCALE

    @step(retries=2)
    def train(frame: list[float], trees: int = 10):
        # grow
        return [scaled(x) for x in clean(frame)] * trees

    @step
    def report(frame):
        return plots.draw(frame)
"""
OTHERS = {
    "project": "",
    "project.features": "from project.columns import NAMES\ndef clean(x): return x\n",
    "project.columns": "NAMES = 'a b'\n",
    "project.plots": "def draw(x): return x\n",
    "project.settings": "DEPTH = 3\n",
}


def code(name: str = "train", steps: str = STEPS, **others: str) -> dict[str, str]:
    text = textwrap.dedent(steps)
    known = OTHERS | {key.replace("__", "."): value for key, value in others.items()}
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines, 1) if line.startswith(f"def {name}("))
    while lines[start - 2].startswith("@"):
        start -= 1
    packages = {"project"}

    def source(module: str) -> Module | None:
        return Module(known[module], module in packages) if module in known else None

    return reach(Place("project.steps", "project.steps", False, start), text, source)


def test_only_what_the_function_reaches_counts() -> None:
    assert set(code("train")) == {
        "function",
        "project.steps.half",
        "project.steps.scaled",
        "project.steps.SCALE",
        "project.steps.clean",
        "project",
        "project.features",
        "project.columns",
    }
    assert set(code("report")) == {"function", "project.steps.plots", "project", "project.plots"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# grow", "# grow more"),
        ("'''Scale it.'''", "'''Scale it well.'''"),
        ("'''Steps.'''", "'''All steps.'''\n\n\n"),
        ("@step(retries=2)", "@step(retries=5, timeout_s=3)"),
        ("half(x) * SCALE", "(half(x)\n            * SCALE)"),
        ("UNUSED = 4", "UNUSED = 5"),
        ("return plots.draw(frame)", "return None"),
        ("    def half", "    import os\n\n    def half"),
    ],
)
def test_what_does_not_matter_changes_nothing(before: str, after: str) -> None:
    assert before in STEPS
    assert code(steps=STEPS.replace(before, after)) == code()


@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        ("trees: int = 10", "trees: int = 11", "function"),
        ("return x / 2", "return x / 3", "project.steps.half"),
        ("SCALE = 3", "SCALE = 4", "project.steps.SCALE"),
        ("from project.features import clean", "from project.plots import draw as clean", "project.steps.clean"),
    ],
)
def test_a_change_in_the_module_is_found_by_its_name(before: str, after: str, part: str) -> None:
    old, new = code(), code(steps=STEPS.replace(before, after))
    assert part in {name for name in {**old, **new} if old.get(name) != new.get(name)}


@pytest.mark.parametrize("module", ["project.features", "project.columns", "project"])
def test_a_change_in_a_reached_module_is_found_through_any_number_of_imports(module: str) -> None:
    new = code(**{module.replace(".", "__"): OTHERS[module] + "X = 1\n"})
    assert {name for name in new if new[name] != code().get(name)} == {module}


def test_a_statement_that_runs_at_import_counts_for_every_step() -> None:
    changed = code(steps=STEPS.replace("SCALE = 3", "SCALE = 3\n    settings.DEPTH = 5"))
    assert {"project.settings", "project.steps.settings"} < set(changed)


def test_imports_inside_of_functions_count() -> None:
    steps = STEPS.replace("# grow", "from . import settings as s")
    assert "project.settings" in code(steps=steps)


def test_what_only_the_command_line_or_a_type_checker_sees_does_not_count() -> None:
    more = "    if TYPE_CHECKING:\n        import project.settings\n    if __name__ == '__main__':\n        print(1)\n"
    assert code(steps=STEPS + more) == code()


def test_a_name_defined_twice_counts_twice() -> None:
    twice = STEPS.replace("SCALE = 3", "SCALE = 2\n    SCALE = 3")
    assert code(steps=twice)["project.steps.SCALE"] != code()["project.steps.SCALE"]


def test_recursion_and_circular_imports_end() -> None:
    again = {"project__columns": "from project.features import clean\nfrom project.steps import half\n"}
    steps = STEPS.replace("return x / 2", "return half(x - 1) + scaled(x)")
    assert "project.columns" in code(steps=steps, **again)
