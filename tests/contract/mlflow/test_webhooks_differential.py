"""MLflow's webhooks, call by call and message by message: as a real MLflow server tells them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.mlflow.pair import Pair
from tests.contract.mlflow.test_registry_differential import MODELS, VERSIONS
from tests.receiver import Answer, Receiver, Told, receiving

pytestmark = pytest.mark.xdist_group("mlflow-protocol")
HOOKS, HOOK = "webhooks", "webhooks/{hook}"
EVENTS = [
    ("REGISTERED_MODEL", "CREATED"), ("MODEL_VERSION", "CREATED"), ("MODEL_VERSION_TAG", "SET"),
    ("MODEL_VERSION_TAG", "DELETED"), ("MODEL_VERSION_ALIAS", "CREATED"), ("MODEL_VERSION_ALIAS", "DELETED"),
    ("PROMPT", "CREATED"), ("PROMPT_VERSION", "CREATED"), ("PROMPT_TAG", "SET"), ("PROMPT_TAG", "DELETED"),
    ("PROMPT_VERSION_TAG", "SET"), ("PROMPT_VERSION_TAG", "DELETED"), ("PROMPT_ALIAS", "CREATED"),
    ("PROMPT_ALIAS", "DELETED"), ("BUDGET_POLICY", "EXCEEDED"),
]  # fmt: skip
SOME: dict[str, Any] = {"name": "ci", "url": "https://ci.example.org/hook", "events": [{"entity": 2, "action": 1}]}
OURS, THEIRS = "from-mlwright", "from-mlflow"
IS_PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def event(entity: str, action: str) -> dict[str, str]:
    return {"entity": entity, "action": action}


def create(pair: Pair, **message: Any) -> None:
    pair.call("POST", HOOKS, {**SOME, **message}, learn={"hook": "webhook.webhook_id"})


def test_a_webhook_from_first_to_last(pair: Pair) -> None:
    create(pair, description="tells CI", secret="s3cret", status="DISABLED")
    pair.call("GET", HOOK)
    changes: list[dict[str, Any]] = [
        {"name": "ci.2"},
        {"description": ""},
        {"url": "http://other.example.org:8080/a?b=c"},
        {"events": [event("PROMPT", "CREATED"), event("MODEL_VERSION_TAG", "SET")]},
        {"events": []},
        {"status": "ACTIVE"},
        {"status": 2},
        {"secret": ""},
        {"name": "", "url": ""},
        {},
    ]
    for change in changes:
        pair.call("PATCH", HOOK, change)
        pair.call("GET", HOOK)
    pair.call("DELETE", HOOK)
    for method, path in (("GET", HOOK), ("PATCH", HOOK), ("DELETE", HOOK), ("POST", f"{HOOK}/test")):
        pair.call(method, path)
    pair.call("GET", f"{HOOKS}/nothing")


def test_what_is_refused(pair: Pair) -> None:
    for name in ("", "-a", "a-", "a b", "é", "x" * 63, "x" * 64, "A.b_c-1", "a\n"):
        pair.call("POST", HOOKS, {**SOME, "name": name})
    for url in ("", "  ", "ftp://example.org", "example.org", "https://", "https:///x", "http://[::1", "HTTPS://e.org"):
        pair.call("POST", HOOKS, {**SOME, "url": url})
    for missing in SOME:
        pair.call("POST", HOOKS, {key: value for key, value in SOME.items() if key != missing})
    for entity, action in (("MODEL_VERSION", "UPDATED"), ("PROMPT", "SET"), ("BUDGET_POLICY", "CREATED")):
        pair.call("POST", HOOKS, {**SOME, "events": [event(entity, action)]})
    create(pair)
    for change in ({"name": "a b"}, {"url": "ftp://x"}, {"events": [event("PROMPT", "SET")]}):
        pair.call("PATCH", HOOK, change)
    for entity, action in EVENTS:
        pair.call("PATCH", HOOK, {"events": [event(entity, action)]})
    for page in ({"max_results": -1}, {"max_results": 1001}, {"page_token": "?"}, {"page_token": "e30="}):
        pair.call("GET", HOOKS, page)
    pair.call("DELETE", HOOK)


def test_pages(pair: Pair) -> None:
    """Newest first; tokens are each server's own."""
    known: list[list[str]] = []
    for number in range(3):
        pair.call("POST", HOOKS, {**SOME, "name": f"page-{number}"}, learn={f"hook{number}": "webhook.webhook_id"})
    for side in (pair.ours, pair.theirs):
        names: list[str] = []
        token = ""
        while len(names) < 3:
            page = side.send("GET", HOOKS, {"max_results": 2, **({"page_token": token} if token else {})}, None).json()
            names += [each["name"] for each in page["webhooks"]]
            token = page.get("next_page_token", "")
        known.append(names[:3])
    assert known[0] == known[1] == ["page-2", "page-1", "page-0"]
    for number in range(3):
        pair.call("DELETE", f"{HOOKS}/{{hook{number}}}")


