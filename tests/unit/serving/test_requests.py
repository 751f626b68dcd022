"""Requests of all dialects: the same rows are the same question, and what is wrong is said, never a defect."""

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid
from mlwright.serving.host import oip, plain
from mlwright.serving.host.answering import Answer
from mlwright.serving.host.state import Revision
from mlwright.serving.host.takes import takes_of
from mlwright.serving.host.tensors import Array, packed, unpacked

NUMBERS = takes_of({"inputs": [{"type": "double", "name": name} for name in ("a", "b", "c")]})
MIXED = takes_of(
    {
        "inputs": [
            {"type": "string", "name": "carrier"},
            {"type": "double", "name": "wind", "required": False},
            {"type": "long", "name": "day"},
        ]
    }
)
TENSOR = takes_of({"inputs": [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]})
ANYTHING = takes_of(None)
REVISION = Revision(1, "m", 7, "/m", "/python", "sklearn")
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
tables = st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=5)


def said(document: Any) -> bytes:
    return json.dumps(document).encode()


def v2(rows: list[list[float]], **more: Any) -> bytes:
    flat = [value for row in rows for value in row]
    tensor = {"name": "x", "shape": [len(rows), 3], "datatype": "FP64", "data": flat, **more}
    return said({"inputs": [tensor]})


@given(tables)
def test_one_question_in_all_dialects(rows: list[list[float]]) -> None:
    records = [dict(zip("abc", row, strict=True)) for row in rows]
    swapped = [[row[2], row[0], row[1]] for row in rows]
    columns = {name: [row[place] for row in rows] for place, name in enumerate("abc")}
    lines = "\n".join(["a,b,c", *(",".join(map(repr, row)) for row in rows)]).encode()
    raw = struct.pack(f"<{3 * len(rows)}d", *(value for row in rows for value in row))
    binary = said(
        {"inputs": [{"name": "x", "shape": [len(rows), 3], "datatype": "FP64",
                     "parameters": {"binary_data_size": len(raw)}}]}
    )  # fmt: skip
    single = [{"name": name, "shape": [len(rows), 1], "datatype": "FP64", "data": columns[name]} for name in "cab"]
    length = {b"inference-header-content-length": b"%d" % len(binary)}
    asked = [
        oip.read(v2(rows), {}, NUMBERS),
        oip.read(v2(rows, data=rows), {}, NUMBERS),
        oip.read(binary + raw, length, NUMBERS),
        oip.read(said({"inputs": single}), {}, NUMBERS),
        plain.read_v1(said({"instances": rows}), {}, NUMBERS),
        plain.read_v1(said({"instances": records}), {}, NUMBERS),
        plain.read_v1(said({"inputs": columns}), {}, NUMBERS),
        plain.read_invocation(said({"dataframe_split": {"columns": list("cab"), "data": swapped}}), {}, NUMBERS),
        plain.read_invocation(said({"dataframe_records": records}), {}, NUMBERS),
        plain.read_invocation(said({"instances": rows}), {}, NUMBERS),
        plain.read_invocation(said({"inputs": columns}), {}, NUMBERS),
        plain.read_invocation(lines, {b"content-type": b"text/csv; charset=utf-8"}, NUMBERS),
    ]
    assert {each.asked for each in asked} == {asked[0].asked}
    assert asked[0].asked.arrays == (raw,)


def test_columns_of_several_types() -> None:
    rows = {"columns": ["day", "wind", "carrier"], "data": [[3, None, "UA"], [4, 1.5, None]]}
    asked = plain.read_invocation(said({"dataframe_split": rows}), {}, MIXED).asked
    assert (asked.rows, asked.shape.names, asked.shape.datatypes) == (
        2, ("carrier", "wind", "day"), ("BYTES", "FP64", "INT64"),
    )  # fmt: skip
    assert asked.arrays[0] == ["UA", None]
    wind = unpacked("FP64", asked.arrays[1])  # type: ignore[arg-type]
    assert math.isnan(wind[0])
    without = plain.read_invocation(said({"dataframe_records": [{"carrier": "UA", "day": 3}]}), {}, MIXED).asked
    assert without.shape.names == ("carrier", "day")


def test_a_tensor_is_converted_and_its_shape_kept() -> None:
    asked = oip.read(v2([[1, 2, 3]], datatype="INT32"), {}, TENSOR).asked
    assert (asked.shape.datatypes, asked.arrays) == (("FP32",), (struct.pack("<3f", 1, 2, 3),))
    with pytest.raises(Invalid, match=r"shape \[1, 2\] instead of \[-1, 3\]"):
        oip.read(v2([[1, 2, 3]], shape=[1, 2], data=[1, 2]), {}, TENSOR)


