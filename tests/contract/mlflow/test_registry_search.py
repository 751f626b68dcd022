"""The same queries to both registries: the same models and versions in the same order, and the same refusals."""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.contract.mlflow.pair import Pair

pytestmark = pytest.mark.xdist_group("mlflow-protocol")
PROFILE = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking over two servers takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MODELS, VERSIONS = "registered-models", "model-versions"
TEXTS = ["a", "A", "a%b", "x_y", "it's", "日本", ""]


@pytest.fixture(scope="module")
def world(mlwright_url: str, mlflow_reference: str) -> Iterator[Pair]:
    """Both servers with some models and versions that only these tests have."""
    chance = random.Random(5)
    with contextlib.closing(Pair(mlwright_url, mlflow_reference)) as both:
        start = f"search-{uuid.uuid4().hex[:8]}"
        both.label("start", start, start)
        for model in range(4):
            name = "{start}" + f" {TEXTS[model]}"
            tags = [{"key": key, "value": chance.choice(TEXTS)} for key in ("t", "b c") if chance.random() < 0.7]
            both.call("POST", f"{MODELS}/create", {"name": name, "tags": tags})
            for version in range(chance.randint(1, 5)):
                tags = [{"key": key, "value": chance.choice(TEXTS)} for key in ("t", "b c") if chance.random() < 0.7]
                source = f"s3://bucket/{chance.choice(['a', 'B', 'a_b'])}/{version}"
                message = {"name": name, "source": source, "run_id": chance.choice(["r1", "r2"]), "tags": tags}
                both.call("POST", f"{VERSIONS}/create", message)
        yield both


def _filters(attributes: list[str]) -> st.SearchStrategy[str]:
    fields = st.sampled_from([*attributes, "tags.t", "tag.`b c`", 'tags."t"', "tags.none"])
    operators = st.sampled_from(["=", "!=", "LIKE", "ILIKE", "like", "IN", "NOT IN", "not in", ">", "<="])
    texts = st.sampled_from(["'a'", "'%a%'", "'%A'", "'x_y'", "'r1'", "'it''s'", '"it\'s"', "'s3://bucket/a%'", "''"])
    others = st.sampled_from(["1", "2", "1.5", "('r1', 'r2')", "('r1')", "()", "a", "('a', 1)"])
    one = st.tuples(fields, operators, texts | others).map(" ".join)
    return st.lists(one, max_size=2).map(lambda found: " AND ".join([*found, "name LIKE '{start}%'"]))


MODEL_ORDERS = ["name", "name DESC", "timestamp", "last_updated_timestamp desc", "size", "tags.t", "name x", "`name`"]
VERSION_ORDERS = [
    "name", "name DESC", "version_number", "version_number ASC", "creation_timestamp", "last_updated_timestamp DESC",
    "run_id", "tags.name", "attribute.name", "`name` desc", '"name"', "name, version_number", "",
]  # fmt: skip


def _ask(world: Pair, kind: str, text: str, orders: list[str], size: int) -> None:
    """All pages. Times differ between servers only by ties, which both break by name and version."""
    message: dict[str, Any] = {"filter": text, "order_by": orders, "max_results": size}
    answers = [side.send("GET", f"{kind}/search", message, None) for side in (world.ours, world.theirs)]
    if (
        answers[1].status_code >= 500 or "(sqlite3." in answers[1].text
    ):  # a crash of MLflow counts as a refusal in other words
        assert answers[0].status_code == 400, (message, answers[0].text)
        return
    world.call("GET", f"{kind}/search", message)


@given(_filters(["name", "attribute.name", "size"]), st.lists(st.sampled_from(MODEL_ORDERS), max_size=2))
@PROFILE
def test_models(world: Pair, text: str, orders: list[str]) -> None:
    _ask(world, MODELS, text, orders, 100)


@given(
    _filters(["name", "version_number", "run_id", "source_path", "attributes.name", "stage"]),
    st.lists(st.sampled_from(VERSION_ORDERS), max_size=2),
    st.integers(1, 5),
)
@PROFILE
def test_versions(world: Pair, text: str, orders: list[str], size: int) -> None:
    _ask(world, VERSIONS, text, orders, size)


@pytest.mark.parametrize("kind", [MODELS, VERSIONS])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages(world: Pair, kind: str, size: int) -> None:
    """Page after page, the tokens of MLflow are good for us."""
    message: dict[str, Any] = {"filter": "name LIKE '{start}%'", "order_by": ["name"], "max_results": size}
    while True:
        answer = world.call("GET", f"{kind}/search", message)
        token = answer.get("next_page_token")
        if not token:
            return
        theirs = world.theirs.send("GET", f"{kind}/search", message, None).json()
        assert theirs["next_page_token"] == token
        message["page_token"] = token
