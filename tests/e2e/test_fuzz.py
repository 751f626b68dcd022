"""Random requests to every route: no answer is a 5xx, and every refusal has the shape of its protocol.

`mlflow_routes.json` lists the routes of MLflow 3.17.2 with the fields of their messages: `[type, repeated]`, where a
type is a scalar, a list of enum values, or an object of fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings

from benchmarks.servers import Server
from tests.e2e.harness import API, Answer, Client, components_required, first_traceback, new_server

ROUTES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("mlflow_routes.json").read_text())
FUZZ = settings(
    max_examples=2000 if components_required() else 250,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
ERRORS_WITHOUT_SHAPE = {"/health", "/version", "/graphql", "/get-artifact", "/model-versions/get-artifact"}


@dataclass(frozen=True)
class Site:
    """A running server and names of things that exist in it, so that requests reach beyond the first check."""

    server: Server
    client: Client
    known: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = new_server(tmp_path_factory.mktemp("fuzz"))
    server.start()
    client = Client(server.port)
    try:
        experiment = client.new_experiment("known")
        run_id = client.new_run(experiment)
        metric = {"run_id": run_id, "key": "known", "value": 1.0, "timestamp": 1, "step": 1}
        client.ok("POST", f"{API}/runs/log-metric", metric)
        known = {"run": run_id, "experiment": experiment, "name": "known"}
        yield Site(server, client, known)
        assert first_traceback(server) == ""
    finally:
        client.close()
        server.stop()


def refused_or_done(answer: Answer, path: str) -> None:
    """The property: no 5xx but MLflow's own "not implemented"; refusals are JSON with a code and a message."""
    note(f"{path}: {answer.status} {answer.body[:300]!r}")
    assert answer.status < 500 or (answer.status == 501 and answer.error_code == "NOT_IMPLEMENTED")
    assert b"Traceback" not in answer.body
    if answer.status >= 400 and path.partition("?")[0] not in ERRORS_WITHOUT_SHAPE:
        document = answer.json
        assert isinstance(document.get("error_code"), str)
        assert isinstance(document.get("message"), str)


# --- values ---

INTERESTING = """
0|1|-1|known|KNOWN-RUN|KNOWN-EXPERIMENT|../x|é 模型|metrics.known > 0.5|metrics.known DESC|start_time ASC|1e400|[1]|null
tags.`a b` = 'c' AND params.x != "y"|attributes.status IN ('a')|NaN|Infinity|mlflow.runName|mlflow-artifacts:/x
s3://b/k|file:///etc|runs:/KNOWN-RUN/m|{}"""
TEXT = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "a" * 300, "a\x00b", *INTERESTING[1:].replace("\n", "|").split("|")])
)
INTEGERS = st.one_of(st.integers(-(2**70), 2**70), st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63), 1000]))
NUMBERS = st.one_of(st.floats(), INTEGERS)
GARBAGE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


def of_type(kind: object) -> st.SearchStrategy[Any]:
    """Mostly values of that type, now and then anything."""
    right: st.SearchStrategy[Any]
    if isinstance(kind, list):
        right = st.sampled_from(kind)
    elif isinstance(kind, dict):
        right = st.fixed_dictionaries({}, optional={name: of_type(inner) for name, inner in kind.items()})
    elif kind == "map":
        right = st.dictionaries(TEXT, TEXT, max_size=3)
    elif kind == "int":
        right = st.one_of(INTEGERS, INTEGERS.map(str))
    elif kind == "number":
        right = st.one_of(NUMBERS, st.sampled_from(["NaN", "Infinity", "-Infinity", "1.5"]))
    else:
        right = {"bool": st.booleans()}.get(str(kind), TEXT)
    return st.one_of(right, right, right, GARBAGE)


def body_of(fields: dict[str, list[Any]]) -> st.SearchStrategy[Any]:
    members = {
        name: st.one_of(st.lists(of_type(kind), max_size=3), GARBAGE) if many else of_type(kind)
        for name, (kind, many) in fields.items()
    }
    whole = st.fixed_dictionaries({}, optional=members)
    return st.one_of(whole, whole, whole, whole, GARBAGE)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, Any]:
    """Method, path with its parameters filled in, and a JSON value (for GET: the query string is in the path)."""
    route = draw(st.sampled_from(ROUTES))
    path = str(route["path"])
    if path.startswith("/api/") and draw(st.booleans()):
        path = path.replace("/api/", "/ajax-api/", 1)
    while "{" in path:
        head, _, rest = path.partition("{")
        path = head + quote(draw(TEXT), safe=draw(st.sampled_from(["", "/"]))) + rest.partition("}")[2]
    body = draw(body_of(route["fields"]))
    if route["method"] == "GET":
        query = body if isinstance(body, dict) else {"run_id": body}
        return "GET", f"{path}?{urlencode(query, doseq=True, errors='replace')}", None
    method = route["method"] if draw(st.integers(0, 9)) else draw(st.sampled_from(["GET", "PUT", "PATCH", "DELETE"]))
    return str(method), path, body