def test_without_a_signature_what_comes_is_taken() -> None:
    table = plain.read_invocation(said({"dataframe_split": {"columns": ["n", "t"], "data": [[1, "x"]]}}), {}, ANYTHING)
    assert (table.asked.shape.table, table.asked.shape.datatypes) == (("n", "t"), ("INT64", "BYTES"))
    assert oip.read(v2([[1, 2, 3]]), {}, ANYTHING).asked.shape.names == ("x",)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "exactly one"),
        ({"instances": [[1, 2, 3]], "inputs": []}, "exactly one"),
        ({"instances": []}, "one entry per row"),
        ({"instances": [[1, 2]]}, "has not 3 values"),
        ({"instances": [[1, 2, "x"]]}, "no FP64"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}, r"missing inputs \['c'\]"),
        ({"dataframe_split": [1]}, "columns and data"),
        ({"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"a": 1}]}, "a row has no 'b'"),
        ({"inputs": {"a": [1], "b": [1, 2], "c": [1]}}, "same number of rows"),
    ],
)
def test_what_is_wrong_with_an_invocation_is_said(document: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        plain.read_invocation(said(document), {}, NUMBERS)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"data": [1, 2]}, "has 2 values instead of 3"),
        ({"datatype": "FP128"}, "unknown datatype"),
        ({"shape": []}, "no shape"),
        ({"shape": [-1, 3]}, "no shape"),
        ({"shape": [0, 3], "data": []}, "no rows"),
        ({"data": [1, [2], 3]}, "no FP64"),
        ({"parameters": {"binary_data_size": 24}}, "has not 24 bytes"),
        ({"name": "y", "shape": [1, 1], "data": [1]}, "missing inputs"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(tensor: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        oip.read(v2([[1, 2, 3]], **tensor), {}, NUMBERS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
documents = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("instances", "inputs", "dataframe_split", "params"), json_values)
    ),
    st.fixed_dictionaries(
        {
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": st.sampled_from(["x", "a", "carrier", ""]),
                        "shape": st.lists(st.integers(-1, 4), max_size=3),
                        "datatype": st.sampled_from(["FP64", "BYTES", "INT8", "BOOL", "FP16", "Q"]),
                    },
                    optional={"data": json_values, "parameters": json_values},
                ),
                max_size=3,
            )
        }
    ),
)


@settings(max_examples=300)
@example({"dataframe_split": {"columns": [], "data": [[]]}}, ANYTHING, b"")
@given(documents, st.sampled_from([NUMBERS, MIXED, TENSOR, ANYTHING]), st.binary(max_size=30))
def test_no_request_is_a_defect(document: Any, takes: Any, rest: bytes) -> None:
    body = json.dumps(document).encode()
    lengths: list[dict[bytes, bytes]] = [{}, {b"inference-header-content-length": b"%d" % len(body)}]
    for read, headers in (
        (oip.read, lengths[0]),
        (oip.read, lengths[1]),
        (plain.read_v1, {}),
        (plain.read_invocation, {}),
    ):
        for text in (body, body + rest, rest):
            try:
                asked = read(text, headers, takes).asked
            except Invalid:
                continue
            assert asked.rows > 0


@given(st.sampled_from(["FP64", "FP32", "FP16", "INT64", "INT8", "UINT16", "BOOL"]), st.lists(st.integers(0, 1)))
def test_numbers_survive_being_bytes(datatype: str, values: list[int]) -> None:
    assert unpacked(datatype, packed(datatype, values, "x")) == values


# --- answers ------------------------------------------------------------------------------------------------------

LABELS = Array("label", "INT64", [2], struct.pack("<2q", 0, 1))
CHANCES = Array("chance", "FP32", [2, 2], struct.pack("<4f", 0.25, 0.75, 0.5, 0.5))
TEXTS = Array("text", "BYTES", [2], ["é", "b"])


def test_an_answer_in_binary_where_it_was_asked_for() -> None:
    reading = oip.read(
        said({"id": "7", "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}],
              "outputs": [{"name": "text", "parameters": {"binary_data": True}}, {"name": "label"}]}),
        {}, NUMBERS,
    )  # fmt: skip
    reply = oip.DIALECT.write(reading, Answer([LABELS, CHANCES, TEXTS], "arrays"), "m", REVISION)
    length = int(dict(reply.headers)[b"inference-header-content-length"])
    document = json.loads(reply.body[:length])
    assert (document["id"], document["model_version"]) == ("7", "7")
    text, label = document["outputs"]
    assert (text["parameters"], label["data"]) == ({"binary_data_size": 11}, [0, 1])
    assert oip.texts_of(reply.body[length:], "text") == ["é", "b"]


def test_answers_by_row() -> None:
    reading = plain.read_v1(said({"instances": [[1, 2, 3]]}), {}, NUMBERS)
    write = plain.V1.write
    assert json.loads(write(reading, Answer([CHANCES], "array"), "m", REVISION).body) == {
        "predictions": [[0.25, 0.75], [0.5, 0.5]]
    }
    assert json.loads(write(reading, Answer([LABELS, TEXTS], "table"), "m", REVISION).body) == {
        "predictions": [{"label": 0, "text": "é"}, {"label": 1, "text": "b"}]
    }
