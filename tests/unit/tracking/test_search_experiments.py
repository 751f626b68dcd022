"""Search of experiments: projects, order, pages and what is refused."""

from typing import Any

import pytest

from mlwright.kernel.errors import Invalid
from mlwright.tracking.search import ViewType, search_experiments
from tests.unit.tracking.search_world import SqliteReader


@pytest.fixture
def reader() -> SqliteReader:
    found = SqliteReader()
    names = ["Default", "default", "vision", "Vision 50%", "other's"]
    for number, name in enumerate(names):
        row: dict[str, Any] = {
            "id": number,
            "project": "p" if number < 4 else "q",
            "name": name,
            "artifact_location": "x",
        }
        row |= {"active": int(number != 2), "created_ms": 100 * (number // 2), "updated_ms": 10 - number}
        found.insert("experiments", [row])
    found.insert("experiment_tags", [{"experiment_id": 1, "key": "team", "value": "Red"}])
    return found


def ids(reader: SqliteReader, text: str = "", **options: Any) -> list[int]:
    return [row.id for row in search_experiments(reader, options.pop("projects", ["p", "q"]), text, **options).rows]


def test_newest_first_then_by_id(reader: SqliteReader) -> None:
    assert ids(reader, view=ViewType.ALL) == [4, 2, 3, 0, 1]
    assert ids(reader) == [4, 3, 0, 1]
    assert ids(reader, view=ViewType.DELETED_ONLY) == [2]
    assert ids(reader, order_by=["name"]) == [0, 3, 1, 4]
    assert ids(reader, order_by=["creation_time"]) == [1, 0, 3, 4]


def test_only_of_the_projects_named(reader: SqliteReader) -> None:
    assert ids(reader, projects=["q"]) == [4]
    assert ids(reader, projects=[]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name LIKE 'V%'", [3]),
        ("name ILIKE 'v%'", [3]),
        ("name LIKE '%0%'", [3]),
        ('name = "other\'s"', [4]),
        ("name != 'Default'", [4, 3, 1]),
        ("tags.team = 'Red'", [1]),
        ("tag.team ILIKE 'r_d'", [1]),
        ("tags.team IS NULL", [4, 3, 0]),
        ("tags.team IS NOT NULL", [1]),
        ("experiment_id IN ('0', '4')", [4, 0]),
        ("experiment_id NOT IN ('0', '4')", [3, 1]),
        ("experiment_id != '0'", [4, 3, 1]),
        ("creation_time >= 100 AND last_update_time < 7", [4]),
    ],
)
def test_filters(reader: SqliteReader, text: str, expected: list[int]) -> None:
    assert ids(reader, text) == expected


def test_pages(reader: SqliteReader) -> None:
    first = search_experiments(reader, ["p", "q"], max_results=3)
    second = search_experiments(reader, ["p", "q"], max_results=3, page_token=first.next_page_token)
    assert [row.id for row in first.rows + second.rows] == [4, 3, 0, 1]
    assert not second.next_page_token
    assert not search_experiments(reader, ["p", "q"], max_results=4).next_page_token


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name > 'a'", "Invalid comparator '>' not one of '{'!=', '=', 'ILIKE', 'IN', 'LIKE', 'NOT IN'}'"),
        ("name like 'a'", "Invalid comparator 'like' not one of '{'!=', '=', 'ILIKE', 'IN', 'LIKE', 'NOT IN'}'"),
        ("tags.a > 'a'", "Invalid comparator for tag: >"),
        ("experiment_id LIKE '1'", "Invalid comparator for experiment_id: LIKE"),
        ("experiment_id = 'x'", "Invalid experiment ID 'x'. Experiment ID must be a valid integer."),
        ("creation_time > 1.5", "Invalid value for numeric attribute 'creation_time': '1.5'"),
        ("name IS NULL", "IS NULL / IS NOT NULL is only supported for tags, not for attribute 'name'"),
        ("metrics.a > 1", "Invalid entity type 'metrics'. Valid entity types are ('attribute', 'tag', 'tags')"),
        ("name = 'a' OR name = 'b'", "Invalid clause(s) in filter string: OR"),
    ],
)
def test_what_is_refused(reader: SqliteReader, text: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        ids(reader, text)
    assert refused.value.message == message


def test_order_by_tag_is_refused(reader: SqliteReader) -> None:
    with pytest.raises(Invalid, match="Invalid order_by entity: tag"):
        ids(reader, order_by=["tags.team"])
