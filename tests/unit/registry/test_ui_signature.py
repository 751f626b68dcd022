"""Signatures as tables: whatever a model says about itself must not break the page."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.registry.ui.signature import Field, read

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "name", "items", "properties", "tensor-spec", "shape", "x"]), inner)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"type": "double", "name": "x", "required": True}, Field("x", "double", True)),
        ({"type": "long"}, Field("0", "long")),
        ({"type": "tensor", "tensor-spec": {"dtype": "f4", "shape": [-1, 28, 28]}}, Field("0", "f4 (-1, 28, 28)")),
        ({"type": "array", "items": {"type": "string"}, "name": "w"}, Field("w", "array(string)")),
        ({"type": "map", "values": {"type": "long"}, "name": "m"}, Field("m", "map(long)")),
        (
            {"type": "object", "properties": {"a": {"type": "long"}, "b": {"type": "double", "required": False}}},
            Field("0", "object{a: long, b?: double}"),
        ),
        ({"name": "t", "type": "double", "default": 0.5, "shape": None}, Field("t", "double", default="0.5")),
        ({"name": "t", "type": "double", "default": [1], "shape": [-1]}, Field("t", "double (-1)", default="[1]")),
        ("odd", Field("0", "odd")),
    ],
)  # fmt: skip
def test_types_in_short(spec: Any, field: Field) -> None:
    found = read({"inputs": [spec]})
    assert found is not None
    assert found.inputs == [field]


def test_nothing_known() -> None:
    assert read(None) is None
    assert read({}) is None
    found = read({"inputs": "not a list", "outputs": None})
    assert found is not None
    assert (found.inputs, found.outputs, found.params) == ([], [], [])


def test_huge_and_deep() -> None:
    deep: dict[str, Any] = {"type": "long"}
    for _ in range(500):
        deep = {"type": "array", "items": deep}
    found = read({"inputs": [deep], "outputs": [{"type": "long"}] * 5_000})
    assert found is not None
    assert found.inputs[0].kind.count("array") == 13
    assert (len(found.outputs), found.cut) == (2_000, True)


@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "params"]), _JSON))
def test_any_signature_can_be_shown(document: dict[str, Any]) -> None:
    found = read(document)
    if found is not None:
        assert all(len(each.kind) <= 400 for part in (found.inputs, found.outputs, found.params) for each in part)
