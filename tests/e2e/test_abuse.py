"""Bad input and bad clients: MLflow's error code and message shape, the right status, no stack trace, no 5xx."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from benchmarks.servers import HOST, Server
from tests.e2e.harness import API, ARTIFACTS, Answer, Client, first_traceback, new_server

SECRET = b"the secret beside the data directory"
MAX_DOUBLE = 1.7976931348623157e308
UNKNOWN_RUN = "0" * 32
IDLE_CONNECTIONS = 1000


@dataclass(frozen=True)
class Site:
    """A running server with a run, and a secret file just outside its data directory."""

    server: Server
    client: Client
    run_id: str
    secret: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("abuse")
    server = new_server(root)
    secret = root / "secret.txt"
    secret.write_bytes(SECRET)
    server.start()
    client = Client(server.port)
    try:
        yield Site(server, client, client.new_run(), secret)
        assert first_traceback(server) == ""
    finally:
        client.close()
        server.stop()


def assert_refused(answer: Answer, status: int, *codes: str) -> None:
    """An error of MLflow's shape: that status, one of the codes, a message without internals."""
    assert answer.status == status, (answer.status, answer.body[:500])
    assert answer.headers["content-type"].startswith("application/json")
    document = answer.json
    assert document["error_code"] in codes, document
    assert isinstance(document["message"], str)
    assert document["message"]
    assert len(answer.body) < 4000, "the message repeats the whole input"
    assert_no_internals(answer)


def assert_no_internals(answer: Answer) -> None:
    for word in (b"Traceback", b'File "', b"sqlite3.", b"sqlalchemy", b"site-packages"):
        assert word not in answer.body, answer.body[:500]


def is_healthy(port: int) -> bool:
    with contextlib.closing(Client(port)) as client:
        return client.get("/health").body == b"OK"


INVALID = "INVALID_PARAMETER_VALUE"

# --- values ---


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("NaN", "NaN"), ("Infinity", MAX_DOUBLE), ("-Infinity", -MAX_DOUBLE), (1e-320, 1e-320), (-0.0, -0.0)],
)
def test_special_numbers_are_kept_as_mlflow_keeps_them(site: Site, sent: object, kept: object) -> None:
    run_id = site.client.new_run()
    body = {"run_id": run_id, "key": "m", "value": sent, "timestamp": 1, "step": 0}
    assert site.client.post(f"{API}/runs/log-metric", body).status == 200
    run = site.client.ok("GET", f"{API}/runs/get?run_id={run_id}")["run"]
    assert run["data"]["metrics"][0]["value"] == kept
    points = site.client.ok("GET", f"{API}/metrics/get-history?run_id={run_id}&metric_key=m")["metrics"]
    assert [point["value"] for point in points] == [kept]


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"])
def test_bare_tokens_beyond_json_are_taken_or_refused(site: Site, token: bytes) -> None:
    body = b'{"run_id":"%s","key":"bare","value":%s,"timestamp":1,"step":0}' % (site.run_id.encode(), token)
    answer = site.client.request("POST", f"{API}/runs/log-metric", body, {"Content-Type": "application/json"})
    if answer.status != 200:
        assert_refused(answer, 400, INVALID, "BAD_REQUEST")


@pytest.mark.parametrize("verb", ["log-parameter", "log-batch"])
def test_a_parameter_of_10_mb_is_refused_or_cut(site: Site, verb: str) -> None:
    """MLflow cuts values at 6,000 characters by default; with cutting switched off it refuses them."""
    run_id = site.client.new_run()
    param = {"key": "big", "value": "x" * 10_000_000}
    body = {"run_id": run_id, **param} if verb == "log-parameter" else {"run_id": run_id, "params": [param]}
    answer = site.client.post(f"{API}/runs/{verb}", body)
    if answer.status != 200:
        assert_refused(answer, 400, INVALID)
        return
    kept = site.client.ok("GET", f"{API}/runs/get?run_id={run_id}")["run"]["data"]["params"]
    assert [len(item["value"]) for item in kept] == [6000]


def test_a_tag_of_10_mb_is_refused_or_kept(site: Site) -> None:
    answer = site.client.post(f"{API}/runs/set-tag", {"run_id": site.run_id, "key": "big", "value": "x" * 10_000_000})
    if answer.status != 200:
        assert_refused(answer, 400, INVALID)


