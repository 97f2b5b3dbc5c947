"""Models in processes of their own, with packages of their own: when, which, and what is refused."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.serving.doors import MEANS, packages

from mainspring.core.errors import Failed, Invalid, Refused
from mainspring.registry.apart import Own
from mainspring.registry.manifests import Seal
from mainspring.registry.model import ModelVersion
from mainspring.registry.packages import load_folder, write_folder
from mainspring.serving import environments
from mainspring.serving.environments import Environments
from mainspring.serving.modelserver.plan import Options, options_of
from mainspring.serving.rules.environments import conflict, lock_of, pins_of

VERSIONS = st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), st.sampled_from(["1.0", "2.3.1"]))


@settings(max_examples=25, deadline=None)
@given(VERSIONS)
def test_what_a_model_was_made_with_does_for_it(recorded: dict[str, str]) -> None:
    assert conflict(recorded, recorded, main=next(iter(recorded), "")) == ""
    assert pins_of({**recorded, "python": "3.9.1", "platform": "Linux"}) == {
        name: version for name, version in recorded.items() if name not in ("python", "platform")
    }


@settings(max_examples=25, deadline=None)
@given(VERSIONS, VERSIONS)
def test_a_lock_has_the_recorded_versions_in_one_order(recorded: dict[str, str], beside: dict[str, str]) -> None:
    lines = lock_of(recorded, beside).splitlines()
    assert lines == sorted(lines, key=lambda line: line.split("==")[0])
    assert {f"{name}=={version}" for name, version in pins_of(recorded).items()} <= set(lines)
    assert lock_of(dict(reversed(recorded.items())), beside) == lock_of(recorded, beside)


def test_another_minor_version_of_the_format_or_a_missing_package_is_a_conflict() -> None:
    here = {"scikit-learn": "1.9.1", "numpy": "2.4.6"}
    assert "1.7.2" in conflict({"scikit-learn": "1.7.2", "numpy": "2.4.6"}, here, main="scikit-learn")
    assert conflict({"scikit-learn": "1.9.0", "numpy": "2.1.0"}, here, main="scikit-learn") == ""
    assert "here is none" in conflict({"scikit-learn": "1.9.1", "scipy": "1.1"}, here, main="scikit-learn")


@pytest.mark.parametrize("name", ["-r", "--index-url=http://x", "a b", "", "../x", "x @ http://y"])
def test_what_is_no_package_never_comes_to_an_installer(name: str) -> None:
    with pytest.raises(Invalid, match="no package"):
        pins_of({name: "1.0"})
    with pytest.raises(Invalid, match="no package"):
        pins_of({"numpy": f"{name}1.0 --hash"})


def test_threads_and_cores_are_for_processes_of_their_own() -> None:
    given_ = {"process": "own", "threads": 2, "cores": [0, 1]}
    assert options_of(given_, "x") == Options(process="own", threads=2, cores=(0, 1))
    for wrong in ({"threads": 1}, {"cores": [0]}, {"process": "mine"}, {"process": "own", "cores": ["0"]}):
        with pytest.raises(Invalid):
            options_of(wrong, "x")


def test_a_model_in_its_own_process_gives_the_same_answers_on_its_cores(tmp_path: Path) -> None:
    package = packages()["plain"]
    place = write_folder(
        tmp_path / "m", package.manifest.to_bytes(), package.files, Seal("m", 1, package.digest, "", "")
    )
    core = min(os.sched_getaffinity(0))
    here, apart = (load_folder(place, public_key=None, own=own) for own in (None, Own("", 3, (core,))))
    rows = np.random.default_rng(0).normal(size=(2, 50)).tolist()
    assert np.array_equal(here.predict_checked(rows)["prediction"], apart.predict_checked(rows)["prediction"])
    assert apart.waits, "another process is waited for"
    child = next(one for one in psutil.Process().children() if "mainspring.registry.apart.child" in one.cmdline())
    assert child.cpu_affinity() == [core]
    assert child.environ()["OMP_NUM_THREADS"] == "3"
    first, second = here.reasoner(MEANS), apart.reasoner(MEANS)
    said = here.predict_checked(rows)
    assert second.scale == first.scale
    assert np.array_equal(second.explain(rows, said).values, first.explain(rows, said).values)
    with pytest.raises(Refused, match="means of its training"):
        apart.reasoner({})
    child.kill()
    child.wait(30)
    with pytest.raises(Failed, match="the process of the model"):
        second.explain(rows, said)
    assert np.array_equal(second.explain(rows, said).base, first.explain(rows, said).base), "started again"
    (child,) = (one for one in psutil.Process().children() if "mainspring.registry.apart.child" in one.cmdline())
    del apart, second
    child.wait(30)
    with pytest.raises(Failed, match="no Python at"):
        load_folder(place, public_key=None, own=Own(str(tmp_path / "gone")))


def version(**environment: str) -> ModelVersion:
    made = object.__new__(ModelVersion)
    about = {"model": "m", "number": 1, "flavour": "sklearn", "environment": environment}
    for key, value in about.items():
        object.__setattr__(made, key, value)
    return made


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installer that knows one small package of ours and no index."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "tinything-1.0-py3-none-any.whl", "w") as wheel:
        about = "tinything-1.0.dist-info"
        wheel.writestr("tinything.py", "SIZE = 1\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    for name in ("PIP", "UV"):
        monkeypatch.setenv(f"{name}_NO_INDEX", "1")
        monkeypatch.setenv(f"{name}_FIND_LINKS", str(wheels))
    monkeypatch.setattr("mainspring.registry.flavours.sklearn.PACKAGES", ("tinything",))
    monkeypatch.setattr(environments, "_BESIDE", ())
    monkeypatch.setattr(environments, "_TRY", "import tinything, mainspring.registry.apart.wire")


@pytest.mark.usefixtures("offline")
def test_an_environment_is_made_once_and_one_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    made = Environments(tmp_path / "environments")
    found = version(tinything="1.0", python="3.11.1", stranger="6.6.6")
    assert "here is none" in made.why(found)
    own = made.own(Options(process="own", threads=2), found)
    assert own is not None and own.threads == 2
    assert not Path(own.python).exists(), "asking makes nothing"
    place = made.make(found)
    assert str(place / "bin" / "python") == own.python
    assert (place / "lock.txt").read_text() == "tinything==1.0\n", "no other than those of the format"
    before = place.stat().st_mtime_ns
    assert made.make(found) == place
    assert place.stat().st_mtime_ns == before
    assert made.own(Options(), found) is None
    assert "here is none" in made.differs(Options(), found)
    assert made.differs(Options(process="own"), found) == ""
    assert "is no package" in made.differs(Options(), version(tinything="; rm"))
    with pytest.raises(Refused, match="can't be made"):
        made.make(version(tinything="2.0"))
    assert [path.name for path in (tmp_path / "environments").iterdir() if path.is_dir()] == [place.name]
