"""What a host says beside predictions: health, the repository, its description, and a page for people."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.hosting import SIGNATURE, Site, site, toy

KEY = "a-key"
KEYS = {"someone": hashlib.sha256(KEY.encode()).hexdigest()}
LOAD, UNLOAD = "/v2/repository/models/toy/load", "/v2/repository/models/toy/unload"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("documents")
    example = folder / "example.json"
    example.write_text(json.dumps({"columns": ["x", "y"], "data": [[41.5, 1], [7, 0]]}))
    outputs: list[dict[str, Any]] = [{"type": "double", "name": name} for name in ("<b>sum</b>", "other")]
    told = {"signature": SIGNATURE | {"outputs": outputs}, "example": str(example)}
    with site(folder, toy(folder, 0, 1) | told, toy(folder, 1, 2)) as found:
        yield found


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("HEAD", "/v2", 200, ""),
        ("GET", "/v2/", 200, ""),
        ("PUT", "/v2/models/toy/infer", 405, "POST"),
        ("GET", "/v1/models/toy:predict", 405, "POST"),
        ("GET", "/endpoints/toy/invocations", 405, "POST"),
        ("GET", LOAD, 405, "POST"),
        ("DELETE", "/v2/models/toy", 405, "GET"),
        ("GET", "/v2/models/none", 404, ""),
        ("GET", "/v2/models/toy/versions/9", 404, ""),
        ("GET", "/endpoints/none", 404, ""),
        ("GET", "/etc/passwd", 404, ""),
        ("POST", "/v2/repository/models/none/load", 404, ""),
    ],
)
def test_what_there_is_and_is_not(host: Site, method: str, path: str, status: int, allow: str) -> None:
    answer = host.request(method, path, None, {})
    assert (answer.status, answer.headers.get("allow", "")) == (status, allow)
    assert status == 200 or "error" in answer.document


def test_the_repository_lists_versions(host: Site) -> None:
    both = [("toy", "1", "READY"), ("toy", "2", "UNAVAILABLE")]
    for body, wanted in ((b"", both), (b"{}", both), (b'{"ready": true}', both[:1])):
        found = host.post("/v2/repository/index", body).document
        assert [(each["name"], each["version"], each["state"]) for each in found] == wanted
    assert host.post("/v2/repository/index", b'{"ready": 1}').status == 400
    assert host.get("/v2/models/toy/versions/2/ready").document == {"name": "toy", "ready": False}
    assert host.get("/v2/models/toy/versions/2/ready").status == 503


def test_only_what_wakes_by_itself_is_unloaded(host: Site) -> None:
    refused = host.post(UNLOAD)
    assert (refused.status, "scaling.min" in refused.document["error"]) == (409, True)
    host.tell(scaling={"min": 0})
    try:
        assert host.post(UNLOAD, b'{"parameters": {"unload_dependents": false}}').status == 200
        (first, _) = host.post("/v2/repository/index").document
        assert (first["state"], first["reason"]) == ("UNAVAILABLE", "it is loaded with the next request")
        assert host.get("/v2/health/ready").document == {"ready": True}
        assert host.values([2, 3]) == [5]
        assert host.post(UNLOAD).status == 200
        assert host.post(LOAD).document == {"name": "toy", "load": True}
        assert host.post("/v2/repository/index", b'{"ready": true}').document[0]["state"] == "READY"
        assert host.post(LOAD, b'{"parameters": {"config": "{}"}}').status == 400
    finally:
        host.tell(scaling={})


def test_keys_guard_what_changes_and_what_is_somebodys_data(host: Site) -> None:
    assert "41.5" in host.get("/endpoints/toy").body.decode()
    host.tell(keys=KEYS)
    try:
        assert host.post(LOAD).status == 401
        for path in ("/endpoints/toy", "/endpoints/toy/openapi.json"):
            assert "41.5" not in host.get(path).body.decode()
            assert "41.5" in host.get(path, authorization=f"Bearer {KEY}").body.decode()
        assert 'name="key"' in host.get("/endpoints/toy").body.decode()
        assert host.get("/endpoints/toy/openapi.json").document["security"] == [{"key": []}]
    finally:
        host.tell(keys={})


def test_the_description_knows_the_columns(host: Site) -> None:
    document = host.get("/endpoints/toy/openapi.json").document
    body = document["paths"]["/endpoints/toy/invocations"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"] == {"dataframe_split": {"columns": ["x", "y"], "data": [[41.5, 1.0]]}}
    records = body["schema"]["oneOf"][1]["properties"]["dataframe_records"]["items"]
    assert records["required"] == ["x", "y"]
    assert set(host.get("/openapi.json").document["paths"]) >= {
        "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{model_name}", "/v2/models/{model_name}/ready",
        "/v2/models/{model_name}/infer",
    }  # fmt: skip


def test_the_page_needs_nothing_from_elsewhere(host: Site) -> None:
    answer = host.get("/endpoints/toy", host="evil'\"<script>.example")
    page = answer.body.decode()
    policy = answer.headers["content-security-policy"]
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"src=|url\(|@import", page)
    assert "<b>sum</b>" not in page
    assert "&lt;b&gt;sum&lt;/b&gt;" in page
    assert "<script>.example" not in page
    assert 'action="toy/invocations"' in page


def test_the_page_in_chinese(host: Site) -> None:
    page = host.get("/endpoints/toy", accept_language="zh-TW,zh;q=0.9").body.decode()
    assert ('lang="zh-TW"' in page, "試試看" in page) == (True, True)
    assert "試試看" not in host.get("/endpoints/toy", accept_language="en, zh-TW;q=0.5").body.decode()


def test_a_list_for_people_and_a_word_for_programs(host: Site) -> None:
    assert host.get("/").document == {"status": "alive"}
    assert '<a href="endpoints/toy">' in host.get("/", accept="text/html").body.decode()


def test_without_a_signature_nothing_is_made_up(tmp_path: Path) -> None:
    with site(tmp_path, toy(tmp_path, 0, 1) | {"signature": {}}) as host:
        assert host.get("/v2/models/toy").document["inputs"] == []
        assert host.get("/endpoints/toy").status == 200
        assert host.get("/endpoints/toy/openapi.json").status == 200
        assert host.values([2, 3]) == [5]
