"""The scanner of pickles: what models are made of passes, everything else is refused, nothing is ever executed."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import lightgbm
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from tests.unit.registry.bombs import BOMBS, PLAIN, SAFE, call, joblib_array, zipped

from mainspring.core.errors import Refused
from mainspring.registry.pickles import Limits, Report, require_safe, scan, scan_file, scan_files, scan_folder
from mainspring.registry.pickles.allowed import Use, use_of
from mainspring.registry.pickles.look import Claim, look

MODELS: list[object] = [
    LogisticRegression(),
    SGDClassifier(),
    RandomForestClassifier(3),
    DecisionTreeClassifier(),
    HistGradientBoostingClassifier(max_iter=3),
    KNeighborsClassifier(),
    SVC(),
    MLPClassifier((4,), max_iter=300, tol=0.5, n_iter_no_change=1),
    make_pipeline(StandardScaler(), LogisticRegression()),
    make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
    lightgbm.LGBMClassifier(n_estimators=2, verbose=-1),
]
ARRAYS = [
    np.arange(10.0),
    np.array([1, "a", None], dtype=object),
    np.array(["text", "more"]),
    np.array(["2026-11-21"], dtype="M8[ns]"),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
]

ROOT = Path(__file__).parents[3]


def inspect(data: bytes, claim: Claim = Claim.PICKLE) -> Report:
    return look([("model", claim, data)])


def fitted(model: object) -> object:
    rng = np.random.default_rng(3)
    rows = rng.random((60, 3)).round(1)
    model.fit(rows, rows[:, 0] > 0.5)  # type: ignore[attr-defined]
    return model


def joblibbed(value: object, compress: object = 0) -> bytes:
    made = io.BytesIO()
    joblib.dump(value, made, compress=compress)
    return made.getvalue()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_pickles_of_common_models_pass_in_every_protocol(model: object) -> None:
    for protocol in range(6):
        report = inspect(pickle.dumps(fitted(model), protocol=protocol))
        assert report.verdict == "safe", report.said()
        assert report.pickles == 1


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_joblib_files_of_common_models_pass_plain_and_compressed(model: object) -> None:
    for compress in (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)):
        report = inspect(joblibbed(fitted(model), compress))
        assert report.verdict == "safe", report.said()


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_arrays_pass_as_pickle_joblib_npy_and_npz(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, array)
    np.savez_compressed(npz, array=array)
    for data in (pickle.dumps(array), joblibbed([array, array]), npy.getvalue(), npz.getvalue()):
        assert inspect(data).verdict == "safe", inspect(data).said()


def test_state_and_modules_of_pytorch_pass() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    for value in (module, module.state_dict()):
        made = io.BytesIO()
        torch.save(value, made)
        report = inspect(made.getvalue())
        assert report.verdict == "safe", report.said()
        assert "torch._utils._rebuild_tensor_v2" in report.names


@pytest.mark.parametrize("name", BOMBS)
def test_what_could_run_something_or_is_not_understood_is_refused(name: str) -> None:
    report = inspect(BOMBS[name])
    assert report.verdict == "unsafe"
    assert report.findings[0].reason
    assert 0 <= report.findings[0].offset <= max(len(BOMBS[name]), 4096)


def test_a_finding_says_where_and_what() -> None:
    report = inspect(b"\x80\x04N0" + PLAIN)
    assert report.said() == "model at byte 4: names posix.system, which is not on the allow-list"
    with pytest.raises(Refused, match=r"posix\.system") as caught:
        require_safe(report, "models/churn/3")
    assert len(str(caught.value).splitlines()) == 3


def test_every_name_is_listed_and_findings_are_not_repeated_without_end() -> None:
    report = inspect(b"(" + b"cos\nsystem\n" * 5000 + b"t.")
    assert report.names == ("os.system",)
    assert len(report.findings) == 50


def test_numbers_of_an_array_that_joblib_skips_are_looked_at_as_another_unpickler_would() -> None:
    assert inspect(joblib_array(b"\x01" * 40)).verdict == "safe"
    assert "posix.system" in inspect(joblib_array()).said()


def test_a_type_that_hides_objects_behind_a_plain_name_is_refused() -> None:
    plain = joblibbed(np.arange(3.0))
    state = plain.index(b"K\x00t", plain.index(b"NNN"))
    assert inspect(plain[:state] + b"K\x3f" + plain[state + 2 :]).verdict == "unsafe"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(opcodes=100), "opcodes"),
        (Limits(bytes=100), "more than 100 bytes"),
        (Limits(depth=0), "containers inside each other"),
        (Limits(parts=1), "more than 1 parts"),
    ],
)
def test_what_passes_a_limit_is_unsafe(limits: Limits, words: str) -> None:
    data = zipped({"a.pkl": pickle.dumps(list(range(1000)), protocol=0), "b.pkl": SAFE})
    report = look([("model", Claim.PICKLE, data)], limits)
    assert words in report.findings[-1].reason


def test_a_bomb_of_zeros_stops_at_the_limit() -> None:
    import zlib

    report = look([("model", Claim.PICKLE, zlib.compress(b"\0" * 50_000_000))], Limits(bytes=1_000_000))
    assert report.verdict == "unsafe"


def test_files_that_are_no_pickles_are_let_through_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "conda.yaml").write_text("channels:\n- conda-forge\ndependencies:\n- python=3.12\n")
    (tmp_path / "MLmodel").write_text("artifact_path: model\nflavors:\n  sklearn: {}\n")
    (tmp_path / "requirements.txt").write_text("cloudpickle==3.1.2\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights.bin").write_bytes(np.arange(1000.0).tobytes())
    (tmp_path / "data" / "model.pkl").write_bytes(pickle.dumps(fitted(LogisticRegression())))
    report = scan_folder(tmp_path)
    assert report.verdict == "safe", report.said()
    assert report.pickles == 1


@pytest.mark.parametrize("name", ["loader.py", "native.so", "weights.bin", "readme.md"])
def test_code_and_pickles_under_other_names_are_found_in_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x = 1\n" if name.endswith((".py", ".so")) else call("os", "system", "true"))
    assert scan_folder(tmp_path).findings[0].part == name


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").symlink_to("/etc/passwd")
    assert scan_folder(tmp_path).findings[0].reason == "not a plain file"


def test_the_scan_runs_in_a_process_of_its_own_and_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    path.write_bytes(joblibbed(fitted(RandomForestClassifier(5)), 3))
    assert scan_file(path) == look([("model.joblib", Claim.PICKLE, path.read_bytes())])
    assert scan(PLAIN, name="m").findings == look([("m", Claim.PICKLE, PLAIN)]).findings
    assert scan_files([("a.txt", b"text"), ("b.pkl", PLAIN)]).findings[0].part == "b.pkl"


def test_a_scan_that_takes_too_long_or_too_much_memory_is_unsafe() -> None:
    slow = b"\x80\x04" + b"N0" * 3_000_000 + b"N."
    assert "longer than" in scan(slow, name="m", limits=Limits(seconds=0.3)).said()
    little = Limits(memory=64 * 1024**2, opcodes=10**9)
    assert "ended with code" not in scan(PLAIN, name="m", limits=little).said()
    assert "ended with code" in scan(b"\x80\x04" + b"(" * 12_000_000, name="m", limits=little).said()


def test_nothing_on_the_list_runs_code_by_name() -> None:
    for module, name in (("os", "system"), ("builtins", "eval"), ("sklearn.utils", "os"), ("numpy", "load")):
        assert use_of(module, name) is None
    assert (
        use_of("sklearn.tree._tree", "Tree") == Use.NEW | Use.CALL or use_of("sklearn.tree._tree", "Tree") == Use.CALL
    )


WATCHING = """
import sys
from tests.unit.registry.bombs import BOMBS, SAFE, zipped
from mainspring.registry.pickles.allowed import use_of
from mainspring.registry.pickles.look import Claim, look

