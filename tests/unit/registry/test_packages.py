"""Packages in memory and on disk: what is answered, what is refused, what is noticed."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.svm import LinearSVC

from mainspring.core.errors import Conflict, Corrupt, Invalid, NotFound, Refused
from mainspring.registry.encoding import Encoder
from mainspring.registry.manifests import MANIFEST, Manifest, Seal
from mainspring.registry.model import Field
from mainspring.registry.packages import Package, Predictor, build, load_folder, open_file, write_folder
from mainspring.registry.signing import Signer, is_signed, statement

LEVELS = {"carrier": ["UA", "AA", "DL"]}
FIELDS = (Field("delay", "float64"), Field("hour", "int16"), Field("carrier", "string", ("UA", "AA", "DL")))


def rows(count: int = 300, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    delay = [None if value < 0.1 else float(value) for value in rng.random(count)]
    hour = rng.integers(0, 24, count)
    columns = {"delay": delay, "hour": hour, "carrier": rng.choice(["UA", "AA", "DL"], count).tolist()}
    return pl.DataFrame(columns, schema={"delay": pl.Float64, "hour": pl.Int16, "carrier": pl.String})


def truth(frame: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return ((frame["carrier"] == "AA") | (frame["hour"] > 18)).cast(pl.Int64).to_numpy()


def booster(frame: pl.DataFrame) -> lightgbm.Booster:
    data = lightgbm.Dataset(
        Encoder(FIELDS).matrix(frame), truth(frame), feature_name=["delay", "hour", "carrier"], categorical_feature=[2]
    )
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_leaves": 7, "num_threads": 1}, data, 8)


@pytest.fixture(scope="module")
def package() -> Package:
    return build(booster(rows()), rows(), levels=LEVELS)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def folder(package: Package, signer: Signer, tmp_path: Path) -> Path:
    return unpack(package, signer, tmp_path / "package")


def unpack(package: Package, signer: Signer, to: Path) -> Path:
    signature = signer.sign(statement("flights", 3, package.digest))
    seal = Seal("flights", 3, package.digest, "test", signature)
    return write_folder(to, package.manifest.to_bytes(), package.files, seal)


def change(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_loaded_package_answers_as_the_model_that_was_packed(folder: Path, signer: Signer) -> None:
    frame = rows(50, seed=9)
    answer = load_folder(folder, public_key=signer.public).predict(frame)
    expected = booster(rows()).predict(Encoder(FIELDS).matrix(frame))
    np.testing.assert_array_equal(answer["probability"], expected)
    np.testing.assert_array_equal(answer["label"], (np.asarray(expected) > 0.5).astype(int))


def test_one_row_is_answered_as_it_is_among_many(folder: Path, signer: Signer) -> None:
    frame = rows(40, seed=5).with_columns(carrier=pl.when(pl.col("hour") > 12).then("carrier").otherwise(pl.lit("XX")))
    predictor = load_folder(folder, public_key=signer.public)
    together = predictor.predict(frame)["probability"]
    alone = [predictor.predict(frame[index : index + 1])["probability"][0] for index in range(frame.height)]
    np.testing.assert_array_equal(together, alone)


def test_the_example_keeps_what_the_model_answered(folder: Path, signer: Signer) -> None:
    predictor = load_folder(folder, public_key=signer.public)
    again = predictor.predict_columns(predictor.example.inputs)
    assert {name: values.tolist() for name, values in again.items()} == predictor.example.outputs


def test_no_rows_are_no_answers(folder: Path, signer: Signer) -> None:
    answer = load_folder(folder, public_key=signer.public).predict(rows(0))
    assert {name: len(values) for name, values in answer.items()} == {"probability": 0, "label": 0}


def test_levels_that_pandas_gave_lightgbm_are_found_in_the_model() -> None:
    import pandas

    frame = rows()
    table = pandas.DataFrame(frame.to_dict(as_series=False))
    table["carrier"] = pandas.Categorical(table["carrier"])
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(table, truth(frame))
    package = build(model, frame.head(3))
    assert package.manifest.signature is not None
    assert package.manifest.signature.inputs[2].levels == ("AA", "DL", "UA")
    assert package.manifest.trait.classes == (0, 1)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_task_gives_its_outputs(task: str) -> None:
    frame = rows()
    matrix = np.nan_to_num(Encoder(FIELDS).matrix(frame))
    models = {
        "binary": HistGradientBoostingClassifier(max_iter=3, categorical_features=[2]).fit(matrix, truth(frame)),
        "multiclass": LogisticRegression(max_iter=2000).fit(matrix, matrix[:, 2].astype(int)),
        "regression": RandomForestRegressor(3).fit(matrix, matrix[:, 1]),
    }
    package = build(models[task], frame.drop_nulls().head(4), levels=LEVELS)
    shapes = {name: np.asarray(values).shape for name, values in package.example.outputs.items()}
    expected = {
        "binary": {"probability": (4,), "label": (4,)},
        "multiclass": {"probability": (4, 3), "label": (4,)},
        "regression": {"prediction": (4,)},
    }
    assert package.manifest.trait.task == task
    assert shapes == expected[task]


def test_a_pipeline_that_selects_by_name_gets_names_and_text() -> None:
    frame = rows()
    pipeline = make_pipeline(
        ColumnTransformer(
            [("o", OneHotEncoder(handle_unknown="ignore"), ["carrier"]), ("n", SimpleImputer(), ["delay", "hour"])]
        ),
        LogisticRegression(max_iter=1000),
    ).fit(frame, np.where(truth(frame), "late", "ok"))
    package = build(pipeline, frame.select("hour", "carrier", "delay"))
    assert package.manifest.signature is not None
    assert package.manifest.signature.names == ("delay", "hour", "carrier")
    assert set(package.example.outputs["label"]) <= {"late", "ok"}


def test_text_without_levels_is_refused_with_the_missing_argument() -> None:
    with pytest.raises(Invalid, match=r'has no levels[\s\S]*encoding=\{"carrier"'):
        build(booster(rows()), rows())


def test_a_missing_column_is_named_with_the_near_one(package: Package, folder: Path, signer: Signer) -> None:
    with pytest.raises(Invalid, match='"carier"'):
        load_folder(folder, public_key=signer.public).predict(rows(2).rename({"carrier": "carier"}))


def test_text_where_a_number_belongs_is_refused(folder: Path, signer: Signer) -> None:
    predictor = load_folder(folder, public_key=signer.public)
    with pytest.raises(Invalid, match="expected int16, found String"):
        predictor.predict(rows(2).with_columns(hour=pl.lit("5")))
    with pytest.raises(Invalid, match="expected int16 values"):
        predictor.predict_columns({"delay": [1.0], "hour": ["5"], "carrier": ["UA"]})


@settings(max_examples=30)
@given(st.lists(st.one_of(st.none(), st.sampled_from(["UA", "AA", "DL", "XX", ""])), min_size=1, max_size=8))
def test_text_becomes_the_position_of_its_level_and_the_rest_minus_one(values: list[str | None]) -> None:
    encoder = Encoder([FIELDS[2]])
    codes = encoder.matrix(pl.DataFrame({"carrier": pl.Series(values, dtype=pl.String)}))[:, 0].tolist()
    known = {"UA": 0.0, "AA": 1.0, "DL": 2.0}
    assert codes == [known.get(value or "-", -1.0) for value in values]


def test_a_missing_number_becomes_nan() -> None:
    for frame in (pl.DataFrame({"a": [None]}), pl.DataFrame({"a": [None, 1, 2]})):
        assert np.isnan(Encoder([Field("a", "float64")]).matrix(frame)[0, 0])


def test_the_manifest_comes_back_from_its_bytes(package: Package) -> None:
    data = package.manifest.to_bytes()
    assert Manifest.from_bytes(data).to_bytes() == data


@pytest.mark.parametrize("name", ["model.txt", "example.json", "manifest.json"])
@pytest.mark.parametrize("how", ["first", "last", "longer"])
def test_one_changed_byte_anywhere_is_noticed(folder: Path, signer: Signer, name: str, how: str) -> None:
    data = (folder / name).read_bytes()
    changed = {"first": b"#" + data[1:], "last": data[:-1] + b"#", "longer": data + b" "}[how]
    change(folder / name, changed)
    with pytest.raises(Corrupt):
        load_folder(folder, public_key=signer.public)


def test_a_file_that_was_added_or_taken_away_is_noticed(folder: Path, signer: Signer) -> None:
    (folder / "extra.txt").write_text("x")
    with pytest.raises(Corrupt, match=r"extra\.txt"):
        load_folder(folder, public_key=signer.public)
    (folder / "extra.txt").unlink()
    (folder / "example.json").unlink()
    with pytest.raises(Corrupt, match=r"example\.json"):
        load_folder(folder, public_key=signer.public)


def test_a_link_in_a_package_is_not_followed(folder: Path, signer: Signer, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    (folder / "model.txt").rename(moved)
    (folder / "model.txt").symlink_to(moved)
    with pytest.raises(Corrupt, match="plain file"):
        load_folder(folder, public_key=signer.public)


def test_a_package_signed_by_another_key_is_noticed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="signature"):
        load_folder(folder, public_key=Signer(tmp_path / "other").public)


def test_a_package_under_another_number_is_noticed(folder: Path, signer: Signer) -> None:
    seal = json.loads((folder / "signature.json").read_text())
    change(folder / "signature.json", json.dumps({**seal, "version": 4}).encode())
    with pytest.raises(Corrupt, match="signature"):
        load_folder(folder, public_key=signer.public)


def test_another_package_than_the_expected_one_is_noticed(folder: Path, signer: Signer) -> None:
    with pytest.raises(Corrupt, match="digest"):
        load_folder(folder, public_key=signer.public, expected="0" * 64)


def test_a_whole_package_rewritten_by_someone_else_is_noticed(folder: Path, signer: Signer) -> None:
    other = build(RandomForestRegressor(2).fit(np.zeros((5, 1)), np.arange(5)), pl.DataFrame({"a": [0.0]}))
    for name in ("model.txt", "example.json"):
        (folder / name).unlink()
    for name, data in {**other.files, MANIFEST: other.manifest.to_bytes()}.items():
        change(folder / name, data) if (folder / name).exists() else (folder / name).write_bytes(data)
    seal = json.loads((folder / "signature.json").read_text())
    change(folder / "signature.json", json.dumps({**seal, "digest": other.digest}).encode())
    with pytest.raises(Corrupt, match="signature"):
        load_folder(folder, public_key=signer.public)


def test_an_absent_package_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="mainspring models download"):
        load_folder(tmp_path, public_key=None)


def test_writing_a_package_twice_is_one_package_and_never_over_something_else(
    package: Package, signer: Signer, folder: Path
) -> None:
    assert unpack(package, signer, folder) == folder
    (folder / "mine.txt").write_text("keep")
    with pytest.raises(Conflict):
        unpack(package, signer, folder)
    assert (folder / "mine.txt").read_text() == "keep"


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.txt", "model.skops"])
def test_a_pickle_is_refused_in_three_lines_and_never_loaded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Refused) as caught:
        open_file(path)
    assert len(str(caught.value).splitlines()) == 3


def test_a_pickle_inside_a_signed_package_is_refused(package: Package, signer: Signer, tmp_path: Path) -> None:
    from mainspring.core.canonical import digest

    bomb = pickle.dumps(Bomb())
    files = {**package.files, "model.txt": bomb}
    listed = {name: (digest(data), len(data)) for name, data in files.items()}
    manifest = package.manifest
    hostile = Manifest(manifest.flavour, manifest.trait, manifest.signature, manifest.environment, listed)
    unpack(Package(hostile, files, package.example), signer, tmp_path / "p")
    with pytest.raises(Refused, match="pickle"):
        load_folder(tmp_path / "p", public_key=signer.public)


def test_functions_of_ones_own_are_refused_before_they_are_kept() -> None:
    model = make_pipeline(FunctionTransformer(subprocess.getoutput), LogisticRegression())
    frame = pl.DataFrame({"a": [0.0, 1.0]})
    model.steps[1][1].fit(frame.to_numpy(), [0, 1])
    with pytest.raises(Refused, match=r"subprocess\.getoutput"):
        build(model, frame)


def test_an_archive_that_names_other_types_is_refused_unread(tmp_path: Path) -> None:
    import skops.io

    path = tmp_path / "model.skops"
    path.write_bytes(skops.io.dumps(make_pipeline(FunctionTransformer(subprocess.getoutput))))
    with pytest.raises(Refused, match=r"subprocess\.getoutput"):
        open_file(path)


def test_rubbish_is_of_no_known_format(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"rubbish")
    with pytest.raises(Invalid, match="known are catboost, composed"):
        open_file(path)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("schema.json", "{}")
    path.write_bytes(archive.getvalue())
    with pytest.raises(Corrupt):
        open_file(path)


def test_a_model_file_is_packed_like_the_model(tmp_path: Path) -> None:
    model = booster(rows())
    model.save_model(str(tmp_path / "m.txt"))
    package = build(tmp_path / "m.txt", rows(), levels=LEVELS)
    assert package.files["model.txt"] == build(model, rows(), levels=LEVELS).files["model.txt"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (LogisticRegression(), "not fitted"),
        (lightgbm.LGBMRegressor(), "not fitted"),
        (LinearSVC().fit([[0.0], [1.0]], [0, 1]), "no probabilities"),
        (object(), "no format keeps"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_reason(model: object, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        build(model, pl.DataFrame({"a": [0.0, 1.0]}))


def test_the_key_is_readable_by_its_owner_only_and_stays_the_same(tmp_path: Path) -> None:
    first, second = Signer(tmp_path), Signer(tmp_path)
    assert (tmp_path / "models.key").stat().st_mode & 0o777 == 0o600
    assert is_signed(b"x", first.sign(b"x"), second.public)
    assert not is_signed(b"y", first.sign(b"x"), second.public)


def test_a_spoilt_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "models.key").write_text("short")
    with pytest.raises(Corrupt, match=r"models\.key"):
        Signer(tmp_path)


def test_loading_a_package_needs_neither_sql_nor_a_web_framework(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mainspring.registry.packages import load_folder\n"
        f"load_folder(Path({str(folder)!r}), public_key=None)\n"
        "print([name for name in ('sqlalchemy', 'litestar', 'sklearn.ensemble', 'deltalake') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "sqlalchemy" not in out.stdout
    assert "litestar" not in out.stdout


def test_a_predictor_is_what_load_folder_gives(folder: Path) -> None:
    assert isinstance(load_folder(folder, public_key=None), Predictor)