ID_FIELDS = {"run_id": "run", "run_uuid": "run", "source_run_id": "run", "experiment_id": "experiment"}


def with_known(value: Any, known: dict[str, str]) -> Any:
    """Put real ids in the places that ask for them."""
    if isinstance(value, str):
        return value.replace("KNOWN-RUN", known["run"]).replace("KNOWN-EXPERIMENT", known["experiment"])
    if isinstance(value, list):
        return [with_known(item, known) for item in value]
    if isinstance(value, dict):
        filled = {key: with_known(item, known) for key, item in value.items()}
        for key, name in ID_FIELDS.items():
            if filled.get(key) in ("", "known", "0"):
                filled[key] = known[name]
        if filled.get("experiment_ids") == [""]:
            filled["experiment_ids"] = [known["experiment"]]
        return filled
    return value


@FUZZ
@given(request=requests())
def test_random_requests_to_mlflows_routes(site: Site, request: tuple[str, str, Any]) -> None:
    method, path, body = request
    body = with_known(body, site.known)
    path = with_known(path, {name: quote(value) for name, value in site.known.items()})
    content = None if body is None else json.dumps(body).encode("utf-8", "replace")
    note(f"{method} {path} {content!r}")
    answer = site.client.request(method, path, content, {"Content-Type": "application/json"})
    refused_or_done(answer, path)


CORE = {
    f"{API}/{verb}"
    for verb in ("runs/log-metric", "runs/log-batch", "runs/search", "runs/update", "runs/log-inputs", "runs/create",
                 "runs/log-parameter", "runs/set-tag", "experiments/search", "experiments/create")
}  # fmt: skip


@FUZZ
@given(data=st.data())
def test_random_bodies_for_the_core_routes_of_a_known_run(site: Site, data: st.DataObject) -> None:
    """The routes that every training script uses get most of the attention, with ids that exist."""
    route = data.draw(
        st.sampled_from([route for route in ROUTES if route["path"] in CORE and route["method"] == "POST"])
    )
    body = data.draw(body_of(route["fields"]))
    if isinstance(body, dict):
        body = with_known(body, site.known)
        body["run_id"] = site.known["run"]
        if route["path"].endswith("search"):
            body["experiment_ids"] = [site.known["experiment"]]
    content = json.dumps(body).encode("utf-8", "replace")
    answer = site.client.request("POST", str(route["path"]), content, {"Content-Type": "application/json"})
    refused_or_done(answer, str(route["path"]))


GOOD: dict[str, dict[str, Any]] = {
    "runs/log-metric": {"run_id": "", "key": "known", "value": 0.5, "timestamp": 2, "step": 2},
    "runs/log-parameter": {"run_id": "", "key": "p", "value": "1"},
    "runs/set-tag": {"run_id": "", "key": "t", "value": "1"},
    "runs/log-batch": {
        "run_id": "",
        "metrics": [{"key": "m", "value": 1.0, "timestamp": 1, "step": 1}],
        "params": [{"key": "q", "value": "1"}],
        "tags": [{"key": "t", "value": "1"}],
    },
    "runs/create": {"experiment_id": "", "start_time": 1, "run_name": "n", "tags": [{"key": "a", "value": "b"}]},
    "runs/update": {"run_id": "", "status": "FINISHED", "end_time": 5, "run_name": "n"},
    "runs/search": {
        "experiment_ids": [""],
        "filter": "metrics.known > 0.1",
        "order_by": ["metrics.known DESC"],
        "max_results": 5,
        "run_view_type": "ALL",
    },
    "runs/log-inputs": {
        "run_id": "",
        "datasets": [
            {
                "dataset": {"name": "d", "digest": "1", "source_type": "local", "source": "{}"},
                "tags": [{"key": "mlflow.data.context", "value": "train"}],
            }
        ],
    },
    "experiments/create": {
        "name": "",
        "artifact_location": "mlflow-artifacts:/x",
        "tags": [{"key": "a", "value": "b"}],
    },
    "experiments/search": {"max_results": 5, "filter": "name = 'x'", "order_by": ["name ASC"], "view_type": "ALL"},
    "logged-models": {"experiment_id": "", "name": "m", "params": [{"key": "a", "value": "b"}], "source_run_id": ""},
    "logged-models/search": {
        "experiment_ids": [""],
        "filter": "metrics.known > 0.1",
        "order_by": [{"field_name": "metrics.known", "ascending": False, "dataset_name": "d"}],
        "max_results": 5,
    },
}


