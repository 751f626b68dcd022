"""Outputs against signatures, and signatures against each other."""

from typing import Any

import pytest

from mlwright.kernel.errors import Invalid
from mlwright.registry.gates import examples, schemas
from mlwright.registry.gates.spec import Tolerance


def column(kind: str, name: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, **({"name": name} if name else {}), **more}


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


PAIR = [column("long", "n"), column("string", "s", required=False)]


@pytest.mark.parametrize(
    ("outputs", "predictions", "rows"),
    [
        ([column("double")], [1, 2.5, float("nan"), None], 4),
        ([column("long")], [1, 2.0], 2),
        ([column("boolean")], [True], 1),
        ([column("datetime")], ["2026-01-01T00:00:00"], 1),
        ([column("string", "label")], ["a", "b"], 2),
        ([column("string", "label")], [{"label": "a"}], 1),
        (PAIR, [{"n": 1, "s": "x"}, {"n": 2, "s": None}], 2),
        (PAIR, [{"n": 1}], 1),
        (PAIR, {"n": [1], "s": ["x"]}, None),
        ([tensor("float64", -1, 2)], [[0.1, 0.9], [1, 0]], 2),
        ([tensor("int64", -1)], [0, 1], 2),
        ([tensor("str", -1)], ["a"], 1),
        ([column("array", items={"type": "double"})], [[1.0], []], 2),
        ([column("object", properties={})], [{"x": 1}], 1),
        ([column("any")], [object()], 1),
    ],
)
def test_outputs_as_the_signature_says(outputs: list[dict[str, Any]], predictions: Any, rows: int | None) -> None:
    assert schemas.problems(outputs, predictions, rows) == []


@pytest.mark.parametrize(
    ("outputs", "predictions", "rows", "problem"),
    [
        ([column("double")], ["x"], 1, "the output: 'x' is a text, not double"),
        ([column("double")], [True], 1, "is a boolean, not double"),
        ([column("long")], [1.5], 1, "is a number, not long"),
        ([column("long")], [None], 1, "a value is missing"),
        ([column("boolean")], [1], 1, "is a whole number, not boolean"),
        ([column("string")], [1], 1, "is a whole number, not string"),
        ([column("double")], [1.0], 2, "1 predictions for 2 rows"),
        ([column("double")], 5, 1, "is a whole number instead of columns"),
        (PAIR, [{"s": "x"}], 1, "there is no column 'n'"),
        (PAIR, [{"n": 1, "z": 1}], 1, "the column 'z' is not in the signature"),
        (PAIR, [{"n": 1}, {"n": "x"}], 2, "n: 'x' is a text"),
        (PAIR, [1, 2], 2, "a list instead of columns n, s"),
        ([tensor("float64", -1, 2)], [[0.1, 0.2, 0.3]], 1, "the shape is [1, 3] instead of [-1, 2]"),
        ([tensor("float64", -1)], [["x"]], 1, "the shape is [1, 1] instead of [-1]"),
        ([tensor("int64", -1)], [0.5], 1, "0.5' is a number, not int64"),
        ([column("array", items={"type": "double"})], [["x"]], 1, "is a list, not array"),
    ],
)
def test_outputs_that_are_not(outputs: list[dict[str, Any]], predictions: Any, rows: int, problem: str) -> None:
    assert any(problem in each for each in schemas.problems(outputs, predictions, rows))


def signature(inputs: list[dict[str, Any]], **more: Any) -> dict[str, object]:
    return {"inputs": inputs, **more}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (signature(PAIR), signature(PAIR)),
        (signature([column("integer", "n")]), signature([column("long", "n")])),
        (signature([column("float", "x")]), signature([column("double", "x")])),
        (signature([column("long", "n")]), signature([column("long", "n"), column("long", "m", required=False)])),
        (signature([column("long", "n")]), signature([column("long", "n", required=False)])),
        (signature(PAIR), signature(PAIR[:1])),
        (
            signature(PAIR, outputs=[column("long", "y")]),
            signature(PAIR, outputs=[column("long", "y"), column("long", "z")]),
        ),
        (signature([tensor("float64", -1, 4)]), signature([tensor("float64", -1, 4)])),
        ({}, {}),
    ],
)
def test_changes_that_break_nobody(before: dict[str, object], after: dict[str, object]) -> None:
    assert schemas.breaks(before, after) == []


