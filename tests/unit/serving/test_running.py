"""What versions need to run, read from files that anybody may have written."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlwright.kernel.errors import Invalid
from mlwright.serving.compiling import Proof, needs_to_compile, needs_to_serve
from mlwright.serving.running import Running, needs, running

NUMBERS = [{"type": "double", "name": "a"}, {"type": "double", "name": "b"}]
MIXED = [{"type": "double", "name": "a"}, {"type": "string", "name": "b"}]


def model(folder: Path, flavors: str, inputs: list[Any], listed: str, more: str = "", **files: str) -> Running:
    folder.mkdir(exist_ok=True)
    signature = f"signature:\n  inputs: '{json.dumps(inputs)}'\n  params: null\n" if inputs else ""
    (folder / "MLmodel").write_text(f"flavors: {flavors}\n{signature}{more}")
    (folder / "requirements.txt").write_text(listed)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return running(folder)


@pytest.mark.parametrize(
    ("flavors", "loader"),
    [
        ("{sklearn: {pickled_model: m.pkl}, python_function: {}}", "sklearn"),
        ("{python_function: {loader_module: x}, onnx: {data: m.onnx}}", "onnx"),
        ("{python_function: {loader_module: mlflow.pyfunc.model}}", "mlflow"),
    ],
)
def test_which_loader_takes_it(tmp_path: Path, flavors: str, loader: str) -> None:
    assert model(tmp_path, flavors, NUMBERS, "").loader == loader


@pytest.mark.parametrize("text", ["", "[]", "flavors: [1]", "flavors: {}", "a: &a [*a]", "{" * 9_999, "signature: 1"])
def test_descriptions_of_any_shape_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Invalid):
        running(tmp_path)


def test_an_example_lies_in_the_version(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "model"
    climbs = "saved_input_example_info: {artifact_path: ../secret.json}"
    assert model(folder, "{sklearn: {}}", NUMBERS, "", climbs).example == ""
    own = "saved_input_example_info: {artifact_path: own.json}"
    assert model(folder, "{sklearn: {}}", NUMBERS, "", own, own_json="{}").example == "own.json"


@pytest.mark.parametrize(
    ("loader", "inputs", "listed", "kept"),
    [
        ("onnx", NUMBERS, "mlflow==3.1\nonnx==1.20\nonnxruntime\nnumpy", ["onnxruntime", "numpy"]),
        ("sklearn", NUMBERS, "MLflow_Skinny>=3\nscikit-learn==1.9\ncloudpickle", ["scikit-learn==1.9", "cloudpickle"]),
        ("sklearn", MIXED, "mlflow\nscikit-learn", ["scikit-learn", "pandas"]),
        ("pytorch", NUMBERS, "mlflow\ntorch", ["torch", "pandas"]),
        ("sklearn", MIXED, "pandas<3\nscikit-learn", ["pandas<3", "scikit-learn"]),
        ("mlflow", MIXED, "mlflow\nscikit-learn", ["mlflow", "scikit-learn"]),
        ("sklearn", NUMBERS, "-r other.txt\nmlflow", ["-r other.txt", "mlflow"]),
    ],
)
def test_what_only_saves_models_is_not_needed(
    tmp_path: Path, loader: str, inputs: list[Any], listed: str, kept: list[str]
) -> None:
    flavor = "python_function" if loader == "mlflow" else loader
    how = model(tmp_path / "model", f"{{{flavor}: {{x: 1}}}}", inputs, listed, python__env_yaml="python: '3.11'")
    (tmp_path / "needs").mkdir()
    asked = needs(tmp_path / "model", how, tmp_path / "needs")
    assert (asked / "requirements.txt").read_text().splitlines() == kept


def test_locks_are_left_alone(tmp_path: Path) -> None:
    how = model(tmp_path, "{sklearn: {}}", NUMBERS, "mlflow", pylock_toml="")
    assert needs(tmp_path, how, tmp_path / "none") == tmp_path
    assert needs_to_compile(tmp_path, how, tmp_path / "none") == tmp_path


def test_what_compiles_and_what_serves(tmp_path: Path) -> None:
    how = model(tmp_path / "model", "{xgboost: {}}", NUMBERS, "mlflow\nxgboost-cpu\nonnx==1.20")
    for name in ("compile", "serve", "columns"):
        (tmp_path / name).mkdir()
    asked = needs_to_compile(tmp_path / "model", how, tmp_path / "compile")
    lines = (asked / "requirements.txt").read_text().splitlines()
    assert lines == ["xgboost-cpu", "onnx==1.20", "onnxruntime", "protobuf<7", "skl2onnx", "onnxmltools"]
    proof = Proof("same", versions={"numpy": "2.4.6", "onnxruntime": "1.32.0", "onnx": "1.20"})
    served = needs_to_serve(proof, how, "3.11", tmp_path / "serve") / "requirements.txt"
    assert served.read_text().splitlines() == ["numpy==2.4.6", "onnxruntime==1.32.0"]
    columns = Proof("same", versions=proof.versions, inputs="columns")
    assert "pandas" in (needs_to_serve(columns, how, "3.11", tmp_path / "columns") / "requirements.txt").read_text()
