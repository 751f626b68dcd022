"""The same queries on the same data go to MLflow's own store and to ours: same runs, same order, same refusals."""

import json
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid
from mlwright.kernel.search import grammar
from mlwright.tracking.search import (
    DatasetFilter,
    ModelOrder,
    ViewType,
    search_experiments,
    search_logged_models,
    search_runs,
)
from tests.components import mlflow_environment, mlflow_python
from tests.unit.tracking import search_world as world

pytestmark = pytest.mark.component

FACTS = world.make_world(11, count=60)
RUN_IDS = [fact.run_id for fact in FACTS]
PROFILE = settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _experiments() -> list[dict[str, Any]]:
    chance = random.Random(2)
    names = ["first", "other", "Other", "it's", "a%b", "日本"]
    return [
        {
            "id": number, "name": name, "active": int(number != 3), "created_ms": chance.choice(world.TIMES),
            "updated_ms": chance.choice(world.TIMES),
            "tags": {key: chance.choice(world.TEXTS) for key in world.KEYS if chance.random() < 0.5},
        }
        for number, name in enumerate(names, 1)
    ]  # fmt: skip


def _models() -> list[dict[str, Any]]:
    chance = random.Random(3)
    found = []
    for number in range(1, 31):
        metrics = {}
        for _ in range(chance.randint(0, 6)):
            key, time, step, run = (
                chance.choice(["f1", "loss"]),
                chance.choice(world.TIMES),
                chance.randint(0, 2),
                RUN_IDS[0],
            )
            name = chance.choice([None, "train", "test set"])
            metrics[key, time, step] = {
                "key": key, "timestamp_ms": time, "step": step, "run_id": run, "value": chance.choice(world.NUMBERS),
                "dataset_name": name, "dataset_digest": name and chance.choice(["d0", "d1"]),
            }  # fmt: skip
        found.append(
            {
                "id": number, "model_id": f"m-{chance.getrandbits(128):032x}", "experiment_id": chance.randint(1, 2),
                "name": chance.choice(["tree", "Tree", "net%"]), "artifact_uri": f"s3://x/{number}",
                "created_ms": chance.choice(world.TIMES), "updated_ms": chance.choice(world.TIMES),
                "status": chance.choice([1, 2, 3]), "model_type": chance.choice([None, "a", "b"]),
                "source_run_id": chance.choice([None, RUN_IDS[0]]), "active": int(chance.random() < 0.9),
                "params": {key: chance.choice(world.TEXTS) for key in world.KEYS if chance.random() < 0.5},
                "tags": {key: chance.choice(world.TEXTS) for key in world.KEYS if chance.random() < 0.5},
                "metrics": list(metrics.values()),
            }
        )  # fmt: skip
    return found


EXPERIMENTS, MODELS = _experiments(), _models()


def _reader() -> world.SqliteReader:
    reader = world.loaded(FACTS)
    for each in EXPERIMENTS:
        row = {name: value for name, value in each.items() if name != "tags"}
        reader.insert("experiments", [row | {"project": "default", "artifact_location": "x"}])
        tags = [{"experiment_id": each["id"], "key": key, "value": value} for key, value in each["tags"].items()]
        reader.insert("experiment_tags", tags)
    for each in MODELS:
        own = {name: value for name, value in each.items() if name not in ("params", "tags", "metrics")}
        reader.insert("logged_models", [own])
        for kind in ("params", "tags"):
            pairs = [{"model": each["id"], "key": key, "value": value} for key, value in each[kind].items()]
            reader.insert(f"logged_model_{kind}", pairs)
        reader.insert(
            "logged_model_metrics", [metric | {"model": each["id"], "is_nan": 0} for metric in each["metrics"]]
        )
    return reader


