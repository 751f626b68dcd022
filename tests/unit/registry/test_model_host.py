"""The model host, in this process: its protocol and its HTTP. Models are run by it in test_model_gates.py."""

import http.client
import json
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlwright.registry.gates import model_host
from mlwright.registry.gates.model_host import Answer, Handler, Server

TABLE = [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["b", "a"], "data": [[2.0, 1.0], [4.0, 3.0]]}},
        {"dataframe_split": {"columns": ["a", "b", "more"], "data": [[1.0, 2.0, 9], [3.0, 4.0, 9]]}},
        {"dataframe_records": [{"a": 1.0, "b": 2.0}, {"b": 4.0, "a": 3.0, "more": 9}]},
        {"instances": [{"a": 1.0, "b": 2.0}, {"b": 4.0, "a": 3.0}]},
        {"inputs": {"a": [1.0, 3.0], "b": [2.0, 4.0]}},
        {"inputs": TABLE, "params": {"x": 1}},
        {"instances": TABLE},
    ],
)
def test_all_forms_of_a_request(document: dict[str, Any]) -> None:
    found = model_host._inputs(json.dumps(document).encode(), ["a", "b"])
    assert found.tolist() == TABLE


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"inputs": TABLE, "instances": TABLE},
        {"dataframe_split": {"columns": ["a"], "data": [[1.0]]}},
        {"inputs": {"a": [1.0], "b": [1.0, 2.0]}},
        {"dataframe_split": {}},
    ],
)
def test_what_is_no_request(document: object) -> None:
    with pytest.raises((model_host.BadRequest, KeyError, ValueError)):
        model_host._inputs(json.dumps(document).encode(), ["a", "b"])


def score(body: bytes, content_type: str) -> Answer:
    if body == b"fail":
        raise RuntimeError("a defect")
    return Answer(200, content_type.encode() + b" " + body)


@pytest.fixture
def connection() -> Iterator[http.client.HTTPConnection]:
    server = Server(("127.0.0.1", 0), Handler)
    server.score = score  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        yield client
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


def asked(connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_one_connection_for_many_requests(connection: http.client.HTTPConnection) -> None:
    assert asked(connection, "GET", "/ping") == (200, b"\n")
    first = connection.sock
    assert asked(connection, "POST", "/invocations", b"{}", Content_Type="text/csv") == (200, b"text/csv {}")
    assert asked(connection, "POST", "/invocations", b"fail")[0] == 500
    assert asked(connection, "GET", "/health")[0] == 200
    assert asked(connection, "GET", "/")[0] == 404
    assert connection.sock is first


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [("/other", "2", 404), ("/invocations", "no", 413), ("/invocations", str(1 << 40), 413)],
)
def test_what_it_does_not_read(connection: http.client.HTTPConnection, path: str, length: str, status: int) -> None:
    assert asked(connection, "POST", path, b"{}", Content_Length=length)[0] == status


class Frame:
    """A table as of pandas, which these tests do without."""

    def __init__(self, rows: Any, columns: list[str] | None = None) -> None:
        self.values = np.array(rows, dtype=object)
        self.columns = columns

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, *_: object, **__: object) -> Any:
        return self.values

    def __getitem__(self, name: str) -> "Frame":
        assert self.columns is not None
        return Frame(self.values[:, self.columns.index(name)])

    def to_numpy(self) -> Any:
        return self.values


class Session:
    """One of onnxruntime that repeats what it is fed; the real library is too large for tests."""

    def __init__(self, *inputs: SimpleNamespace) -> None:
        self.inputs = inputs

    def get_inputs(self) -> tuple[SimpleNamespace, ...]:
        return self.inputs

    get_outputs = get_inputs

    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]:
        return [feed[name] for name in outputs]


@pytest.mark.parametrize(
    ("inputs", "document", "predictions"),
    [
        ([("x", "tensor(float)", [None, 2])], {"inputs": TABLE}, {"x": TABLE}),
        (
            [("b", "tensor(int64)", [None, 1]), ("a", "tensor(string)", [None])],
            {"dataframe_split": {"columns": ["a", "b"], "data": [["u", 2.0], ["v", 3.0]]}},
            [{"b": 2, "a": "u"}, {"b": 3, "a": "v"}],
        ),
        (
            [("x", "tensor(double)", [None, 2])],
            {"dataframe_split": {"columns": ["a", "b"], "data": TABLE}},
            [{"x": TABLE[0]}, {"x": TABLE[1]}],
        ),
    ],
)
def test_onnx_is_fed_by_name_and_type(
    monkeypatch: pytest.MonkeyPatch, inputs: list[tuple[str, str, list[int]]], document: object, predictions: object
) -> None:
    named = [SimpleNamespace(name=name, type=kind, shape=shape) for name, kind, shape in inputs]
    library = SimpleNamespace(InferenceSession=lambda *_, **__: Session(*named))
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))
    request = {"model": ".", "loader": "onnx", "options": {}, "generic": {}, "columns": []}
    answer = model_host.by_flavor(request)(json.dumps(document).encode(), "application/json")
    assert json.loads(answer.body) == {"predictions": predictions}
