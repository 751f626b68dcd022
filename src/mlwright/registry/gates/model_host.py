"""Serves one model over HTTP on loopback, as MLflow's scoring servers do: `python -I model_host.py REQUEST`.

Runs inside the model's own environment: nothing but the standard library and what the model needs, no mlwright. REQUEST
is a file with a JSON object: `model` (folder), `ready` (file to write the port to), and how to load it: `loader`, which
is "mlflow" or the name of a flavor, and for a flavor its `options` and `generic` ones, as MLmodel has them, and the
names of `columns`. See https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ for the protocol.
"""

import importlib
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

_MAX_BODY = 256 << 20
_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}
_FORMATS = ("dataframe_split", "dataframe_records", "inputs", "instances")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"


Score = Callable[[bytes, str], Answer]
Predict = Callable[[Any], Any]


class BadRequest(Exception):
    """What was sent is not in the protocol."""


def by_mlflow(folder: Path) -> Score:
    """Load the model as MLflow does, and answer as its own server does."""
    server: Any = importlib.import_module("mlflow.pyfunc.scoring_server")
    failure: Any = importlib.import_module("mlflow.exceptions").MlflowException
    model = server.load_model(str(folder))
    schema = model.metadata.get_input_schema()

    def score(body: bytes, content_type: str) -> Answer:
        try:
            found = server.invocations(body.decode(), content_type, model, schema)
        except failure as error:
            return Answer(error.get_http_status_code(), error.serialize_as_json().encode())
        return Answer(found.status, found.response.encode(), found.mimetype)

    return score


# --- without MLflow -----------------------------------------------------------------------------------------------


def by_flavor(request: Mapping[str, Any]) -> Score:
    """Load the model with its own library, and answer requests in JSON."""
    folder, options = Path(request["model"]), request["options"]
    if options.get("code"):
        sys.path.insert(0, str(folder / options["code"]))
    predict = _FLAVORS[request["loader"]](folder, options, request["generic"])
    columns = request["columns"]

    def score(body: bytes, content_type: str) -> Answer:
        if content_type.partition(";")[0].strip() != "application/json":
            return Answer(415, b'{"error_code": "BAD_REQUEST", "message": "only application/json is understood"}')
        try:
            found = predict(_inputs(body, columns))
        except Exception as error:  # the boundary of the model: whatever it raises is its answer to this request
            traceback.print_exc()
            message = {"error_code": "BAD_REQUEST", "message": f"{type(error).__name__}: {error}"}
            return Answer(400, json.dumps(message).encode())
        return Answer(200, json.dumps({"predictions": _plain(found)}).encode())

    return score


def _inputs(body: bytes, columns: list[str]) -> Any:
    """What is in a request: a table where pandas is there and names are, else an array."""
    document = json.loads(body)
    named = [name for name in _FORMATS if name in document] if isinstance(document, dict) else []
    if len(named) != 1:
        raise BadRequest(f"exactly one of {', '.join(_FORMATS)} is needed")
    data = document[named[0]]
    if named[0] == "dataframe_split":
        rows, names = data["data"], data.get("columns")
    elif isinstance(data, list) and data and isinstance(data[0], dict):
        names = columns or list(data[0])
        rows = [[row.get(name) for name in names] for row in data]
    elif isinstance(data, dict):
        names = columns or list(data)
        rows = list(zip(*(data[name] for name in names), strict=True))
    else:
        rows, names = data, None
    if names and columns:
        missing = [name for name in columns if name not in names]
        if missing:
            raise BadRequest(f"the model is missing inputs {missing}")
        order = [names.index(name) for name in columns]
        rows, names = [[row[place] for place in order] for row in rows], columns
    return _table(rows, names)


def _table(rows: Any, names: Any) -> Any:
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError:
        numpy: Any = importlib.import_module("numpy")
        return numpy.asarray(rows)
    return pandas.DataFrame(rows, columns=names) if names else pandas.DataFrame(rows).to_numpy()


def _plain(found: Any) -> Any:
    if hasattr(found, "to_dict") and hasattr(found, "columns"):
        return found.to_dict(orient="records")
    return found.tolist() if hasattr(found, "tolist") else found


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
    predict: Predict = getattr(model, generic.get("predict_fn") or "predict")
    return predict


def _xgboost(folder: Path, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Predict:
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


def _onnx(folder: Path, options: Mapping[str, Any], generic: Mapping[str, Any]) -> Predict:
    """As MLflow does it: where there are several inputs, each is the column of its name; outputs are told by name."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    numpy: Any = importlib.import_module("numpy")
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(folder / options.get("data", "model.onnx")), providers=providers)
    inputs, outputs = session.get_inputs(), [each.name for each in session.get_outputs()]

    def predict(table: Any) -> Any:
        is_table = hasattr(table, "columns")
        if len(inputs) > 1 and not is_table:
            raise BadRequest(f"a table is needed, with the columns {[each.name for each in inputs]}")
        values = [table[each.name].to_numpy() for each in inputs] if len(inputs) > 1 else [numpy.asarray(table)]
        feed = {each.name: _tensor(numpy, value, each) for each, value in zip(inputs, values, strict=True)}
        found = dict(zip(outputs, session.run(outputs, feed), strict=True))
        if not is_table:
            return {name: _plain(value) for name, value in found.items()}
        arrays = [numpy.asarray(value) for value in found.values()]
        columns = [each.reshape(-1) if each.size == len(table) else each for each in arrays]
        return [dict(zip(outputs, row, strict=True)) for row in zip(*(each.tolist() for each in columns), strict=True)]

    return predict


def _tensor(numpy: Any, values: Any, wanted: Any) -> Any:
    """Values in the type and with the dimensions that an input has: JSON knows neither."""
    kind = _ONNX_TYPES.get(wanted.type)
    found = numpy.asarray(values) if kind is None else numpy.asarray(values).astype(kind)
    return found.reshape(-1, 1) if found.ndim == 1 and len(wanted.shape) == 2 else found


_FLAVORS = {"sklearn": _sklearn, "skops": _sklearn, "xgboost": _xgboost, "lightgbm": _lightgbm, "onnx": _onnx}


# --- over HTTP ----------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """One connection. `server.score` answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_GET(self) -> None:
        """Answer /ping and /health: who answers has loaded the model."""
        known = self.path in {"/ping", "/health"}
        self._send(Answer(200 if known else 404, b"\n", "text/plain"))

    def do_POST(self) -> None:
        """Answer /invocations."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/invocations" or not length.isdigit() or int(length) > _MAX_BODY:
            self.close_connection = True
            self._send(Answer(404 if self.path != "/invocations" else 413, b"\n", "text/plain"))
            return
        body = self.rfile.read(int(length))
        server: Any = self.server
        try:
            answer = server.score(body, self.headers.get("Content-Type", ""))
        except Exception:  # the boundary of a request: a defect must not end the server
            traceback.print_exc()
            answer = Answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "the model failed"}')
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing: what is printed is what the model prints."""


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 512


def main() -> None:
    """Load the model, then serve it until killed."""
    request = json.loads(Path(sys.argv[1]).read_bytes())
    folder = Path(request["model"])
    score = by_mlflow(folder) if request["loader"] == "mlflow" else by_flavor(request)
    server = Server(("127.0.0.1", 0), Handler)
    server.score = score  # type: ignore[attr-defined]
    ready = Path(request["ready"])
    written = ready.with_suffix(".new")
    written.write_text(json.dumps({"port": server.server_address[1]}), encoding="utf-8")
    written.replace(ready)
    server.serve_forever()


if __name__ == "__main__":
    main()