class Peer:
    """MLflow in its own interpreter, spoken to in JSON lines."""

    def __init__(self, python: Path, folder: Path) -> None:
        script = Path(__file__).with_name("search_peer.py")
        self.process = subprocess.Popen(
            [python, script, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=mlflow_environment(),
        )  # fmt: skip

    def ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    found = Peer(mlflow_python("3.17.2"), tmp_path_factory.mktemp("search-peer"))
    try:
        data = {"experiments": EXPERIMENTS, "models": MODELS, "runs": [asdict(fact) for fact in FACTS]}
        for fact, run in zip(FACTS, data["runs"], strict=True):
            run["artifact_uri"] = fact.artifact_uri
        assert found.ask(load=data) == {"ids": []}
        yield found
    finally:
        found.close()


READER = _reader()


def _normal(message: str) -> str:
    """The message with the words of each printed set in order, for MLflow prints them in any."""
    return re.sub(r"\{([^{}]*)\}", lambda found: "{" + ", ".join(sorted(found[1].split(", "))) + "}", message)


def _same(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Both found the same or both refused; a crash of MLflow counts as a refusal in other words.

    Times beyond 64 bits are refused by MLflow's database driver; here they are greater than all others.
    """
    if "OverflowError" in theirs.get("crash", "") or "int too large" in theirs.get("error", ""):
        return
    if "crash" in theirs or theirs.get("error", "").startswith("(sqlite3."):
        assert "error" in ours
    elif "error" in theirs:
        assert _normal(ours["error"]) == _normal(theirs["error"])
    else:
        assert ours == theirs


def _runs(peer: Peer, text: str, order_by: list[str], view: ViewType, experiments: list[int]) -> None:
    theirs = peer.ask(search="runs", filter=text, order_by=order_by, view=int(view), experiments=experiments)
    try:
        page = search_runs(READER, experiments, text, view, order_by, 1000)
        ours: dict[str, Any] = {"ids": [row.run_id for row in page.rows]}
    except Invalid as refused:
        ours = {"error": refused.message}
    _same(theirs, ours)


@given(world.filters(RUN_IDS), world.orders(), st.sampled_from(ViewType), st.sampled_from([[1], [2], [1, 2]]))
@PROFILE
def test_runs(peer: Peer, query: Any, order: Any, view: ViewType, experiments: list[int]) -> None:
    _runs(peer, query[0], order[0], view, experiments)


_PIECES = st.sampled_from(
    ["metrics.a", "metric.`b c`", "params.x", 'tags."t"', "run_id", "status", "\"run name\"", "created", "end_time",
     "attributes.user_id", "dataset.name", "name", "foo", "foo.bar", "metrics.a-b", "metrics.1", "=", "!=", ">", "<=",
     "==", "<>", "LIKE", "ilike", "NOT LIKE", "IN", "not in", "IS NULL", "IS NOT NULL", "BETWEEN", "1", "-1.5", "1e5",
     "1E+5", "+5", "0x1F", "'v'", '"v"', "'it''s'", "v", "`v`", "NaN", "NULL", "TRUE", "('a','b')", "('a')", "(1)",
     "()", "(a)", "AND", "and", "OR", "NOT", ";", ",", "(", ")", "*", "'", '"', "desc", "version_number", "source_path",
     "creation_time", "experiment_id"]
)  # fmt: skip
_BROKEN = st.one_of(
    st.lists(_PIECES, min_size=1, max_size=7).map(" ".join),
    st.tuples(_PIECES, _PIECES, _PIECES).map(" ".join),
)


@given(_BROKEN, st.sampled_from([[], ["metrics.a desc"], ["metrics.a", "metric.a"], ["created", "start_time"]]))
@PROFILE
def test_broken_filters_of_runs(peer: Peer, text: str, order_by: list[str]) -> None:
    _runs(peer, text, order_by, ViewType.ACTIVE_ONLY, [1, 2])


@given(st.tuples(_PIECES, st.sampled_from(["", " asc", " DESC", " x", " ", " desc nulls last", ", a"])).map("".join))
@PROFILE
def test_broken_orders_of_runs(peer: Peer, clause: str) -> None:
    _runs(peer, "", [clause], ViewType.ACTIVE_ONLY, [1])


def _experiment_filters() -> st.SearchStrategy[str]:
    names = st.sampled_from(["name", "attribute.name", "`name`", "experiment_id", "creation_time", "last_update_time"])
    keys = st.sampled_from(["tags.a", "tag.`b c`", 'tags."x/y"'])
    operators = st.sampled_from(
        ["=", "!=", "LIKE", "ILIKE", "like", ">", "<=", "IN", "NOT IN", "IS NULL", "is not null"]
    )
    values = st.sampled_from(["'a'", "'O%'", "'other'", "2000", "2000.5", "'2'", "('1', '3')", '"it\'s"', "'x1'", ""])
    one = st.tuples(names | keys, operators, values).map(" ".join)
    return st.lists(one, max_size=2).map(" AND ".join)


@given(
    _experiment_filters(),
    st.lists(
        st.sampled_from(["name", "creation_time DESC", "last_update_time", "experiment_id desc", "tags.a"]), max_size=2
    ),
    st.sampled_from(ViewType),
)
@PROFILE
def test_experiments(peer: Peer, text: str, order_by: list[str], view: ViewType) -> None:
    theirs = peer.ask(search="experiments", filter=text, order_by=order_by, view=int(view))
    if "ids" in theirs:  # the peer has an experiment 0 of its own, made now
        theirs["ids"] = [number for number in theirs["ids"] if number]
    try:
        page = search_experiments(READER, ["default"], text, view, order_by, 1000)
        ours: dict[str, Any] = {"ids": [row.id for row in page.rows]}
    except Invalid as refused:
        ours = {"error": refused.message}
    _same(theirs, ours)


_MODEL_FIELDS = st.sampled_from(
    ["metrics.f1", "metrics.loss", "name", "creation_timestamp", "model_id", "model_type", "params.a"]
)


def _model_filters() -> st.SearchStrategy[str]:
    numbers = st.tuples(
        st.sampled_from(
            ["metrics.f1", "metrics.`loss`", "creation_time", "creation_timestamp", "last_updated_timestamp_ms"]
        ),
        st.sampled_from([">", "<=", "=", "!=", "LIKE"]),
        st.sampled_from(["1", "2.5", "2000", "'1'"]),
    )
    texts = st.tuples(
        st.sampled_from(["params.a", "tags.`b c`", "name", "attributes.name", "model_type", "model_id", "tag.a"]),
        st.sampled_from(["=", "!=", "like", "ILIKE", ">", "IN", "NOT IN", "IS NULL"]),
        st.sampled_from(["'a'", "'T%'", "'tree'", "('tree', 'a')", '"tree"', ""]),
    )
    return st.lists((numbers | texts).map(" ".join), max_size=2).map(" AND ".join)


@given(
    _model_filters(),
    st.lists(_MODEL_FIELDS, max_size=2, unique=True),
    st.booleans(),
    st.sampled_from([None, "train", "test set"]),
    st.sampled_from([[], [("train", None)], [("train", "d0"), ("test set", "d1")]]),
)  # fmt: skip
@PROFILE
def test_logged_models(
    peer: Peer, text: str, fields: list[str], up: bool, on: str | None, datasets: list[tuple[str, str | None]]
) -> None:
    orders = [ModelOrder(field, up, on or "") for field in fields]
    theirs = peer.ask(
        search="models",
        filter=text,
        experiments=[1, 2],
        order_by=[{"field_name": field, "ascending": up, "dataset_name": on} for field in fields],
        datasets=[{"dataset_name": name} | ({"dataset_digest": digest} if digest else {}) for name, digest in datasets],
    )
    try:
        chosen = [DatasetFilter(name, digest or "") for name, digest in datasets]
        page = search_logged_models(READER, [1, 2], text, chosen, orders, 1000)
        ours: dict[str, Any] = {"ids": [row.model_id for row in page.rows]}
    except Invalid as refused:
        ours = {"error": refused.message}
    _same(theirs, ours)


@given(_BROKEN, st.sampled_from(["registered models", "model versions"]))
@PROFILE
def test_the_grammars_of_the_registry(peer: Peer, text: str, kind: str) -> None:
    theirs = peer.ask(search=kind, filter=text)
    own = grammar.REGISTERED_MODELS if kind == "registered models" else grammar.MODEL_VERSIONS
    try:
        found = [
            [each.entity, each.key, each.operator, list(each.value) if isinstance(each.value, tuple) else each.value]
            for each in own.filter(text)
        ]
        ours: dict[str, Any] = {"ids": found}
    except Invalid as refused:
        ours = {"error": refused.message}
    _same(theirs, ours)
