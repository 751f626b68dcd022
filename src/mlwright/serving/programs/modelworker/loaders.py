"""Loads models with their own libraries, without MLflow. What is loaded was scanned and verified before."""

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

#: From an input (a table, an array, or named arrays) to what the model answers.
Predict = Callable[[Any], Any]


class Loaded(NamedTuple):
    """A model.

    Attributes:
        by_order: of a table it looks at the order of columns only: a matrix gets the same answer, many times cheaper.
    """

    predict: Predict
    by_order: bool = False


def load(folder: Path, loader: str, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Loaded:
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


def _mlflow(folder: Path, _options: Mapping[str, Any], _generic: Mapping[str, Any]) -> Loaded:
    pyfunc: Any = importlib.import_module("mlflow.pyfunc")
    model = pyfunc.load_model(str(folder))
    return Loaded(model.predict)


def _sklearn(folder: Path, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Loaded:
    return _estimator(folder / options["pickled_model"], options, generic)


def _estimator(file: Path, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Loaded:
    """A model with scikit-learn's interface."""
    if file.suffix == ".skops" or options.get("serialization_format") == "skops":
        skops: Any = importlib.import_module("skops.io")
        model = skops.load(file, trusted=options.get("skops_trusted_types") or [])
    else:
        library: Any = importlib.import_module("joblib" if file.suffix == ".joblib" else "pickle")
        with file.open("rb") as source:
            model = library.load(source)
    _alone(model)
    _arrays_are_no_tables()
    return Loaded(getattr(model, generic.get("predict_fn") or "predict"), _by_order(model))


def _by_order(model: Any) -> bool:
    """Whether an estimator is scikit-learn's own, and plain: made of numbers and words, or a pipeline of such.

    Those make a matrix of each table. Others may choose columns by name, or hand tables to functions.
    """
    steps = getattr(model, "steps", None)
    if steps is not None:
        return type(model).__module__ == "sklearn.pipeline" and all(_by_order(step) for _, step in steps)
    if not type(model).__module__.startswith("sklearn.") or getattr(model, "_sklearn_output_config", None):
        return False
    return all(isinstance(value, (bool, int, float, str, type(None))) for value in model.get_params().values())


def _alone(model: Any) -> None:
    """One thread: a pool of threads for each small batch costs more than it brings, and starves the neighbours."""
    for each in (model, *(step for _, step in getattr(model, "steps", ()))):
        if getattr(each, "n_jobs", None) not in (None, 1):
            each.n_jobs = 1


def _arrays_are_no_tables() -> None:
    """Let scikit-learn know at once that arrays are no tables.

    Since 1.9 it asks narwhals several times for each prediction, which takes as long as a small model itself.
    """
    asked = sys.modules.get("narwhals.stable.v2.dependencies")
    for name in ("is_into_dataframe", "is_into_series"):
        answer = getattr(asked, name, None)
        if answer is not None and not hasattr(answer, "__wrapped__"):
            setattr(asked, name, _but_not_of_arrays(answer))


def _but_not_of_arrays(answer: Callable[..., bool]) -> Callable[..., bool]:
    array = importlib.import_module("numpy").ndarray

    @functools.wraps(answer)
    def answered(*given: Any, **named: Any) -> bool:
        return answer(*given, **named) if named or type(given[0]) is not array else False

    return answered


def _xgboost(folder: Path, options: Mapping[str, Any], _generic: Mapping[str, Any]) -> Loaded:
    xgboost: Any = importlib.import_module("xgboost")
    kind = str(options.get("model_class") or "").rpartition(".")[2]
    model = getattr(xgboost, kind if kind.startswith("XGB") else "Booster")()
    model.load_model(folder / options.get("data", "model.xgb"))
    if kind.startswith("XGB"):
        return Loaded(model.predict)
    return Loaded(lambda inputs: model.predict(xgboost.DMatrix(inputs)))


def _lightgbm(folder: Path, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Loaded:
    file = folder / options.get("data", "model.lgb")
    if file.suffix in {".pkl", ".skops", ".joblib"}:
        return _estimator(file, options, generic)
    lightgbm: Any = importlib.import_module("lightgbm")
    return Loaded(lightgbm.Booster(model_file=str(file)).predict)


def _onnx(folder: Path, options: Mapping[str, Any], _generic: Mapping[str, Any]) -> Loaded:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    file = str(folder / options.get("data", "model.onnx"))
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    return _onnx_predict(session)


def _onnx_predict(session: Any) -> Loaded:
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

    return Loaded(one, by_order=True) if len(inputs) == 1 else Loaded(many)


def _fed(numpy: Any, values: Any, kind: str, dimensions: int) -> Any:
    """An input of an ONNX graph; columns of tables are fed as matrices of one column where the graph wants two axes."""
    array = numpy.asarray(values, dtype=kind)
    return array.reshape(-1, 1) if array.ndim == 1 and dimensions == 2 else array


def _torch(folder: Path, options: Mapping[str, Any], _generic: Mapping[str, Any]) -> Loaded:
    torch: Any = importlib.import_module("torch")
    numpy: Any = importlib.import_module("numpy")
    place = "cuda" if torch.cuda.is_available() else "cpu"
    data = folder / options.get("model_data", "data")
    file = data / "model.pth"
    if (data / "model.pt2").exists():
        model = torch.export.load(data / "model.pt2").module()
    else:
        model = torch.load(file, map_location=place, weights_only=False)
        model.eval()
    model.to(place)

    weights = next(iter(model.parameters()), None)

    def predict(given: Any) -> Any:
        # As MLflow does it, tables are matrices of single precision; JSON knows no precision at all.
        tensor = torch.from_numpy(numpy.asarray(given, dtype="float32" if hasattr(given, "columns") else None))
        if weights is not None and tensor.is_floating_point():
            tensor = tensor.to(weights.dtype)
        with torch.no_grad():
            found = model(tensor.to(place))
        return found.cpu().numpy()

    return Loaded(predict)


_LOADERS: dict[str, Callable[[Path, Mapping[str, Any], Mapping[str, Any]], Loaded]] = {
    "mlflow": _mlflow,
    "sklearn": _sklearn,
    "skops": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "pytorch": _torch,
}
