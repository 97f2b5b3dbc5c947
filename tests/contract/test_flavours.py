"""One contract for every model format: what is packaged comes back as it was, and nothing else does."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from mainspring.core.canonical import digest
from mainspring.core.errors import Corrupt, Failed, Invalid, MainspringError, Refused
from mainspring.registry.flavours import flavour, flavour_for, names
from mainspring.registry.flavours.composed import Composed, Composition, Member, Packed
from mainspring.registry.flavours.python import PythonFunction
from mainspring.registry.manifests import MANIFEST, Manifest, Seal
from mainspring.registry.packages import EXAMPLE, Package, build, load_folder, open_file, write_folder
from mainspring.registry.signing import Signer, statement

pytestmark = pytest.mark.usefixtures("warm_programs")

Floats = NDArray[np.float64]
TASKS = ("binary", "multiclass", "regression")
KEPT_ELSEWHERE = {"mlflow", "pickle"}  # folders of another tool, and what needs a grant: they have tests of their own


@dataclass(frozen=True)
class Sample:
    """A fitted model, rows it understands, and the scores it gives by its own means."""

    model: Any
    rows: pl.DataFrame
    expected: Floats
    levels: Mapping[str, list[str]] = field(default_factory=dict)


def rows() -> pl.DataFrame:
    rng = np.random.default_rng(4)
    return pl.DataFrame({name: rng.random(120).astype(np.float32).astype(np.float64) for name in ("a", "b", "c")})


def truth(task: str) -> Floats:
    first = rows()["a"].to_numpy()
    if task == "regression":
        return np.asarray(first * 3 + rows()["b"].to_numpy())
    return np.asarray(np.floor(first * (2 if task == "binary" else 3)).astype(np.int64))


def matrix() -> Floats:
    return np.ascontiguousarray(rows().to_numpy())


def second(scores: Floats, task: str) -> Floats:
    return scores[:, 1] if task == "binary" else scores


def of_estimator(classifier: Callable[[], object], regressor: Callable[[], object]) -> Callable[[str], Sample]:
    def sample(task: str) -> Sample:
        made = regressor() if task == "regression" else classifier()
        model = made.fit(matrix(), truth(task))  # type: ignore[attr-defined]
        scores = model.predict(matrix()) if task == "regression" else second(model.predict_proba(matrix()), task)
        return Sample(model, rows(), np.asarray(scores, dtype=np.float64))

    return sample


def of_sklearn(task: str) -> Sample:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    return of_estimator(LogisticRegression, LinearRegression)(task)


def of_lightgbm(task: str) -> Sample:
    from lightgbm import LGBMClassifier, LGBMRegressor

    settings: dict[str, Any] = {"n_estimators": 4, "verbose": -1, "n_jobs": 1, "min_child_samples": 5}
    return of_estimator(lambda: LGBMClassifier(**settings), lambda: LGBMRegressor(**settings))(task)


def of_xgboost(task: str) -> Sample:
    from xgboost import XGBClassifier, XGBRegressor

    settings = {"n_estimators": 4, "n_jobs": 1}
    return of_estimator(lambda: XGBClassifier(**settings), lambda: XGBRegressor(**settings))(task)


def of_catboost(task: str) -> Sample:
    from catboost import CatBoostClassifier, CatBoostRegressor

    settings = {"iterations": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    return of_estimator(lambda: CatBoostClassifier(**settings), lambda: CatBoostRegressor(**settings))(task)


def of_onnx(task: str) -> Sample:
    import onnxruntime
    from skl2onnx import to_onnx

    fitted = of_sklearn(task)
    options = {"zipmap": False} if task == "binary" else {}
    model = to_onnx(fitted.model, matrix()[:1].astype(np.float32), options=options)
    answer = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": matrix().astype(np.float32)})[-1]
    if task == "multiclass":
        answer = np.array([[row[label] for label in (0, 1, 2)] for row in answer])
    return Sample(model, rows(), second(np.asarray(answer, dtype=np.float64), task).reshape(fitted.expected.shape))


def of_torch(task: str) -> Sample:
    pytest.importorskip("safetensors")
    torch = pytest.importorskip("torch")
    from mainspring.registry.flavours.torch import Network

    torch.manual_seed(1)
    width = {"regression": 1, "binary": 1, "multiclass": 3}[task]
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.1),
        torch.nn.Linear(8, width),
    ).eval()
    with torch.inference_mode():
        said = module(torch.from_numpy(matrix()).float())
        said = {"regression": said, "binary": torch.sigmoid(said), "multiclass": torch.softmax(said, dim=1)}[task]
    classes = {"regression": (), "binary": (0, 1), "multiclass": (0, 1, 2)}[task]
    expected = said.double().numpy()
    return Sample(Network(module, task, classes), rows(), expected if task == "multiclass" else expected[:, 0])


SCORE = """
import json