def test_a_body_beyond_every_limit_is_refused(site: Site) -> None:
    body = {"run_id": site.run_id, "key": "k", "value": "x" * 70_000_000}
    with contextlib.suppress(OSError):  # the server may hang up while we still send
        answer = site.client.post(f"{API}/runs/log-parameter", body)
        assert answer.status in (400, 413)
        assert_no_internals(answer)
    assert is_healthy(site.server.port)


def test_100_000_metrics_in_one_call_are_refused_whole(site: Site) -> None:
    run_id = site.client.new_run()
    metrics = [{"key": f"k{n}", "value": 1.0, "timestamp": 1, "step": 0} for n in range(100_000)]
    answer = site.client.post(f"{API}/runs/log-batch", {"run_id": run_id, "metrics": metrics})
    assert_refused(answer, 400, INVALID)
    assert "1000" in answer.json["message"]
    assert "metrics" not in site.client.ok("GET", f"{API}/runs/get?run_id={run_id}")["run"].get("data", {})


@pytest.mark.parametrize(("metrics", "params", "tags"), [(1001, 0, 0), (0, 101, 0), (0, 0, 101), (900, 60, 41)])
def test_the_limits_of_a_batch(site: Site, metrics: int, params: int, tags: int) -> None:
    body = {
        "run_id": site.run_id,
        "metrics": [{"key": f"m{n}", "value": 1, "timestamp": 1, "step": 0} for n in range(metrics)],
        "params": [{"key": f"limit{n}", "value": "1"} for n in range(params)],
        "tags": [{"key": f"t{n}", "value": "1"} for n in range(tags)],
    }
    assert_refused(site.client.post(f"{API}/runs/log-batch", body), 400, INVALID)


def test_duplicate_and_changed_parameters(site: Site) -> None:
    run_id = site.client.new_run()
    twice = {"run_id": run_id, "params": [{"key": "p", "value": "1"}, {"key": "p", "value": "2"}]}
    assert_refused(site.client.post(f"{API}/runs/log-batch", twice), 400, INVALID)
    first = {"run_id": run_id, "key": "p", "value": "1"}
    assert site.client.post(f"{API}/runs/log-parameter", first).status == 200
    assert site.client.post(f"{API}/runs/log-parameter", first).status == 200
    changed = site.client.post(f"{API}/runs/log-parameter", {**first, "value": "2"})
    assert_refused(changed, 400, INVALID)
    assert "Changing param values is not allowed" in changed.json["message"]


WRITES: list[tuple[str, dict[str, object]]] = [
    ("log-metric", {"key": "m", "value": 1.0, "timestamp": 1, "step": 0}),
    ("log-parameter", {"key": "p", "value": "1"}),
    ("set-tag", {"key": "t", "value": "1"}),
    ("delete-tag", {"key": "t"}),
    ("log-batch", {"metrics": [{"key": "m", "value": 1.0, "timestamp": 1, "step": 0}]}),
    ("update", {"status": "FINISHED"}),
    ("delete", {}),
    ("restore", {}),
    ("log-inputs", {"datasets": []}),
]


@pytest.mark.parametrize(("verb", "body"), WRITES, ids=[verb for verb, _ in WRITES])
def test_an_unknown_run_does_not_exist(site: Site, verb: str, body: dict[str, object]) -> None:
    answer = site.client.post(f"{API}/runs/{verb}", {"run_id": UNKNOWN_RUN, **body})
    assert_refused(answer, 404, "RESOURCE_DOES_NOT_EXIST")
    assert UNKNOWN_RUN in answer.json["message"]


@pytest.mark.parametrize(("verb", "body"), WRITES, ids=[verb for verb, _ in WRITES])
@pytest.mark.parametrize("run_id", [None, "", 7, [], {"a": 1}, "x" * 3000, "../../etc", "a\x00b", "'; drop table runs"])
def test_a_run_id_that_is_none(site: Site, verb: str, body: dict[str, object], run_id: object) -> None:
    answer = site.client.post(f"{API}/runs/{verb}", {"run_id": run_id, **body})
    assert answer.status in (400, 404), (answer.status, answer.body[:300])
    assert_refused(answer, answer.status, INVALID, "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST")


def test_reads_of_an_unknown_run(site: Site) -> None:
    for path in (f"runs/get?run_id={UNKNOWN_RUN}", f"artifacts/list?run_id={UNKNOWN_RUN}"):
        assert_refused(site.client.get(f"{API}/{path}"), 404, "RESOURCE_DOES_NOT_EXIST")


