"""Whatever clients send, the host answers in the protocol's words, never with a defect, and lives on."""

import contextlib
import gzip
import json
import math
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.components import mlflow_python
from tests.unit.serving.hosting import Answer, Site, site, toy

FUZZ = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
PATHS = ["/v2/models/toy/infer", "/v1/models/toy:predict", "/invocations", "/v2/models/toy/versions/1/infer"]
#: Uses every value: what got past the checks and is no number, or of another shape, fails in it.
STRICT = """
class Toy:
    def __init__(self, number): self.number = number
    def predict(self, given): return given.sum(axis=1) + self.number
"""
MIXED = """
class Toy:
    def __init__(self, number): pass
    def predict(self, given):
        upper = [text.upper() if isinstance(text, str) else None for text in given["carrier"]]
        hours = given["at"].dt.hour.fillna(0) + given["day"]
        return [len(text or "") + hour for text, hour in zip(upper, hours)]
"""
COLUMNS = [
    {"type": "string", "name": "carrier"},
    {"type": "datetime", "name": "at"},
    {"type": "long", "name": "day"},
    {"type": "double", "name": "風速", "required": False},
]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("numbers")
    with site(folder, toy(folder, 0, 1, source=STRICT), limits={"bodyMib": 1}) as found:
        yield found
        counts = found.counts()["revisions"]["1"]
        assert (counts["errors"], counts["deaths"]) == (0, 0), (folder / "log").read_text()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("mixed")
    revision = toy(folder, 0, 1, source=MIXED) | {"signature": {"inputs": COLUMNS}}
    with site(folder, revision | {"python": str(mlflow_python("3.17.2"))}) as found:
        yield found
        counts = found.counts()["revisions"]["1"]
        assert (counts["errors"], counts["deaths"]) == (0, 0), (folder / "log").read_text()


def told(answer: Answer) -> None:
    """The property: an answer, or an error of the caller's in the protocol's own shape."""
    assert answer.status < 500, answer.body
    if answer.status != 200:
        document = answer.document
        assert set(document) in ({"error"}, {"error_code", "message"}), document
        assert b"Traceback" not in answer.body


# --- values -------------------------------------------------------------------------------------------------------

