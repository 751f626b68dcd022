"""Search of logged models: metrics on datasets, order by the latest value, pages."""

import base64
from typing import Any

import pytest

from mlwright.kernel.errors import Invalid
from mlwright.tracking.search import DatasetFilter, ModelOrder, search_logged_models
from tests.unit.tracking.search_world import SqliteReader


def metric(model: int, value: float | None, time: int, dataset: str | None = None, digest: str | None = None) -> Any:
    return {
        "model": model, "key": "f1", "timestamp_ms": time, "step": 0, "run_id": "r", "value": value,
        "is_nan": int(value is None), "dataset_name": dataset, "dataset_digest": digest,
    }  # fmt: skip


@pytest.fixture
def reader() -> SqliteReader:
    found = SqliteReader()
    for number in range(1, 7):
        row: dict[str, Any] = {
            "id": number,
            "model_id": f"m-{number}",
            "experiment_id": 1 + number // 6,
            "name": "Tree",
        }
        row |= {"artifact_uri": "x", "created_ms": number * 10, "updated_ms": number, "status": 1 + number % 3}
        row |= {"active": int(number != 4), "model_type": "agent" if number == 2 else None}
        found.insert("logged_models", [row])
    found.insert("logged_model_params", [{"model": 1, "key": "depth", "value": "3"}])
    found.insert("logged_model_tags", [{"model": 2, "key": "team", "value": "red"}])
    found.insert(
        "logged_model_metrics",
        [
            metric(1, 0.9, 1, "train", "a"), metric(1, 0.5, 2, "test", "b"),
            metric(2, 0.7, 1, "train", "c"), metric(3, None, 1),
        ],
    )  # fmt: skip
    return found


def ids(reader: SqliteReader, text: str = "", experiments: tuple[int, ...] = (1, 2), **options: Any) -> list[int]:
    return [row.id for row in search_logged_models(reader, experiments, text, **options).rows]


def test_live_models_newest_first(reader: SqliteReader) -> None:
    assert ids(reader) == [6, 5, 3, 2, 1]
    assert ids(reader, experiments=(1,)) == [5, 3, 2, 1]
    assert ids(reader, experiments=()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.f1 > 0.8", [1]),
        ("metrics.f1 != 0.7", [3, 1]),
        ("params.depth = '3'", [1]),
        ("tags.team LIKE 'r%'", [2]),
        ("name ILIKE 'tree' AND model_type = 'agent'", [2]),
        ("model_id IN ('m-1', 'm-5')", [5, 1]),
        ("model_type NOT IN ('x')", [2]),
        ("status = 'READY'", [1]),
        ("attributes.creation_time >= 50", [6, 5]),
        ("experiment_id = '2'", [6]),
    ],
)
def test_filters(reader: SqliteReader, text: str, expected: list[int]) -> None:
    assert ids(reader, text) == expected


def test_datasets_limit_the_metrics(reader: SqliteReader) -> None:
    assert ids(reader, datasets=[DatasetFilter("train")]) == [2, 1]
    assert ids(reader, datasets=[DatasetFilter("train", "a"), DatasetFilter("none")]) == [1]
    assert ids(reader, "metrics.f1 > 0.8", datasets=[DatasetFilter("test")]) == []


def test_order_by_the_latest_value(reader: SqliteReader) -> None:
    """Model 1 has 0.5 last; NaN comes after numbers, missing values last."""
    assert ids(reader, order_by=[ModelOrder("metrics.f1")]) == [1, 2, 3, 6, 5]
    assert ids(reader, order_by=[ModelOrder("metrics.f1", False)]) == [2, 1, 3, 6, 5]
    assert ids(reader, order_by=[ModelOrder("metrics.f1", False, "train")])[:2] == [1, 2]
    assert ids(reader, order_by=[ModelOrder("metrics.f1", True, "train", "c")])[0] == 2
    assert ids(reader, order_by=[ModelOrder("model_type"), ModelOrder("creation_time")]) == [2, 1, 3, 5, 6]


def test_pages_belong_to_their_query(reader: SqliteReader) -> None:
    first = search_logged_models(reader, [1], "name = 'Tree'", max_results=2)
    second = search_logged_models(reader, [1], "name = 'Tree'", max_results=2, page_token=first.next_page_token)
    assert [row.id for row in first.rows + second.rows] == [5, 3, 2, 1]
    assert not second.next_page_token
    with pytest.raises(Invalid, match="Filter string in the page token does not match the requested filter string"):
        search_logged_models(reader, [1], "", max_results=2, page_token=first.next_page_token)
    with pytest.raises(Invalid, match="Experiment IDs in the page token do not match the requested experiment IDs"):
        search_logged_models(reader, [2], "name = 'Tree'", max_results=2, page_token=first.next_page_token)


@pytest.mark.parametrize(
    "token", ["!", "abcd", "é", base64.b64encode(b"[]").decode(), base64.b64encode(b"{}").decode()]
)
def test_a_bad_token_is_refused(reader: SqliteReader, token: str) -> None:
    with pytest.raises(Invalid, match="page token"):
        search_logged_models(reader, [1], page_token=token)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tag.x = 'a'", "Invalid entity type: 'tag'. Expected one of ['attributes', 'metrics', 'params', 'tags']."),
        (
            "metrics.f1 LIKE 'a'",
            "Invalid comparison operator for metrics.f1: 'LIKE'. Expected one of ('<', '<=', '>', '>=', '=', '!=').",
        ),
        ("metrics.f1 > x", "could not convert string to float: 'x'"),
        ("nothing = 'a'", "Invalid logged model search key 'nothing'"),
        ("name IN ('a', 1)", "Expected a list of quoted string values, found ('a', 1)"),
        ("params.x IS NULL", "Invalid comparison: params.xIS NULL. Expected a comparison with 3 tokens."),
        ("  ", "Invalid filter string: '  '. Expected a single SQL expression."),
    ],
)
def test_what_is_refused(reader: SqliteReader, text: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        ids(reader, text)
    assert refused.value.message == message


def test_orders_and_datasets_that_are_refused(reader: SqliteReader) -> None:
    for field, message in [("params.x", "Only metrics are supported"), ("nothing", "Invalid order by field name")]:
        with pytest.raises(Invalid, match=message):
            ids(reader, order_by=[ModelOrder(field)])
    with pytest.raises(Invalid, match="must be specified"):
        ids(reader, datasets=[DatasetFilter("")])
    with pytest.raises(Invalid, match="max_results"):
        ids(reader, max_results=50_001)