def places(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a JSON value."""
    if isinstance(value, dict):
        return [so_far, *(place for key in value for place in places(value[key], (*so_far, key)))]
    if isinstance(value, list):
        return [so_far, *(place for index in range(len(value)) for place in places(value[index], (*so_far, index)))]
    return [so_far]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(copy[place[0]], place[1:], new)
    return copy


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("verb", list(GOOD))
def test_one_wrong_value_in_a_good_body(site: Site, verb: str, data: st.DataObject) -> None:
    """Everything but one or two values is right, so that the wrong one gets as far as it can."""
    body = with_known(GOOD[verb], site.known)
    for _ in range(data.draw(st.integers(1, 2))):
        body = replaced(body, data.draw(st.sampled_from(places(body))), data.draw(st.one_of(NUMBERS, TEXT, GARBAGE)))
    content = json.dumps(body).encode("utf-8", "replace")
    path = f"{API}/{verb}"
    answer = site.client.request("POST", path, content, {"Content-Type": "application/json"})
    note(f"{content!r}")
    refused_or_done(answer, path)
    run = site.client.get(f"{API}/runs/get?run_id={site.known['run']}")
    assert run.status == 200, "what was accepted cannot be read back"


EXPRESSION_WORDS = r"""
metrics metric params tags attributes run dataset datasets . known `a_b` "q" 's' = != > >= < <= LIKE ILIKE IN AND OR
NOT IS NULL ( ) , 0 1.5 -1e9 '%x_' status start_time run_id created name digest context DESC ASC ` ' " ; -- \ % NaN"""
WORDS = st.sampled_from(EXPRESSION_WORDS.split())


@FUZZ
@given(text=st.one_of(st.lists(WORDS, max_size=12).map(" ".join), st.lists(WORDS, max_size=8).map("".join)))
@pytest.mark.parametrize("field", ["filter", "order_by"])
@pytest.mark.parametrize("what", ["runs", "experiments", "registered-models", "model-versions", "logged-models"])
def test_random_search_expressions(site: Site, what: str, field: str, text: str) -> None:
    body: dict[str, Any] = {"experiment_ids": [site.known["experiment"]]} if what in ("runs", "logged-models") else {}
    body[field] = [{"field_name": text}] if (what, field) == ("logged-models", "order_by") else text
    if field == "order_by" and what != "logged-models":
        body[field] = [text]
    path = f"{API}/{what}/search"
    if what.startswith(("registered", "model-")):
        answer = site.client.get(f"{path}?{urlencode(body, doseq=True)}")
    else:
        answer = site.client.post(path, body)
    refused_or_done(answer, path)


def test_every_route_answers_something(site: Site) -> None:
    """No route of MLflow is a 404 page: it works, refuses in MLflow's shape, or says "not implemented" in it."""
    wrong: list[str] = []
    for route in ROUTES:
        path = str(route["path"]).replace("{", "").replace("}", "")
        content = None if route["method"] == "GET" else b"{}"
        answer = site.client.request(str(route["method"]), path, content, {"Content-Type": "application/json"})
        known = answer.status == 200 or answer.error_code not in ("", "ENDPOINT_NOT_FOUND")
        if not known and path not in ERRORS_WITHOUT_SHAPE:
            wrong.append(f"{route['method']} {path}: {answer.status} {answer.body[:80]!r}")
        if answer.status >= 500 and answer.error_code != "NOT_IMPLEMENTED":
            wrong.append(f"{route['method']} {path}: {answer.status}")
        if answer.status == 405 and path not in ERRORS_WITHOUT_SHAPE:
            wrong.append(f"{route['method']} {path}: 405")
    assert not wrong, "\n".join(wrong)


# --- our own API, from its own description ---


def test_our_own_api_by_its_own_description(site: Site) -> None:
    """schemathesis draws requests from /openapi.json; none of them ends in a 5xx."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_dict(site.client.ok("GET", "/openapi.json"))
    operations = [result.ok() for result in schema.get_all_operations()]
    assert operations
    examples = 60 if components_required() else 10
    for operation in operations:

        @settings(FUZZ, max_examples=examples)
        @given(case=operation.as_strategy())
        def no_server_error(case: Any) -> None:
            if "events" in case.path and case.method == "GET":
                return  # an endless stream
            answer = case.call(base_url=site.server.url, timeout=30)
            note(f"{case.method} {case.path}: {answer.status_code} {answer.content[:300]!r}")
            assert answer.status_code < 500 or answer.status_code == 501

        no_server_error()