def test_a_deleted_experiment_takes_no_runs(site: Site) -> None:
    experiment = site.client.new_experiment("to be deleted")
    run_id = site.client.new_run(experiment)
    assert site.client.post(f"{API}/experiments/delete", {"experiment_id": experiment}).status == 200
    answer = site.client.post(f"{API}/runs/create", {"experiment_id": experiment, "start_time": 1})
    assert_refused(answer, 400, INVALID, "INVALID_STATE")
    body = {"run_id": run_id, "key": "m", "value": 1, "timestamp": 1, "step": 0}
    assert_refused(site.client.post(f"{API}/runs/log-metric", body), 400, INVALID)
    assert_refused(
        site.client.post(f"{API}/experiments/create", {"name": "to be deleted"}), 400, "RESOURCE_ALREADY_EXISTS"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"", b"nonsense", b'{"run_id": "a"', b"[1, 2]", b'"text"', b"null", b"7", b"\xff\xfe\x00", b"{}{}",
        b'{"run_id": "\\ud800"}', b'{"a":' * 2000, b"[" * 100_000, b'{"run_id": "a",}', b"\x00" * 100,
    ],
    ids=range(15),
)  # fmt: skip
@pytest.mark.parametrize("verb", ["log-metric", "log-batch", "create", "search", "set-tag"])
def test_broken_json(site: Site, verb: str, body: bytes) -> None:
    answer = site.client.request("POST", f"{API}/runs/{verb}", body, {"Content-Type": "application/json"})
    if verb in ("create", "search") and answer.status == 200:
        assert body in (b"", b"null"), "only an empty body may mean no parameters"
        return
    assert answer.status in (400, 404), (answer.status, answer.body[:300])
    assert_refused(answer, answer.status, INVALID, "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "MALFORMED_REQUEST")


WRONG: list[tuple[str, dict[str, object]]] = [
    ("log-metric", {"key": "m", "value": "a lot", "timestamp": 1, "step": 0}),
    ("log-metric", {"key": "m", "value": [1], "timestamp": 1, "step": 0}),
    ("log-metric", {"key": "m", "value": 1, "timestamp": "yesterday", "step": 0}),
    ("log-metric", {"key": 7, "value": 1, "timestamp": 1, "step": 0}),
    ("log-metric", {"key": "", "value": 1, "timestamp": 1, "step": 0}),
    ("log-metric", {"key": "../m", "value": 1, "timestamp": 1, "step": 0}),
    ("log-metric", {"key": "x" * 251, "value": 1, "timestamp": 1, "step": 0}),
    ("log-metric", {"key": "a\x00b", "value": 1, "timestamp": 1, "step": 0}),
    ("log-metric", {"value": 1, "timestamp": 1, "step": 0}),
    ("log-parameter", {"key": ["p"], "value": "1"}),
    ("log-parameter", {"value": "1"}),
    ("set-tag", {"key": {"a": 1}, "value": "1"}),
    ("log-batch", {"metrics": {"key": "m"}}),
    ("log-batch", {"metrics": [7]}),
    ("log-batch", {"metrics": [{"key": "m"}]}),
    ("log-batch", {"metrics": [None]}),
    ("log-batch", {"params": "p"}),
    ("log-batch", {"tags": [[]]}),
    ("update", {"end_time": "late"}),
    ("search", {"experiment_ids": "0", "max_results": "many"}),
    ("search", {"experiment_ids": ["0"], "max_results": 50_001}),
    ("search", {"experiment_ids": ["0"], "max_results": -1}),
    ("search", {"experiment_ids": ["0"], "filter": "metrics.m >"}),
    ("search", {"experiment_ids": ["0"], "filter": "'" * 500}),
    ("search", {"experiment_ids": ["0"], "filter": "metrics.m > 1 OR metrics.m < 0"}),
    ("search", {"experiment_ids": ["0"], "filter": "("}),
    ("search", {"experiment_ids": ["0"], "order_by": ["what is this"]}),
    ("search", {"experiment_ids": ["0"], "page_token": "nonsense"}),
]


# MLflow itself takes these; so may we, as long as the run can still be read.
TAKEN_BY_MLFLOW = [
    ("log-metric", {"key": "m", "value": 1, "timestamp": 1, "step": 1.5}),
    ("log-metric", {"key": "m", "value": 1, "timestamp": 1, "step": 2**63}),
    ("log-metric", {"key": "m", "value": 1, "timestamp": -(2**63) - 1, "step": 0}),
    ("update", {"status": "HAPPY"}),
    ("search", {"experiment_ids": ["0"], "run_view_type": "SOME"}),
    ("search", {"experiment_ids": ["0"], "filter": "tags.a = 'x' AND " * 3000 + "tags.a = 'x'"}),
]


@pytest.mark.parametrize(("verb", "body"), TAKEN_BY_MLFLOW, ids=range(len(TAKEN_BY_MLFLOW)))
def test_wrong_values_that_mlflow_takes(site: Site, verb: str, body: dict[str, object]) -> None:
    answer = site.client.post(f"{API}/runs/{verb}", {"run_id": site.run_id, **body})
    if answer.status != 200:
        assert_refused(answer, 400, INVALID, "BAD_REQUEST")
    assert site.client.get(f"{API}/runs/get?run_id={site.run_id}").status == 200


@pytest.mark.parametrize(("verb", "body"), WRONG, ids=[f"{verb}-{index}" for index, (verb, _) in enumerate(WRONG)])
def test_wrong_types_and_values(site: Site, verb: str, body: dict[str, object]) -> None:
    answer = site.client.post(f"{API}/runs/{verb}", {"run_id": site.run_id, **body})
    assert_refused(answer, 400, INVALID, "BAD_REQUEST")


def test_unknown_routes_and_methods_have_mlflows_shape(site: Site) -> None:
    for method, path, status in (
        ("GET", f"{API}/no-such-thing", 404),
        ("POST", f"{API}/runs/get", 405),
        ("GET", f"{API}/runs/create", 405),
        ("PUT", f"{API}/runs/create", 405),
        ("DELETE", "/api/2.0/mlflow/experiments/create", 405),
    ):
        answer = site.client.request(method, path)
        assert answer.status in (404, status), (method, path, answer.status)
        assert_no_internals(answer)
        assert answer.error_code, (method, path, answer.body[:200])


# --- paths ---

TRAVERSALS = [
    "../secret.txt", "../../secret.txt", "../../../secret.txt", "../../../../secret.txt", "../../../../../secret.txt",
    "a/../../secret.txt", "a/../../../../../../../../etc/passwd", "./../secret.txt", "a/./../../secret.txt", "..",
    "/etc/passwd", "//etc/passwd", "file:///etc/passwd", "file:/etc/passwd", "..\\secret.txt",
    "..\\..\\..\\secret.txt", "a\\..\\..\\secret.txt", "C:/Windows/win.ini", "C:\\Windows\\win.ini", "c:secret",
    "\\\\host\\share", "a\x00b", "\x00", "secret.txt\x00.png", "..%2fsecret.txt", "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt", "..%252fsecret.txt", "%252e%252e%252fsecret.txt", "%25252e%25252e%25252fsecret.txt",
    "..%5csecret.txt", "%2fetc%2fpasswd", "%00", "....//secret.txt", "..;/secret.txt", "a/..;/b", "..//secret.txt",
    "\u2024\u2024/secret.txt", "\uff0e\uff0e/secret.txt", "a/\n/../b",
]  # fmt: skip


def climbs(text: str) -> bool:
    """Whether this can leave any folder: a parent segment for either separator, or a NUL."""
    return ".." in text.replace("\\", "/").split("/") or "\0" in text


def starts_at_root(text: str) -> bool:
    """Whether this is absolute somewhere: a leading separator, a drive letter or a scheme."""
    return text[:1] in ("/", "\\") or text[1:2] == ":" or text.startswith("file:")


def forms(text: str) -> set[str]:
    """How one path can be written in a URL: escaped once, escaped whole, and as raw as HTTP allows."""
    raw = "".join(letter if 32 < ord(letter) < 127 and letter not in "?#" else quote(letter) for letter in text)
    whole = "".join(f"%{byte:02x}" for byte in text.encode())
    return {quote(text, safe=""), quote(text), raw, whole}


def is_harmless(answer: Answer) -> None:
    assert answer.status < 500 or answer.error_code == "NOT_IMPLEMENTED", (answer.status, answer.body[:300])
    assert SECRET not in answer.body
    assert b"root:" not in answer.body
    assert_no_internals(answer)


def names_files(answer: Answer) -> list[str]:
    """The names in a listing; the answer must be one."""
    return [str(item["path"]) for item in answer.json.get("files", [])]


@pytest.mark.parametrize("text", TRAVERSALS)
def test_reading_never_leaves_the_artifacts(site: Site, text: str) -> None:
    for form in forms(text):
        paths = (
            f"{ARTIFACTS}/{form}",
            f"{ARTIFACTS}/0/{site.run_id}/artifacts/{form}",
            f"{ARTIFACTS}?path={form}",
            f"/get-artifact?run_id={site.run_id}&path={form}",
            f"/get-artifact?run_uuid={site.run_id}&path={form}",
            f"/model-versions/get-artifact?name=m&version=1&path={form}",
            f"{API}/artifacts/list?run_id={site.run_id}&path={form}",
            f"/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files?artifact_file_path={form}",
        )
        for path in paths:
            answer = site.client.get(path)
            is_harmless(answer)
            assert answer.status != 200 or names_files(answer) == [], (path, answer.body[:200])


@pytest.mark.parametrize("text", TRAVERSALS)
def test_writing_never_leaves_the_artifacts(site: Site, text: str) -> None:
    outside = snapshot(site.secret.parent, site.server.data)
    for form in forms(text):
        whole_path = [
            site.client.request("PUT", f"{ARTIFACTS}/{form}", b"planted"),
            site.client.post(f"/api/2.0/mlflow-artifacts/mpu/create/{form}", {"path": "x", "num_parts": 1}),
            site.client.request(
                "POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={site.run_id}&path={form}", b"planted"
            ),
        ]
        rest_of_path = [
            site.client.request("PUT", f"{ARTIFACTS}/0/{site.run_id}/artifacts/{form}", b"planted"),
        ]
        deleted = site.client.request("DELETE", f"{ARTIFACTS}/0/{site.run_id}/artifacts/{form}")
        for answer in (*whole_path, *rest_of_path, deleted):
            is_harmless(answer)
        refused = [*whole_path, *rest_of_path] if climbs(text) else whole_path if starts_at_root(text) else []
        assert all(answer.status != 200 for answer in refused), (form, [answer.status for answer in refused])
    assert snapshot(site.secret.parent, site.server.data) == outside
    assert site.secret.read_bytes() == SECRET


def snapshot(folder: Path, without: Path) -> dict[Path, int]:
    """Files beside the data directory and their sizes; the server's log grows and is left out."""
    return {
        path: path.stat().st_size
        for path in folder.iterdir()
        if path not in (without,) and path.suffix != ".log" and path.is_file()
    }


def test_links_inside_the_store_lead_nowhere(site: Site) -> None:
    """Someone with access to the disk plants links in every folder of the store; the server does not follow them."""
    planted = []
    folders = [path for path in (site.server.data, *site.server.data.rglob("*")) if path.is_dir()]
    for folder in folders[:200]:
        link = folder / "escape"
        if not link.exists():
            link.symlink_to(site.secret.parent)
            planted.append(link)
    try:
        for prefix in ("", f"0/{site.run_id}/artifacts/", "0/", "blobs/", f"0/{site.run_id}/"):
            is_harmless(site.client.get(f"{ARTIFACTS}/{prefix}escape/secret.txt"))
            is_harmless(site.client.get(f"/get-artifact?run_id={site.run_id}&path={prefix}escape/secret.txt"))
    finally:
        for link in planted:
            link.unlink()


@pytest.mark.parametrize("scheme", ["file://", "", "file:"])
def test_an_artifact_location_does_not_open_the_disk(site: Site, scheme: str) -> None:
    """An experiment that claims a folder of the host as its artifact location gives nobody that folder's files."""
    location = f"{scheme}{site.secret.parent}"
    body = {"name": f"claims {location}", "artifact_location": location}
    answer = site.client.post(f"{API}/experiments/create", body)
    is_harmless(answer)
    if answer.status != 200:
        return
    run_id = site.client.new_run(answer.json["experiment_id"])
    for path in ("secret.txt", "../../secret.txt"):
        is_harmless(site.client.get(f"/get-artifact?run_id={run_id}&path={path}"))


@pytest.mark.parametrize(
    "name", ["плоти", "模型 v1 +&%.bin", "a b/c d", "x" * 200, "ends.", "-", "~root", "a%20b", "{id}"]
)
def test_unusual_names_are_names(site: Site, name: str) -> None:
    path = f"{ARTIFACTS}/0/{site.run_id}/artifacts/odd/{quote(name)}"
    assert site.client.request("PUT", path, name.encode()).status == 200
    assert site.client.get(path).body == name.encode()
    found = site.client.get(f"/get-artifact?run_id={site.run_id}&path={quote('odd/' + name, safe='')}")
    assert (found.status, found.body) == (200, name.encode())


@pytest.mark.parametrize("path", ["x" * 5000, "a/" * 2000 + "b"])
def test_very_long_paths(site: Site, path: str) -> None:
    answer = site.client.request("PUT", f"{ARTIFACTS}/0/{site.run_id}/artifacts/{path}", b"x")
    is_harmless(answer)
    assert answer.status in (200, 400, 404, 414)


# --- bad clients ---


def raw(port: int, data: bytes, timeout_s: float = 10.0) -> bytes:
    """What the server answers to these bytes until it hangs up or is silent."""
    with socket.create_connection((HOST, port), timeout=timeout_s) as link:
        parts: list[bytes] = []
        with contextlib.suppress(OSError):
            link.sendall(data)
            while part := link.recv(65536):
                parts.append(part)
                if b"\r\n\r\n" in part:
                    break
        return b"".join(parts)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(20_000)) + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + b"\r\n\r\n",
        b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: many\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /%zz%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=["long-header", "many-headers", "long-url", "nonsense", "tls", "negative-length", "word-length",
         "two-lengths", "bad-chunk", "bad-url", "bad-escape"],
)  # fmt: skip
def test_broken_http_is_refused_and_harms_nobody(site: Site, data: bytes) -> None:
    answer = raw(site.server.port, data)
    assert not answer.startswith(b"HTTP/1.1 5"), answer[:300]
    assert b"Traceback" not in answer
    assert is_healthy(site.server.port)


