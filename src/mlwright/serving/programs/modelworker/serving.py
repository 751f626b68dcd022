"""Answers batches, one after the other, and loads and drops models meanwhile."""

import contextlib
import ctypes
import gc
import importlib.util
import json
import os
import socket
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from . import frames
from .columns import WrongAnswer, arrays, form_of, outputs, table_of
from .loaders import Predict, load

_PIECE = 256 << 10


class Model(NamedTuple):
    """A model that is loaded.

    Attributes:
        columns: names and MLflow's types of the columns of the table that it takes, if it does.
        matrix: it is asked with a plain matrix, which is many times cheaper than a table: it answers the same, or there
            is no pandas.
    """

    predict: Predict
    columns: dict[str, str]
    matrix: bool


class Worker:
    """Args:
    connection: to the serving host.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._models: dict[str, Model] = {}
        self._sending = threading.Lock()

    def run(self) -> None:
        """Serve until the host hangs up."""
        self._send({"kind": "ready", "pid": os.getpid()})
        reader = self._connection.makefile("rb", _PIECE)
        while len(start := reader.read(frames.HEAD_BYTES)) == frames.HEAD_BYTES:
            head_bytes, data_bytes = frames.lengths(start)
            head, data = reader.read(head_bytes), reader.read(data_bytes)
            if len(head) + len(data) < head_bytes + data_bytes:
                return
            self._handle(json.loads(head), data)

    def _handle(self, head: dict[str, Any], data: bytes) -> None:
        kind = head["kind"]
        if kind == "predict":
            self._predict(head, data)
        elif kind == "load":
            threading.Thread(target=self._load, args=(head, data), daemon=True).start()
        elif kind == "drop" and self._models.pop(head["model"], None) is not None:
            _give_back_memory()

    def _send(self, head: dict[str, Any], *data: bytes) -> None:
        message = frames.encode(head, *data)
        with self._sending:
            self._connection.sendall(message)

    # --- loading ---------------------------------------------------------------------------------------------------

    def _load(self, head: dict[str, Any], data: bytes) -> None:
        began = time.perf_counter()
        told: dict[str, Any] = {"kind": "loaded", "model": head["model"]}
        try:
            self._models[head["model"]] = _warmed(head, data)
        except Exception as error:  # the boundary of the model: whatever it raises is why it cannot be served
            traceback.print_exc()
            told |= {"kind": "unloadable", "error": _said(error)}
        # What libraries and models are made of stays: searching it for garbage again and again would hold up answers.
        gc.collect()
        gc.freeze()
        self._send({**told, "seconds": time.perf_counter() - began})

    # --- predicting ------------------------------------------------------------------------------------------------

    def _predict(self, head: dict[str, Any], data: bytes) -> None:
        """Answer a batch; when that fails, each of its requests on its own, so that one bad row fails only its own."""
        model = self._models.get(head["model"])
        told: dict[str, Any] = {"kind": "predicted", "batch": head["batch"]}
        began = time.perf_counter()
        failed: dict[str, str] = {}
        form = "array"
        described: list[dict[str, Any]] = []
        found: list[bytes] = []
        if model is None:
            failed = {str(part): "the model is not loaded" for part in range(len(head["parts"]))}
        else:
            named = arrays(head["inputs"], memoryview(data))
            try:
                answer = _ask(model, named, table=head["table"])
                form = form_of(answer)
                described, found = outputs(answer, sum(head["parts"]))
            except Exception as error:  # the boundary of the model
                form, described, found, failed = _singly(model, named, head, error)
        told |= {"outputs": described, "form": form, "failed": failed, "seconds": time.perf_counter() - began}
        self._send(told, *found)


def _ask(model: Model, named: dict[str, Any], *, table: bool) -> Any:
    if table and not (model.matrix and len(named) == 1):
        return model.predict(table_of(named, model.columns))
    return model.predict(next(iter(named.values())) if len(named) == 1 else named)


def _singly(
    model: Model, named: dict[str, Any], head: dict[str, Any], error: Exception
) -> tuple[str, list[dict[str, Any]], list[bytes], dict[str, str]]:
    """Ask for each request on its own. Answers are joined again; requests that failed have no rows in them."""
    parts = head["parts"]
    if len(parts) == 1:
        return "array", [], [], {"0": _said(error)}
    good: list[tuple[list[dict[str, Any]], list[bytes]]] = []
    failed, place, form = {}, 0, "array"
    for number, rows in enumerate(parts):
        own = {name: values[place : place + rows] for name, values in named.items()}
        place += rows
        try:
            answer = _ask(model, own, table=head["table"])
            good.append(outputs(answer, rows))
            form = form_of(answer)
        except Exception as again:  # the boundary of the model
            failed[str(number)] = _said(again)
    return form, *(_joined(good) if good else ([], [])), failed


def _joined(answers: list[tuple[list[dict[str, Any]], list[bytes]]]) -> tuple[list[dict[str, Any]], list[bytes]]:
    described, data, place = [], [], 0
    for number, shown in enumerate(answers[0][0]):
        same = [each[0][number] for each in answers]
        whole = {**shown, "shape": [sum(each["shape"][0] for each in same), *shown["shape"][1:]]}
        if "data" in shown:
            whole["data"] = [value for each in same for value in each["data"]]
        else:
            data.append(b"".join(each[1][place] for each in answers))
            place += 1
        described.append(whole)
    return described, data


def _said(error: Exception) -> str:
    if isinstance(error, WrongAnswer):
        return str(error)
    return f"{type(error).__name__}: {error}"[:2_000]


# --- loading ------------------------------------------------------------------------------------------------------


def _warmed(head: dict[str, Any], data: bytes) -> Model:
    """Load a model and ask it once with its example, if there is one: the first answer is the slowest."""
    predict, by_order = load(Path(head["folder"]), head["loader"], head["options"], head["generic"])
    model = Model(predict, head["columns"], matrix=by_order or importlib.util.find_spec("pandas") is None)
    if not head["inputs"]:
        return model
    named = arrays(head["inputs"], memoryview(data))
    answer = _ask(model, named, table=head["table"])
    outputs(answer, next(iter(named.values())).shape[0])
    compared = head["table"] and len(named) == 1 and head["loader"] != "mlflow" and not model.matrix
    return model._replace(matrix=model.matrix or (compared and _same_by_matrix(predict, named, answer)))


def _give_back_memory() -> None:
    """To the machine; by itself, the C library keeps what has been freed for later."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def _same_by_matrix(predict: Predict, named: dict[str, Any], answer: Any) -> bool:
    """Whether the model answers a plain matrix in the order of its columns with the same bytes as the table."""
    matrix = next(iter(named.values()))
    try:
        return outputs(predict(matrix), len(matrix)) == outputs(answer, len(matrix))
    except Exception:  # the boundary of the model: it wants names
        return False


def main() -> None:
    """Serve the host at the other end of the inherited socket, whose number is the only argument."""
    warnings.simplefilter("ignore")
    sys.setswitchinterval(0.0005)  # a load in a thread must not hold up answers
    Worker(socket.socket(fileno=int(sys.argv[1]))).run()