texts = st.text(max_size=6) | st.sampled_from(["UA", "2026-11-27T12:00:00", "NaN", "風", "\x00", "1e400", "a" * 300])
numbers_ = (
    st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, 1, 2**53 + 1, 2**63, -(2**63), 1e308, 5e-324])
)
anything = st.recursive(
    st.none() | st.booleans() | numbers_ | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def _changed(draw: st.DrawFn, document: Any) -> Any:
    """The document with something else in one place, or something left out, or twice."""
    if not document or not isinstance(document, (dict, list)) or draw(st.integers(0, 4)) == 0:
        return draw(anything)
    key = draw(st.sampled_from(sorted(document) if isinstance(document, dict) else range(len(document))))
    if isinstance(document, dict):
        changed = dict(document)
        if draw(st.integers(0, 3)) == 0:
            del changed[key]
            return changed if draw(st.booleans()) else changed | {draw(texts): document[key]}
        return changed | {key: _changed(draw, document[key])}
    if draw(st.integers(0, 3)) == 0:
        return document[:key] + document[key + 1 :] if draw(st.booleans()) else [*document, document[key]]
    return [*document[:key], _changed(draw, document[key]), *document[key + 1 :]]


@st.composite
def nearly(draw: st.DrawFn, good: st.SearchStrategy[Any]) -> Any:
    """Good documents with none, one or a few places that are not."""
    document = draw(good)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        document = _changed(draw, document)
    return document


@st.composite
def requests(draw: st.DrawFn, row: st.SearchStrategy[dict[str, Any]], kinds: dict[str, str]) -> tuple[str, Any]:
    """A path and a document for it, of rows with these columns."""
    rows = draw(st.lists(row, min_size=1, max_size=3))
    lists = [list(each.values()) for each in rows]
    columns = {name: [each[name] for each in rows] for name in rows[0]}
    tensors = [
        {"name": name, "shape": [len(rows), 1], "datatype": kinds[name], "data": data} for name, data in columns.items()
    ]
    whole = {"name": "in", "shape": [len(rows), len(kinds)], "datatype": "FP64", "data": lists}
    mlflow = [
        {"dataframe_split": {"columns": list(kinds), "data": lists}}, {"dataframe_records": rows},
        {"instances": lists}, {"inputs": columns},
    ]  # fmt: skip
    v2: list[Any] = [
        {"inputs": tensors, "id": "7", "parameters": {"binary_data_output": False}},
        {"inputs": tensors, "outputs": [{"name": "predictions", "parameters": {"binary_data": True}}]},
        *([{"inputs": [whole]}] if set(kinds.values()) == {"FP64"} else []),
    ]
    path, good = draw(
        st.sampled_from(
            [
                *((PATHS[0], each) for each in v2),
                (PATHS[3], v2[0]),
                *((PATHS[1], each) for each in mlflow[2:]),
                *((PATHS[2], each) for each in mlflow),
            ]
        )
    )
    return path, draw(nearly(st.just(good)) | nearly(st.just(good)) | anything)


plain_numbers = requests(
    st.fixed_dictionaries({"x": st.integers(-9, 9) | st.floats(-9, 9), "y": st.floats(-9, 9)}),
    dict.fromkeys("xy", "FP64"),
)
tables = requests(
    st.fixed_dictionaries(
        {
            "carrier": st.sampled_from(["UA", "風", None]),
            "at": st.sampled_from(["2026-11-27", "2026-11-27T12:00:00+08:00", None]),
            "day": st.integers(0, 9),
            "風速": st.floats(0, 9) | st.none(),
        }
    ),
    {"carrier": "BYTES", "at": "BYTES", "day": "INT64", "風速": "FP64"},
)
headers_ = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(
            ["application/json", "text/csv", "application/octet-stream", "text/plain", ";"]
        ),
        "inference-header-content-length": st.sampled_from(["0", "1", "40", "-1", "x", "9" * 400, "+5", " 5", "1_0"]),
        "content-encoding": st.sampled_from(["gzip", "deflate", "br", "identity", "gzip, gzip", ""]),
        "x-request-id": st.sampled_from(["7", "\xe9", "a" * 1000]),
        "accept-encoding": st.just("gzip"),
    },
)