@pytest.mark.parametrize(
    ("before", "after", "broken"),
    [
        (PAIR, [*PAIR, column("long", "m")], "the required column 'm' was added"),
        (PAIR, PAIR[1:], "the required column 'n' was removed"),
        (PAIR, [PAIR[0], column("string", "s")], "the column 's' has become required"),
        (PAIR, [column("string", "n"), PAIR[1]], "the column 'n' was long and is string"),
        ([column("long", "n")], [column("integer", "n")], "was long and is integer"),
        (
            [tensor("float64", -1, 4)],
            [tensor("float64", -1, 5)],
            "was tensor float64 [-1, 4] and is tensor float64 [-1, 5]",
        ),
    ],
)
def test_changes_that_break(before: list[dict[str, Any]], after: list[dict[str, Any]], broken: str) -> None:
    assert [each for each in schemas.breaks(signature(before), signature(after)) if broken in each]


def test_outputs_and_parameters_that_somebody_reads_or_sends() -> None:
    old = signature([], outputs=[column("double", "y")], params=[column("long", "depth")])
    new = signature([], outputs=[column("string", "y")], params=[])
    assert schemas.breaks(old, new) == ["the parameter 'depth' is gone", "the output 'y' was double and is string"]


# --- golden rows --------------------------------------------------------------------------------------------------

NEAR = Tolerance(absolute=0.01, relative=0.1)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([1.0, 100.0], [1.05, 109.0]),
        ([1], [1.0]),
        ([float("nan"), float("inf")], [float("nan"), float("inf")]),
        ([{"a": "x"}], [{"a": "x"}]),
        ([[0.0]], [[0.005]]),
        ([None, True], [None, True]),
    ],
)
def test_near_enough(expected: Any, found: Any) -> None:
    assert examples.differences(expected, found, NEAR) == []


@pytest.mark.parametrize(
    ("expected", "found", "where"),
    [
        ([1.0, 100.0], [1.0, 112.0], "[1] is 112.0 instead of 100.0"),
        ([1.0], [1.0, 1.0], "the output is"),
        ([True], [1], "[0] is 1 instead of true"),
        (["a"], ["b"], '[0] is "b" instead of "a"'),
        ([{"a": 1}], [{"b": 1}], "[0] is"),
        ([1.0], [float("nan")], "[0] is NaN instead of 1.0"),
        ([float("inf")], [1e308], "[0] is 1e+308 instead of Infinity"),
        ([1.0], [None], "[0] is null"),
    ],
)
def test_too_far(expected: Any, found: Any, where: str) -> None:
    (only,) = examples.differences(expected, found, NEAR)
    assert where in only


def test_a_long_list_of_differences_is_cut() -> None:
    assert len(examples.differences([0.0] * 50, [5.0] * 50, NEAR)) == 3


def test_input_examples_of_older_clients(tmp_path: Any) -> None:
    path = tmp_path / "input_example.json"
    path.write_text('{"columns": ["a"], "data": [[1]]}')
    assert examples.example(tmp_path) == {"dataframe_split": {"columns": ["a"], "data": [[1]]}}
    path.write_text("[[1.0, 2.0]]")
    assert examples.example(tmp_path) == {"inputs": [[1.0, 2.0]]}
    (tmp_path / "serving_input_example.json").write_text('{"messages": []}')
    with pytest.raises(Invalid, match="no request"):
        examples.example(tmp_path)