WATCHED = ("os.system", "os.exec", "subprocess.Popen", "pickle.find_class", "socket.connect", "os.posix_spawn")
seen = []

def watch(event, args):
    ours = event == "import" and not str(args[0]).startswith("encodings.")  # a codec is loaded when it is first used
    if event.startswith(WATCHED) or ours:
        seen.append(f"{event} {args[0]}")

use_of("os", "system")
look([("model", Claim.PICKLE, zipped({"a": SAFE}))])
sys.addaudithook(watch)
for data in BOMBS.values():
    for claim in Claim:
        look([("model", claim, data)])
found = list(seen)
import colorsys
print(found, seen)
"""


def test_no_bomb_runs_while_it_is_looked_at() -> None:
    """In a process of its own: who watches a process watches it to its end, and all that it does takes longer."""
    done = subprocess.run([sys.executable, "-c", WATCHING], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "[] ['import colorsys']\n", done.stderr  # that somebody looks is seen at the end


@example(PLAIN)
@given(st.binary(max_size=400))
def test_any_bytes_end_in_a_verdict(data: bytes) -> None:
    for claim in Claim:
        assert inspect(data, claim).verdict in ("safe", "unsafe")


@given(st.sampled_from(sorted(BOMBS)), st.data())
def test_damaged_bombs_end_in_a_verdict(name: str, data: st.DataObject) -> None:
    raw = bytearray(BOMBS[name])
    for _ in range(data.draw(st.integers(0, 4))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert inspect(bytes(raw)).verdict in ("safe", "unsafe")


class Watcher(pickle.Unpickler):
    """Says what an unpickler would import, and imports nothing."""

    def find_class(self, module: str, name: str) -> object:
        found = use_of(module, name)
        assert found is not None, f"{module}.{name}"
        raise pickle.UnpicklingError("far enough")


@given(st.sampled_from(sorted(BOMBS)), st.data())
def test_what_is_called_safe_names_nothing_else_for_a_real_unpickler(name: str, data: st.DataObject) -> None:
    raw = bytearray(BOMBS[name])
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from(list(b".0(cRtN\x85\x93\x94hq}")))
    if inspect(bytes(raw)).verdict == "safe":
        try:
            Watcher(io.BytesIO(bytes(raw))).load()
        except AssertionError:
            raise
        except Exception:  # noqa: BLE001 - whatever else goes wrong in a broken pickle is no import
            return