@FUZZ
@given(plain_numbers, headers_ | st.just({}) | st.just({}), st.binary(max_size=40), st.integers(0, 9))
def test_no_body_is_a_defect(
    numbers: Site, request: tuple[str, Any], headers: dict[str, str], rest: bytes, way: int
) -> None:
    path, document = request
    body = json.dumps(document).encode()
    if way == 0:
        body = body[: len(body) // 2] + rest
    elif way == 1:
        body += rest
    elif way == 2:
        body, headers = gzip.compress(body), headers | {"content-encoding": "gzip"}
    told(numbers.request("POST", path, body, headers))


@FUZZ
@given(tables)
def test_no_table_of_several_types_is_a_defect(mixed: Site, request: tuple[str, Any]) -> None:
    path, document = request
    told(mixed.post(path, json.dumps(document).encode()))


@FUZZ
@given(st.text(max_size=80) | st.lists(st.lists(texts, max_size=3).map(",".join), max_size=4).map("\n".join))
def test_no_table_in_text_is_a_defect(numbers: Site, text: str) -> None:
    told(numbers.post("/invocations", ("x,y\n" + text).encode("utf-8", "replace"), content_type="text/csv"))


# --- one by one ---------------------------------------------------------------------------------------------------


def v2(**more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "in", "shape": [1, 2], "datatype": "FP64", "data": [2, 3]} | more]}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/models/toy/infer", b"[" * 200_000, 400),
        ("/v2/models/toy/infer", b'{"inputs":' + b"[" * 200_000, 400),
        ("/invocations", b'{"instances": [[NaN, ' + b"[" * 100_000, 400),
        ("/invocations", b'{"instances": [[NaN, "\\ud800"]]}', 400),
        ("/invocations", b'{"instances": [[NaN, ' + b"9" * 10_000 + b"]]}", 400),
        ("/invocations", '{"instances": [[1, 2]]}'.encode("utf-16"), 400),
        ("/invocations", b'{"instances": [[1, "\xff"]]}', 400),
        ("/v1/models/toy:predict", b'{"instances": [[1e400, 1]]}', 400),
        ("/v1/models/toy:predict", b'{"instances": [[1, 2], [1]]}', 400),
        ("/v1/models/toy:predict", b'{"instances": [[[1, 2]]]}', 400),
        ("/invocations", b'{"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}', 400),
        ("/invocations", b'{"dataframe_split": {"columns": ["x", "z"], "data": [[1, 2]]}}', 400),
        ("/v2/models/toy/infer", json.dumps(v2(shape=[2**62, 4])).encode(), 400),
        ("/v2/models/toy/infer", json.dumps(v2(shape=[2**64])).encode(), 400),
        ("/v2/models/toy/infer", json.dumps(v2(parameters={"binary_data_size": 16})).encode(), 400),
        ("/v2/models/toy/infer", json.dumps(v2(datatype="INT64", data=[2**63, 0])).encode(), 400),
        ("/v2/models/toy/infer", json.dumps(v2(datatype="INT8", data=[1.5, 0])).encode(), 400),
        ("/v2/models/%00/infer", b"{}", 404),
        ("/v2/models/toy/versions/%2e%2e/infer", b"{}", 404),
        ("/endpoints/..%2f..%2f/invocations", b"{}", 404),
        ("/v2/models//infer", b"{}", 404),
        ("/v2/models/toy/explode", b"{}", 404),
        ("/invocations", b" " * (1 << 20) + b"{}", 413),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(numbers: Site, path: str, body: bytes, status: int) -> None:
    answer = numbers.post(path, body)
    told(answer)
    assert answer.status == status, answer.body


def test_a_small_body_that_unpacks_to_a_large_one(numbers: Site) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    for encoding, body in (("gzip", bomb), ("deflate", zlib.compress(bytes(64 << 20))), ("gzip", gzip.compress(bomb))):
        answer = numbers.post("/invocations", body, content_encoding=encoding)
        told(answer)
        assert answer.status in {400, 413}


@pytest.mark.parametrize("length", ["0", "3", "100000", "-1", "+9", "0x5", "９", "1" * 5_000, ""])
def test_a_length_that_lies(numbers: Site, length: str) -> None:
    body = json.dumps(v2()).encode()
    lie = {"Inference-Header-Content-Length": length.encode("utf-8").decode("latin-1")}
    answer = numbers.request("POST", PATHS[0], body, lie)
    told(answer)
    assert answer.status == 400


def test_texts_whose_lengths_lie(numbers: Site) -> None:
    for raw in (struct.pack("<I", 2**32 - 1), b"\x01", struct.pack("<I", 5) + b"ab", struct.pack("<I", 1) + b"\xff"):
        head = json.dumps(v2(datatype="BYTES", data=[], parameters={"binary_data_size": len(raw)})).encode()
        answer = numbers.request("POST", PATHS[0], head + raw, {"Inference-Header-Content-Length": str(len(head))})
        told(answer)
        assert answer.status == 400


def test_what_are_no_numbers(numbers: Site) -> None:
    """Python's NaN and Infinity are read, and so is null; JSON has neither, so both are answered with null."""
    for given_ in (b"NaN", b"null"):
        answer = numbers.post("/invocations", b'{"instances": [[%s, 1], [2, 3]]}' % given_)
        assert answer.document == {"predictions": [None, 5]}
        answer = numbers.post(PATHS[0], json.dumps(v2()).replace("[2, 3]", f"[2, {given_.decode()}]").encode())
        assert answer.document["outputs"][0]["data"] == [None]
    raw = struct.pack("<2d", math.inf, 1)
    head = json.dumps(v2(data=[], parameters={"binary_data_size": 16}) | {"parameters": {"binary_data_output": True}})
    answer = numbers.request(
        "POST", PATHS[0], head.encode() + raw, {"Inference-Header-Content-Length": str(len(head.encode()))}
    )
    assert answer.body.endswith(struct.pack("<d", math.inf))


def test_integers_beyond_what_floats_hold(tmp_path: Path) -> None:
    source = (
        "class Toy:\n    def __init__(self, number): pass\n    def predict(self, given): return given.reshape(-1)\n"
    )
    signature = {"inputs": [{"type": "long", "name": "id"}]}
    exact = 2**53 + 1
    with site(tmp_path, toy(tmp_path, 0, 1, source=source) | {"signature": signature}) as host:
        body = {"inputs": [{"name": "id", "shape": [1, 1], "datatype": "INT64", "data": [exact]}]}
        assert host.post(PATHS[0], json.dumps(body).encode()).document["outputs"][0]["data"] == [exact]
        assert host.post("/invocations", b"id\n%d\n" % exact, content_type="text/csv").document == {
            "predictions": [exact]
        }


# --- below HTTP ---------------------------------------------------------------------------------------------------


def converse(site: Site, *parts: bytes) -> bytes:
    """All that comes back until the host closes, or is silent."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=0.5) as connection:
        found = b""
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
            while piece := connection.recv(65_536):
                found += piece
        return found


GOOD = b'{"instances": [[2, 3]]}'
HEAD = b"POST /v1/models/toy:predict HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + b"content-length: %d\r\ncontent-length: 3\r\n\r\n" % len(GOOD) + GOOD,
        HEAD + b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" % len(GOOD) + GOOD,
        HEAD + b"transfer-encoding: chunked, identity\r\n\r\n" + GOOD,
        HEAD + b"transfer-encoding: xchunked\r\n\r\n" + GOOD,
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 0x10\r\n\r\n" + GOOD,
        HEAD + b"content-length : %d\r\n\r\n" % len(GOOD) + GOOD,
        HEAD + b"content-length: %d\n\n" % len(GOOD) + GOOD,
        HEAD + b"x-request-id: a\0b\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + GOOD,
        HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + GOOD,
        b"POST http://other/v2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nGET /",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/models/toy:predict HTTP/1.1\r\n" + b"x: y\r\n" * 30_000 + b"\r\n",
        HEAD + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_malformed_http_is_refused_and_not_read_on(numbers: Site, text: bytes) -> None:
    """One answer at most, which says that it is the client's fault: what follows is no second request."""
    answer = converse(numbers, text)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert not answer or answer.split(b" ", 2)[1][:1] == b"4", answer
    assert numbers.post(PATHS[1], GOOD).document == {"predictions": [5]}


@FUZZ
@given(st.binary(max_size=120), st.integers(0, 200))
def test_no_bytes_stop_a_host(numbers: Site, noise: bytes, place: int) -> None:
    whole = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(GOOD) + GOOD
    with socket.create_connection(("127.0.0.1", numbers.port), timeout=5) as connection:
        connection.sendall(whole[:place] + noise + whole[place:])
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            answer = connection.recv(65_536)
            assert not answer or answer.split(b" ", 2)[1][:1] in b"245", answer
            assert b" 500 " not in answer[:20], answer


def test_a_client_that_leaves_in_the_middle(numbers: Site) -> None:
    for cut in range(10, 160, 10):
        whole = HEAD + b"content-length: %d\r\n\r\n" % len(GOOD) + GOOD
        with socket.create_connection(("127.0.0.1", numbers.port)) as connection:
            connection.sendall(whole[:cut])
    assert numbers.post(PATHS[1], GOOD).document == {"predictions": [5]}
