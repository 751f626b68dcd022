"""`mlwright lineage` on the sample's database: tables, Graphviz, and OpenLineage as its schema has it."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from mlwright.app.commands.lineage import _dot
from mlwright.registry.service.graph import subject_of
from tests.unit.app.sample import fill
from tests.unit.app.test_cli import Run, run  # noqa: F401 - a fixture

SCHEMAS = Path(__file__).parents[2] / "data" / "openlineage"
VERSION = ("model-version/net/1", "--project", "vision")


@pytest.fixture
def sample(run: Run, tmp_path: Path) -> Run:  # noqa: F811 - the fixture
    (tmp_path / "data").mkdir()
    fill(tmp_path / "data")
    return run


def test_a_table_says_what_came_from_what(sample: Run) -> None:
    done = sample("lineage", *VERSION)
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["FROM", "TO", "FACTS"]
    assert [line[1] for line in lines[1:]] == ["read", "registered"]
    assert lines[2][2:] == ["model-version/net/1", "@champion"]
    assert sample("lineage", "models:/net@champion", "--project", "vision").out == done.out
    down = sample("lineage", "dataset/train", "--down", "-o", "json")
    kinds = [node["kind"] for node in json.loads(down.out)["nodes"]]
    assert sorted(kinds) == ["dataset", "model", "model-version", "run"]
    up = yaml.safe_load(sample("lineage", *VERSION, "--up", "-o", "yaml").out)
    assert [node["kind"] for node in up["nodes"]] == ["model-version", "run", "dataset"]


def test_what_is_hit(sample: Run) -> None:
    done = sample("lineage", "dataset/train@d1", "--live", "-o", "json")
    hit = "model-version/net/1?project=vision"
    assert [node["id"] for node in json.loads(done.out)] == [hit]
    assert sample("lineage", hit, "--up").out.split()[-2:] == [hit, "@champion"]
    assert "@champion" in sample("lineage", "dataset/train", "--live").out
    assert sample("lineage", "dataset/train", "--live", "-o", "dot").code == 2


def test_what_is_wrong_is_said(sample: Run) -> None:
    for subject, code, word in (("elephant", 2, "run/…"), ("run/x", 1, "not found"), ("dataset/x", 1, "NAME@DIGEST")):
        done = sample("lineage", subject)
        assert (done.code, word in done.err) == (code, True), done.err


def test_a_cut_graph_says_so(sample: Run) -> None:
    assert "more than is shown" in sample("lineage", "dataset/train", "--down", "--limit", "2").err


def test_dot_is_quoted() -> None:
    node = {"id": 'run/"x"', "kind": "run", "name": 'a "b"\\', "facts": {"verdict": "fail"}}
    found = _dot({"nodes": [node], "edges": [{"source": node["id"], "target": node["id"], "relation": "used"}]})
    assert r'"run/\"x\"" [label="a \"b\"\\\nrun\nfail", shape=box, style=filled, fillcolor=lightcoral];' in found
    assert r'"run/\"x\"" -> "run/\"x\"" [label="used"];' in found


def test_uris_of_mlflow_are_subjects() -> None:
    assert subject_of("runs:/0a") == "run/0a"
    assert subject_of("models:/m-1") == "model/m-1"
    assert subject_of("models:/net/3") == "model-version/net/3"
    assert subject_of("models:/net@best") == "model-version/net@best"
    assert subject_of("dataset/x") == "dataset/x"


def test_openlineage_events_keep_to_the_published_schema(sample: Run) -> None:
    done = sample("lineage", "dataset/train", "--down", "-o", "openlineage")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [(event["eventType"], event["job"]["name"]) for event in events if event["job"]["name"] == "digits"] == [
        ("START", "digits"), ("COMPLETE", "digits"),
    ]  # fmt: skip
    assert [event["eventType"] for event in events if event["job"]["name"] == "register net"] == ["START", "COMPLETE"]
    schemas = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")]
    registry = jsonschema_rs.Registry([(schema["$id"], schema) for schema in schemas])

    def check(address: str, instance: Any) -> None:
        valid = jsonschema_rs.validator_for({"$ref": address}, registry=registry, validate_formats=True)
        valid.validate(instance)

    facets = 0
    for event in events:
        check(event["schemaURL"], event)
        for facet in all_facets(event):
            check(facet["_schemaURL"], facet)
            facets += 1
    assert facets > len(events)
    with pytest.raises(jsonschema_rs.ValidationError):
        check(events[0]["schemaURL"], {**events[0], "run": {"runId": "not a UUID"}})


def all_facets(event: dict[str, Any]) -> list[dict[str, Any]]:
    owners = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    return [facet for owner in owners for facet in owner["facets"].values()]