def both_ways(pair: Pair, receiver: Receiver, **message: Any) -> None:
    """A webhook on each server, which leads to a path of its own."""
    pair.label("end", OURS, THEIRS)
    for label, side in ((OURS, pair.ours), (THEIRS, pair.theirs)):
        found = side.send("POST", HOOKS, {**SOME, "url": f"{receiver.url}/{label}", **message}, None).json()
        side.learn("hook", found["webhook"]["webhook_id"])


def told(receiver: Receiver, count: int) -> tuple[list[Told], list[Told]]:
    """What both servers told; MLflow sends several messages at once, in any order."""
    found = receiver.all(2 * count)
    ours, theirs = ([each for each in found if each.path == f"/{label}"] for label in (OURS, THEIRS))
    return ours, sorted(theirs, key=lambda each: each.json["timestamp"])


def shape(each: Told) -> dict[str, Any]:
    """A message without its times, and the headers that matter."""
    message = each.json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", message.pop("timestamp"))
    assert uuid.UUID(each.headers["x-mlflow-delivery-id"]).version == 4
    assert each.headers["x-mlflow-timestamp"].isdigit()
    names = sorted(name for name in each.headers if name.startswith("x-mlflow"))
    return {**message, "headers": names, "type": each.headers["content-type"]}


def test_examples(pair: Pair, receiver: Receiver) -> None:
    both_ways(pair, receiver, secret="s3cret")
    for entity, action in EVENTS:
        pair.call("POST", f"{HOOK}/test", {"event": event(entity, action)})
        ours, theirs = told(receiver, 1)
        assert shape(ours[0]) == shape(theirs[0])
    pair.call("PATCH", HOOK, {"events": [event("PROMPT", "CREATED"), event("MODEL_VERSION", "CREATED")]})
    pair.call("POST", f"{HOOK}/test")
    assert told(receiver, 1)[0][0].event == "model_version.created"
    receiver.answer = lambda _: Answer(404, body=b"nobody here")
    pair.call("POST", f"{HOOK}/test")
    pair.call("POST", f"{HOOK}/test", {"event": event("PROMPT", "SET")})
    pair.call("DELETE", HOOK)


def test_what_happens_is_told(pair: Pair, receiver: Receiver) -> None:
    name = f"told-{uuid.uuid4().hex[:12]}"
    pair.label("told", name, name)
    both_ways(pair, receiver, secret="s3cret", events=[event(*each) for each in EVENTS])
    found = []
    for tags in ([{"key": "team", "value": "blue"}], [IS_PROMPT, {"key": "team", "value": "blue"}]):
        for method, path, message in story(name if len(tags) == 1 else f"{name}-prompt", tags):
            pair.call(method, path, message)
            found.append(path)
    quiet = 2  # a model's own tags are not told
    ours, theirs = told(receiver, len(found) - quiet)
    assert sorted(map(json.dumps, map(shape, ours))) == sorted(map(json.dumps, map(shape, theirs)))
    assert [each.event for each in ours][:3] == [
        "registered_model.created",
        "model_version.created",
        "model_version_tag.set",
    ]
    for each in [*ours, *theirs]:
        signed = f"{each.headers['x-mlflow-delivery-id']}.{each.headers['x-mlflow-timestamp']}.".encode() + each.body
        digest = hmac.new(b"s3cret", signed, hashlib.sha256).digest()
        assert each.headers["x-mlflow-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    pair.call("PATCH", HOOK, {"status": "DISABLED"})
    pair.call("POST", f"{MODELS}/create", {"name": f"{name}-unseen"}, compare=False)
    pair.call("PATCH", HOOK, {"status": "ACTIVE", "secret": "", "events": [event("REGISTERED_MODEL", "CREATED")]})
    pair.call("POST", f"{MODELS}/create", {"name": f"{name}-seen"}, compare=False)
    ours, theirs = told(receiver, 1)
    assert shape(ours[0]) == shape(theirs[0])
    assert "x-mlflow-signature" not in shape(ours[0])["headers"]
    pair.call("DELETE", HOOK)


def story(name: str, tags: list[dict[str, str]]) -> list[tuple[str, str, dict[str, Any]]]:
    """Everything that can be told of a model or prompt."""
    one, tag = {"name": name, "version": "1"}, {"key": "k", "value": "v"}
    text = [{"key": "mlflow.prompt.text", "value": "Hi {{name}}"}] if len(tags) > 1 else []
    version = {
        "name": name,
        "source": "dummy-source" if text else "s3://bucket/model",
        "tags": [*tags, *text],
        "description": "first",
    }
    return [
        ("POST", f"{MODELS}/create", {"name": name, "tags": tags, "description": "what it is for"}),
        ("POST", f"{VERSIONS}/create", version),
        ("POST", f"{VERSIONS}/set-tag", {**one, **tag}),
        ("DELETE", f"{VERSIONS}/delete-tag", {**one, "key": "k"}),
        ("POST", f"{MODELS}/alias", {**one, "alias": "champion"}),
        ("DELETE", f"{MODELS}/alias", {"name": name, "alias": "champion"}),
        ("POST", f"{MODELS}/set-tag", {"name": name, **tag}),
        ("DELETE", f"{MODELS}/delete-tag", {"name": name, "key": "k"}),
    ]
