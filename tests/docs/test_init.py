"""`mainspring init` on the tables people have: it works, or says in three lines why not, before it writes a file."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mainspring.cli.root import root
from mainspring.core.errors import Invalid

pytestmark = pytest.mark.usefixtures("warm_programs")

Row = Sequence[object]


def init(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "mainspring", "init", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def write(path: Path, head: Row, row: Callable[[random.Random], Row], rows: int = 400) -> None:
    source = random.Random(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *(row(source) for _ in range(rows))])


def house(source: random.Random) -> Row:
    size = source.uniform(30, 200)
    return [round(size, 1), source.choice(["Bern", "Basel", ""]), round(size * 3000 + source.gauss(0, 5000), 2)]


def odd(source: random.Random) -> Row:
    age = source.randint(18, 80)
    answer = "yes" if age + source.gauss(0, 8) > 50 else "no"
    known = source.random()
    return [age if known > 0.1 else "", source.choice("uv"), source.randint(0, 9), answer if known < 0.97 else ""]


def test_a_number_is_a_regression(tmp_path: Path) -> None:
    write(tmp_path / "houses.csv", ["size", "city", "price"], house)
    done = init(tmp_path, "--data", "houses.csv", "--target", "price")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gate   promote: pass" in done.stdout


def flower(source: random.Random) -> Row:
    kind = source.choice(["setosa", "versicolor", "virginica"])
    size = {"setosa": 1.5, "versicolor": 4.3, "virginica": 5.5}[kind]
    return [round(source.gauss(size, 0.5), 2), round(source.gauss(size / 3, 0.3), 2), kind]


def test_many_classes_are_learned_gated_and_registered(tmp_path: Path) -> None:
    write(tmp_path / "flowers.csv", ["length", "width", "kind"], flower)
    done = init(tmp_path, "--data", "flowers.csv", "--target", "kind")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "multiclass task on 2 columns" in done.stdout
    assert "gate   promote: pass" in done.stdout
    assert 'metric = "log_loss", ceiling = 1.' in (tmp_path / "mainspring.toml").read_text()


def test_odd_names_text_labels_and_missing_values(tmp_path: Path) -> None:
    write(tmp_path / "My Data (2).csv", ["Age (years)", 'größe, "cm"', "[x]:{y}", "Left us?"], odd)
    done = init(tmp_path, "--data", "My Data (2).csv", "--target", "Left us?")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in quarantine" in done.stdout
    assert "gate   promote: pass" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--data", "hauses.csv", "--target", "price"], 3, "no file hauses.csv"),
        (["--data", "houses.csv", "--target", "prize"], 2, 'did you mean "price"?'),
        (["--data", "rare.csv", "--target", "city"], 2, "3 classes, and only"),
        (["--data", "few.csv", "--target", "price"], 2, "too few"),
    ],
)
def test_what_cannot_work_is_refused_before_a_file_is_written(
    tmp_path: Path, args: list[str], code: int, says: str
) -> None:
    for name, rows in (("houses.csv", 400), ("few.csv", 20), ("rare.csv", 45)):
        write(tmp_path / name, ["size", "city", "price"], lambda s: [*house(s)[:1], s.choice("abc"), house(s)[2]], rows)
    done = init(tmp_path, *args)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.csv", "houses.csv", "rare.csv"]


def test_two_classes_of_which_one_is_rare_are_refused_before_they_are_trained_on(tmp_path: Path) -> None:
    rows = iter(range(400))
    write(tmp_path / "lost.csv", ["size", "lost"], lambda s: [s.uniform(30, 200), "yes" if next(rows) < 3 else "no"])
    args = ["init", "--data", str(tmp_path / "lost.csv"), "--target", "lost", "--dir", str(tmp_path / "new")]
    with pytest.raises(Invalid, match="lost has 2 classes, and only 3 rows of 'yes'"):
        root.main(args, standalone_mode=False)
    assert not (tmp_path / "new").exists()


def test_a_project_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "houses.csv", ["size", "city", "price"], house)
    (tmp_path / "pipeline.py").write_text("mine")
    done = init(tmp_path, "--data", "houses.csv", "--target", "price")
    assert done.returncode == 1
    assert "pipeline.py is there already" in done.stderr
    assert (tmp_path / "pipeline.py").read_text() == "mine"