def load(folder):
    return json.loads((folder / "weights.json").read_text())

def predict(rows, weights):
    values = sum(rows[name].to_numpy() * weight for name, weight in weights.items())
    return values if WIDTH == 1 else [[value / 4, value / 4, 1 - value / 2] for value in values]
"""


def of_python(task: str) -> Sample:
    weights = {"a": 0.5, "b": 0.25, "c": 0.125}
    source = SCORE.replace("WIDTH", "3" if task == "multiclass" else "1").encode()
    classes: tuple[int, ...] = {"regression": (), "binary": (0, 1), "multiclass": (0, 1, 2)}[task]
    artifacts = {"weights.json": json.dumps(weights).encode()}
    model = PythonFunction("score.py:predict", task, classes, {"score.py": source}, artifacts)
    value = np.asarray(sum(rows()[name].to_numpy() * weight for name, weight in weights.items()))
    expected = np.column_stack([value / 4, value / 4, 1 - value / 2]) if task == "multiclass" else value
    return Sample(model, rows(), expected)


def of_composed(task: str) -> Sample:
    fitted = of_sklearn(task)
    part = build(fitted.model, fitted.rows)
    packed = Packed(part.digest, part.manifest.to_bytes(), part.files[flavour("sklearn").FILE])
    classes = part.manifest.trait.classes
    model = Composed(Composition((Member("m/1"),)), {"m/1": packed}, ("a", "b", "c"), (), task, classes)
    return Sample(model, rows(), fitted.expected)


SAMPLES: dict[str, Callable[[str], Sample]] = {
    "catboost": of_catboost,
    "composed": of_composed,
    "lightgbm": of_lightgbm,
    "onnx": of_onnx,
    "python": of_python,
    "sklearn": of_sklearn,
    "torch": of_torch,
    "xgboost": of_xgboost,
}
FORMATS = sorted(set(names()) - KEPT_ELSEWHERE)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


def unpack(package: Package, signer: Signer, to: Path) -> Path:
    signature = signer.sign(statement("m", 1, package.digest))
    return write_folder(to, package.manifest.to_bytes(), package.files, Seal("m", 1, package.digest, "k", signature))


@cache
def packed(name: str, task: str = "binary") -> tuple[Sample, Package]:
    """A model and its package; nobody changes them, so that they are made once."""
    sample = SAMPLES[name](task)
    return sample, build(sample.model, sample.rows, levels=sample.levels)


def test_every_format_has_a_sample() -> None:
    assert sorted(SAMPLES) == FORMATS


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_packaged_answers_as_the_model_did(name: str, task: str, signer: Signer, tmp_path: Path) -> None:
    sample, package = packed(name, task)
    loaded = load_folder(unpack(package, signer, tmp_path / "p"), public_key=signer.public)
    answer = loaded.predict(sample.rows)
    assert (loaded.flavour, loaded.task) == (name, task)
    assert loaded.classes == {"binary": (0, 1), "multiclass": (0, 1, 2), "regression": ()}[task]
    scores = answer["prediction" if task == "regression" else "probability"]
    np.testing.assert_array_equal(scores, sample.expected)
    assert [field.name for field in loaded.signature.outputs] == list(answer)
    if task == "multiclass":
        np.testing.assert_array_equal(answer["label"], np.asarray(sample.expected).argmax(axis=1))


@pytest.mark.parametrize("name", FORMATS)
def test_signature_and_example_are_kept_and_answered_again(name: str, signer: Signer, tmp_path: Path) -> None:
    _, package = packed(name)
    loaded = load_folder(unpack(package, signer, tmp_path / "p"), public_key=signer.public)
    assert [(field.name, field.dtype) for field in loaded.signature.inputs] == [(n, "float64") for n in "abc"]
    assert loaded.example.rows == 5
    again = loaded.predict_columns(loaded.example.inputs)
    assert loaded.example.outputs == {key: values.tolist() for key, values in again.items()}
    assert loaded.digest == package.digest


@pytest.mark.parametrize("name", FORMATS)
def test_a_frame_and_plain_columns_give_the_same_answer(name: str, signer: Signer, tmp_path: Path) -> None:
    sample, package = packed(name)
    loaded = load_folder(unpack(package, signer, tmp_path / "p"), public_key=signer.public)
    few = sample.rows.head(7)
    columns = [few[column].to_list() for column in few.columns]
    for key, values in loaded.predict(few).items():
        np.testing.assert_array_equal(loaded.predict_checked(columns)[key], values)
    assert [len(values) for values in loaded.predict(few.head(0)).values()] == [0, 0]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "sklearn"])  # skops writes times and addresses
def test_the_same_model_has_the_same_digest(name: str) -> None:
    sample, package = packed(name)
    assert build(sample.model, sample.rows).digest == package.digest


@pytest.mark.parametrize("name", FORMATS)
def test_every_changed_byte_is_noticed_before_it_is_read(name: str, signer: Signer, tmp_path: Path) -> None:
    _, package = packed(name)
    folder = unpack(package, signer, tmp_path / "p")
    file = folder / flavour(name).FILE
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(bytes(data))
    with pytest.raises(Corrupt, match="changed after it was registered"):
        load_folder(folder, public_key=signer.public)


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_file_and_rubbish_are_refused(name: str) -> None:
    _, package = packed(name)
    content = package.files[flavour(name).FILE]
    for data in (content[: len(content) // 2], content[:20], b"rubbish", b""):
        with pytest.raises(MainspringError):
            kind = flavour(name)
            kind.scorer(kind.read(data), package.manifest.trait)


def test_options_that_catboost_does_not_know_are_refused_as_corrupt() -> None:
    content = packed("catboost")[1].files[flavour("catboost").FILE]
    assert b"output_options" in content
    with pytest.raises(Corrupt, match="CatBoost can't read it"):
        flavour("catboost").read(content.replace(b"output_options", b"output_optionz"))


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_of_another_format_is_refused(name: str, signer: Signer, tmp_path: Path) -> None:
    _, package = packed(name)
    other = "sklearn" if name != "sklearn" else "lightgbm"
    manifest = package.manifest
    files = {flavour(other).FILE: package.files[flavour(name).FILE], EXAMPLE: package.files[EXAMPLE]}
    listed = {key: (digest(data), len(data)) for key, data in files.items()}
    lying = Manifest(other, manifest.trait, manifest.signature, manifest.environment, listed)
    folder = unpack(Package(lying, files, package.example), signer, tmp_path / "p")
    with pytest.raises((Corrupt, Refused)):
        load_folder(folder, public_key=signer.public)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_recognised_by_its_own_format_only(name: str, tmp_path: Path) -> None:
    _, package = packed(name)
    content = package.files[flavour(name).FILE]
    assert [entry for entry in FORMATS if flavour(entry).recognises(content)] == [name]
    (tmp_path / "model.bin").write_bytes(content)
    found = flavour_for(open_file(tmp_path / "model.bin"))
    assert name == found.NAME
    assert (tmp_path / "model.bin").read_bytes() == content
    assert MANIFEST not in package.files


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("xgboost", "xgboost", "xgboost"),
        ("catboost", "catboost", "catboost"),
        ("onnx", "onnxruntime", "onnx"),
        ("torch", "torch", "torch"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = packed(name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Failed, match="not installed") as caught:
        flavour(name).read(made.files[flavour(name).FILE])
    assert f"mainspring[{extra}]" in caught.value.hint


def test_no_format_imports_the_packages_of_another() -> None:
    import subprocess

    code = (
        "import sys; from mainspring.registry.flavours import flavour, names\n"
        "for name in names():\n"
        "    assert not flavour(name).handles(object()), name\n"
        "    assert not flavour(name).recognises(b'rubbish'), name\n"
        "heavy = {'xgboost', 'catboost', 'onnx', 'onnxruntime', 'torch', 'lightgbm', 'sklearn', 'numpy', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout


def test_categories_of_catboost_travel_as_text(signer: Signer, tmp_path: Path) -> None:
    from catboost import CatBoostClassifier

    frame = pl.DataFrame({"x": rows()["a"], "plan": ["basic", "full"] * 60})
    table = frame.to_pandas()
    settings = {"iterations": 4, "verbose": 0, "allow_writing_files": False}
    model = CatBoostClassifier(cat_features=["plan"], **settings).fit(table, truth("binary"))
    loaded = load_folder(unpack(build(model, frame), signer, tmp_path / "p"), public_key=signer.public)
    np.testing.assert_array_equal(loaded.predict(frame)["probability"], model.predict_proba(table)[:, 1])
    assert loaded.predict_columns({"x": [0.5], "plan": [None]})["probability"].shape == (1,)


def test_categories_of_xgboost_travel_as_codes_and_unknown_ones_are_missing(signer: Signer, tmp_path: Path) -> None:
    import pandas
    from xgboost import XGBClassifier

    frame = pl.DataFrame({"x": rows()["a"], "plan": ["basic", "full"] * 60})
    table = frame.to_pandas()
    table["plan"] = pandas.Categorical(table["plan"], categories=["basic", "full"])
    model = XGBClassifier(n_estimators=4, enable_categorical=True).fit(table, truth("binary"))
    package = build(model, frame, levels={"plan": ["basic", "full"]})
    loaded = load_folder(unpack(package, signer, tmp_path / "p"), public_key=signer.public)
    np.testing.assert_array_equal(loaded.predict(frame)["probability"], model.predict_proba(table)[:, 1].astype(float))
    unknown = loaded.predict_columns({"x": [0.5, 0.5], "plan": ["other", None]})["probability"]
    assert unknown[0] == unknown[1]


def test_an_xgboost_model_stops_at_its_best_iteration() -> None:
    from xgboost import XGBRegressor

    model = XGBRegressor(n_estimators=40, early_stopping_rounds=2, learning_rate=1.0)
    model.fit(
        matrix()[:60], truth("regression")[:60], eval_set=[(matrix()[60:], truth("regression")[60:])], verbose=False
    )
    package = build(model, rows())
    assert package.example.outputs["prediction"] == model.predict(matrix()[:5]).astype(float).tolist()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: __import__("xgboost").XGBClassifier(), "not fitted"),
        (lambda: __import__("catboost").CatBoostClassifier(), "not fitted"),
        (
            lambda: (
                __import__("xgboost")
                .XGBClassifier(n_estimators=2, objective="binary:hinge")
                .fit(matrix(), truth("binary"))
            ),
            "no probabilities",
        ),
    ],
)
def test_what_can_t_be_served_is_refused_with_a_reason(make: Callable[[], object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        build(make(), rows())


def test_an_onnx_model_that_reads_other_files_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    model = of_onnx("regression").model
    convert_model_to_external_data(model, location="../../elsewhere/secret", size_threshold=0, convert_attribute=True)
    content = model.SerializeToString()
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../elsewhere/secret")
    model.graph.initializer.append(tensor)
    for data in (content, model.SerializeToString()):
        if data != content:
            with pytest.raises(Refused, match="another file"):
                flavour("onnx").read(data)


def test_an_onnx_operator_of_another_domain_is_refused() -> None:
    model = of_onnx("regression").model
    model.graph.node[0].domain = "evil.ops"
    with pytest.raises(Refused, match=r"evil\.ops"):
        flavour("onnx").read(model.SerializeToString())


def test_an_onnx_model_with_an_input_for_each_column_takes_text_too(signer: Signer, tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pl.DataFrame({"x": rows()["a"], "plan": ["basic", "full"] * 60})
    encoded = ColumnTransformer([("plan", OneHotEncoder(handle_unknown="ignore"), ["plan"])], remainder="passthrough")
    fitted = make_pipeline(encoded, LogisticRegression()).fit(frame.to_pandas(), truth("binary"))
    types = [("x", FloatTensorType([None, 1])), ("plan", StringTensorType([None, 1]))]
    package = build(to_onnx(fitted, initial_types=types), frame)
    loaded = load_folder(unpack(package, signer, tmp_path / "p"), public_key=signer.public)
    close = fitted.predict_proba(frame.to_pandas())[:, 1]
    np.testing.assert_allclose(np.asarray(loaded.predict(frame)["probability"], dtype=float), close, atol=1e-5)


NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.layer = torch.nn.Linear(3, width)
        self.head = torch.nn.Linear(width, 1)

    def forward(self, rows):
        return self.head(torch.relu(self.layer(rows)))
"""


