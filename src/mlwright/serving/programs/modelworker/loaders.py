"""Loads models with their own libraries, without MLflow. What is loaded was scanned and verified before."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: From an input (a table, an array, or named arrays) to what the model answers.
Predict = Callable[[Any], Any]


def load(folder: Path, loader: str, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Predict:
    """Load a model.

    Args:
        folder: with its files.
        loader: "mlflow" or the name of a flavor.
        options: the flavor's, as MLmodel has them.
        generic: those of `python_function`.
    """
    for code in (generic.get("code"), options.get("code")):
        if code and str(folder / code) not in sys.path:
            sys.path.insert(0, str(folder / code))
    return _LOADERS[loader](folder, options, generic)


def _mlflow(folder: Path, _options: Mapping[str, Any], _generic: Mapping[str, Any]) -> Predict:
    pyfunc: Any = importlib.import_module("mlflow.pyfunc")
    model = pyfunc.load_model(str(folder))
    predict: Predict = model.predict
    return predict


def _sklearn(folder: Path, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Predict:
    return _estimator(folder / options["pickled_model"], options, generic)


def _estimator(file: Path, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Predict:
    """A model with scikit-learn's interface."""
    if file.suffix == ".skops" or options.get("serialization_format") == "skops":
        skops: Any = importlib.import_module("skops.io")
        model = skops.load(file, trusted=options.get("skops_trusted_types") or [])
    else:
        library: Any = importlib.import_module("joblib" if file.suffix == ".joblib" else "pickle")
        with file.open("rb") as source:
            model = library.load(source)
    _alone(model)
    predict: Predict = getattr(model, generic.get("predict_fn") or "predict")
    return predict


def _alone(model: Any) -> None:
    """One thread: a pool of threads for each small batch costs more than it brings, and starves the neighbours."""
    for each in (model, *(step for _, step in getattr(model, "steps", ()))):
        if getattr(each, "n_jobs", None) not in (None, 1):
            each.n_jobs = 1


def _xgboost(folder: Path, options: Mapping[str, Any], _generic: Mapping[str, Any]) -> Predict:
    xgboost: Any = importlib.import_module("xgboost")
    kind = str(options.get("model_class") or "").rpartition(".")[2]
    model = getattr(xgboost, kind if kind.startswith("XGB") else "Booster")()
    model.load_model(folder / options.get("data", "model.xgb"))
    if kind.startswith("XGB"):
        predict: Predict = model.predict
        return predict
    return lambda inputs: model.predict(xgboost.DMatrix(inputs))


def _lightgbm(folder: Path, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Predict:
    file = folder / options.get("data", "model.lgb")
    if file.suffix in {".pkl", ".skops", ".joblib"}:
        return _estimator(file, options, generic)
    lightgbm: Any = importlib.import_module("lightgbm")
    predict: Predict = lightgbm.Booster(model_file=str(file)).predict
    return predict


def _onnx(folder: Path, options: Mapping[str, Any], _generic: Mapping[str, Any]) -> Predict:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    file = str(folder / options.get("data", "model.onnx"))
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    return _onnx_predict(session)


def _onnx_predict(session: Any) -> Predict:
    numpy: Any = importlib.import_module("numpy")
    types = {"tensor(double)": "float64", "tensor(float)": "float32", "tensor(int64)": "int64"}
    types |= {"tensor(int32)": "int32", "tensor(bool)": "bool", "tensor(string)": "object", "tensor(uint8)": "uint8"}
    inputs = [(each.name, types.get(each.type, "float32"), len(each.shape)) for each in session.get_inputs()]
    first, kind, _ = inputs[0]
    names = [each.name for each in session.get_outputs()]

    def one(given: Any) -> Any:
        found = session.run(names, {first: numpy.asarray(given, dtype=kind)})
        return found[0] if len(found) == 1 else dict(zip(names, found, strict=True))

    def many(given: Any) -> Any:
        fed = {name: _fed(numpy, given[name], kind, dimensions) for name, kind, dimensions in inputs}
        found = session.run(names, fed)
        return found[0] if len(found) == 1 else dict(zip(names, found, strict=True))

    return one if len(inputs) == 1 else many


def _fed(numpy: Any, values: Any, kind: str, dimensions: int) -> Any:
    """An input of an ONNX graph; columns of tables are fed as matrices of one column where the graph wants two axes."""
    array = numpy.asarray(values, dtype=kind)
    return array.reshape(-1, 1) if array.ndim == 1 and dimensions == 2 else array


def _torch(folder: Path, options: Mapping[str, Any], _generic: Mapping[str, Any]) -> Predict:
    torch: Any = importlib.import_module("torch")
    place = "cuda" if torch.cuda.is_available() else "cpu"
    data = folder / options.get("model_data", "data")
    file = data / "model.pth"
    if (data / "model.pt2").exists():
        model = torch.export.load(data / "model.pt2").module()
    else:
        model = torch.load(file, map_location=place, weights_only=False)
        model.eval()
    model.to(place)

    def predict(given: Any) -> Any:
        with torch.no_grad():
            found = model(torch.from_numpy(given).to(place))
        return found.cpu().numpy()

    return predict


_LOADERS: dict[str, Callable[[Path, Mapping[str, Any], Mapping[str, Any]], Predict]] = {
    "mlflow": _mlflow,
    "sklearn": _sklearn,
    "skops": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "pytorch": _torch,
}
