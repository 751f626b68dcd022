"""Sending files: ranges, headers, and bytes that are gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.artifacts.spec import SMALL_BYTES
from tests.unit.asgi import Answer, call

SIZES = [pytest.param(SMALL_BYTES, id="small"), pytest.param(SMALL_BYTES + 1, id="large")]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[ASGIApp]:
    platform = Platform(Settings(data=tmp_path))
    yield platform.router()
    platform.close()


@pytest.fixture
def run(app: ASGIApp) -> str:
    return str(call(app, "POST", "/api/2.0/mlflow/runs/create", {}).json["run"]["info"]["run_id"])


@pytest.mark.parametrize("protocol", ["mlflow", "rest", "page"])
def test_a_file_whose_bytes_are_gone_is_not_found(app: ASGIApp, run: str, tmp_path: Path, protocol: str) -> None:
    target = {
        "mlflow": f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.txt",
        "rest": f"/v1/runs/{run}/artifacts/a.txt",
        "page": f"/runs/{run}/raw/a.txt",
    }[protocol]
    content = b"x" * (SMALL_BYTES + 1)
    assert call(app, "PUT", f"/v1/runs/{run}/artifacts/a.txt", content).status == 200
    assert call(app, "GET", target).body == content
    for path in (tmp_path / "blobs" / "sha256").rglob("*"):
        if path.is_file():
            path.unlink()
    answer = call(app, "GET", target)
    assert answer.status == 404
    assert "are not in this server's store" in answer.body.decode()


def test_bytes_that_changed_in_the_store_are_not_sent(app: ASGIApp, run: str, tmp_path: Path) -> None:
    target, content = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.txt", b"x" * (SMALL_BYTES + 1)
    assert call(app, "PUT", target, content).status == 200
    (blob,) = [path for path in (tmp_path / "blobs" / "sha256").rglob("*") if path.is_file()]
    blob.write_bytes(content[:-1] + b"y")
    answer = call(app, "GET", target)
    assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "are not those that were stored" in answer.json["message"]
    blob.write_bytes(content)
    assert call(app, "GET", target).body == content


def get(app: ASGIApp, run: str, content: bytes, **headers: str) -> Answer:
    target = f"/v1/runs/{run}/artifacts/a.html"
    assert call(app, "PUT", target, content).status == 200
    return call(app, "GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("size", SIZES)
def test_files_are_never_shown_with_our_rights(app: ASGIApp, run: str, size: int) -> None:
    found = get(app, run, b"x" * size).headers
    assert found["content-disposition"].startswith("attachment;")
    assert found["content-security-policy"].startswith("sandbox;")
    assert found["x-content-type-options"] == "nosniff"
    assert found["content-type"].startswith("text/html")
    assert found["content-length"] == str(size)
    assert found["accept-ranges"] == "bytes"
    assert found["etag"].startswith('"sha256:')


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=10-", 10, None), ("bytes=-7", -7, None),
        ("bytes=3-999999999", 3, None), ("bytes=-999999999", 0, None),
    ],
)  # fmt: skip
def test_a_range_is_cut_out(app: ASGIApp, run: str, size: int, asked: str, first: int, end: int | None) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    answer = get(app, run, content, range=asked)
    wanted = content[first:end]
    start = first % size
    assert (answer.status, answer.body) == (206, wanted)
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(wanted) - 1}/{size}"
    assert answer.headers["content-length"] == str(len(wanted))


@pytest.mark.parametrize("size", SIZES)
def test_a_range_beyond_the_end_is_refused(app: ASGIApp, run: str, size: int) -> None:
    answer = get(app, run, b"x" * size, range=f"bytes={size}-")
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("asked", ["bytes=", "bytes=-", "bytes=9-5", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5", "x"])
def test_what_is_no_range_gets_all_of_a_small_file(app: ASGIApp, run: str, asked: str) -> None:
    answer = get(app, run, b"0123456789", range=asked)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("size", SIZES)
def test_a_range_of_an_older_file_gets_the_whole_new_one(app: ASGIApp, run: str, size: int) -> None:
    etag = get(app, run, b"old" * size).headers["etag"]
    content = b"x" * size
    assert get(app, run, content, range="bytes=1-2", if_range=etag).body == content
    etag = get(app, run, content).headers["etag"]
    assert get(app, run, content, range="bytes=1-2", if_range=etag).status == 206


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_nothing_has_no_ranges(app: ASGIApp, run: str, asked: str) -> None:
    assert get(app, run, b"", range=asked).status == 416


def test_an_upload_through_the_proxy_is_answered_with_nothing(app: ASGIApp, run: str) -> None:
    """As MLflow 3 does it: an empty body that does not claim to be JSON."""
    answer = call(app, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.txt", b"x")
    assert (answer.status, answer.body, answer.headers.get("content-type")) == (200, b"", None)