def slow_request(port: int, data: bytes) -> socket.socket:
    link = socket.create_connection((HOST, port), timeout=10)
    link.sendall(data)
    return link


def response_time_s(port: int) -> float:
    client = Client(port)
    begin = time.perf_counter()
    assert client.get("/health").body == b"OK"
    client.ok("POST", f"{API}/runs/search", {"experiment_ids": ["0"], "max_results": 1})
    client.close()
    return time.perf_counter() - begin


def test_slow_clients_do_not_hold_up_others(site: Site) -> None:
    """200 clients that never finish their head or their body, each sending a byte now and then."""
    port = site.server.port
    head = b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    links = [slow_request(port, head + b"X-Slow: a") for _ in range(100)]
    links += [slow_request(port, head + b"Content-Length: 1000\r\n\r\n{") for _ in range(100)]
    try:
        for _ in range(5):
            for link in links:
                with contextlib.suppress(OSError):
                    link.sendall(b" ")
            assert response_time_s(port) < 10.0
    finally:
        for link in links:
            link.close()


def test_slow_readers_do_not_hold_up_others(site: Site) -> None:
    """Clients that ask for a large artifact and do not read it."""
    port = site.server.port
    path = f"{ARTIFACTS}/0/{site.run_id}/artifacts/large.bin"
    assert site.client.request("PUT", path, os.urandom(8 << 20)).status == 200
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    links = [slow_request(port, request) for _ in range(20)]
    before = site.server.pss_bytes()
    try:
        assert response_time_s(port) < 10.0
        assert site.server.pss_bytes() - before < 100 * 2**20, "unread answers pile up in memory"
    finally:
        for link in links:
            link.close()


def test_1000_idle_connections(site: Site) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE_CONNECTIONS + 200
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    links: list[socket.socket] = []
    try:
        while len(links) < IDLE_CONNECTIONS:
            links.append(socket.create_connection((HOST, site.server.port), timeout=10))
        assert response_time_s(site.server.port) < 10.0
        links[500].sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert links[500].recv(1000).startswith(b"HTTP/1.1 200")
    finally:
        for link in links:
            link.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert response_time_s(site.server.port) < 10.0


def test_hosts_and_origins_of_others_are_refused(site: Site) -> None:
    """DNS rebinding and posts from other sites."""
    for header in ({"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:5000"}):
        text = "".join(f"{name}: {value}\r\n" for name, value in header.items())
        answer = raw(site.server.port, f"GET /api/2.0/mlflow/experiments/search HTTP/1.1\r\n{text}\r\n".encode())
        assert answer.split(b" ")[1] in (b"400", b"403", b"421"), answer[:200]
    for origin in ("http://evil.example", "null"):
        refused = site.client.request(
            "POST", f"{API}/experiments/create", {"name": f"from {origin}"}, {"Origin": origin}
        )
        assert refused.status == 403, (origin, refused.status)
        assert refused.error_code == "PERMISSION_DENIED", refused.body