def test_a_changed_class_of_a_network_is_refused_before_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("safetensors")
    pytest.importorskip("torch")
    from mainspring.registry.flavours.torch import Network

    (tmp_path / "my_net_of_tests.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("my_net_of_tests")
    package = build(Network(module.Net(4), "binary", ("no", "yes")), rows())
    content = package.files["model.safetensors"]
    assert b"my_net_of_tests:Net" in content
    (tmp_path / "my_net_of_tests.py").write_text(NET + "\nraise SystemExit('imported')\n")
    monkeypatch.delitem(sys.modules, "my_net_of_tests")
    importlib.invalidate_caches()
    with pytest.raises(Refused, match="has changed since"):
        flavour("torch").read(content)
    (tmp_path / "my_net_of_tests.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(Refused, match="no source here"):
        flavour("torch").read(content)


def test_a_bare_module_is_refused_with_what_to_write() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(Invalid, match="does not say what its numbers mean") as caught:
        build(torch.nn.Linear(3, 1), rows())
    assert "Network(module" in caught.value.hint


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 501])
def test_a_logistic_regression_is_asked_without_its_checks_and_answers_the_same_bits(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(400, 11))
    model = LogisticRegression().fit(x, x[:, 0] > 0)
    scorer = flavour("sklearn").scorer(model, flavour("sklearn").trait(model))
    asked = rng.normal(size=(rows, 11)) * 50
    assert type(scorer).__name__ == "_LogisticScorer"
    assert np.array_equal(scorer.score(asked), model.predict_proba(asked)[:, 1])
    asked[0, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        scorer.score(asked)
