"""Files through all their ways in and out, small and large, on every database with every blob store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.artifacts.spec import SMALL_BYTES
from mlwright.kernel.engine import Engine
from mlwright.kernel.errors import Untrusted
from tests.contract.conftest import emptied
from tests.contract.test_blobs import overwrite
from tests.unit.asgi import Answer, call

SMALL, LARGE = SMALL_BYTES, SMALL_BYTES + 1
SIZES = [0, 1, SMALL, LARGE, 1 << 20, (1 << 20) + 1]


class Files:
    """A platform with a run, and the ways to the run's files."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.app: ASGIApp = platform.router()
        self.run: str = call(self.app, "POST", "/api/2.0/mlflow/runs/create", {}).json["run"]["info"]["run_id"]
        proxy = f"/api/2.0/mlflow-artifacts/artifacts/0/{self.run}/artifacts"
        self.uploads = {
            "proxy": ("PUT", f"{proxy}/a.txt"),
            "rest": ("PUT", f"/v1/runs/{self.run}/artifacts/a.txt"),
            "ajax": ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={self.run}&path=a.txt"),
        }
        self.downloads = [
            f"{proxy}/a.txt", f"/v1/runs/{self.run}/artifacts/a.txt", f"/runs/{self.run}/raw/a.txt",
            f"/get-artifact?run_id={self.run}&path=a.txt",
        ]  # fmt: skip

    def put(self, content: bytes | list[bytes], way: str = "proxy") -> None:
        method, target = self.uploads[way]
        length = {"content-length": str(len(content if isinstance(content, bytes) else b"".join(content)))}
        assert call(self.app, method, target, content, headers=length).status == 200

    def get(self, **headers: str) -> Answer:
        return call(self.app, "GET", self.downloads[0], headers=headers)

    def stored(self) -> list[int]:
        """Sizes of what is in the blob store."""
        return [size for _, size, _ in self.platform.blobs.digests()]


def opened(folder: Path, database: str = "", artifacts: str = "") -> Iterator[Files]:
    platform = Platform(Settings(data=folder, database=database, artifacts=artifacts))
    yield Files(platform)
    platform.close()


@pytest.fixture
def files(tmp_path: Path, location: str, request: pytest.FixtureRequest) -> Iterator[Files]:
    yield from opened(tmp_path, artifacts=location)


@pytest.fixture
def on_any_database(tmp_path: Path, engine: Engine, request: pytest.FixtureRequest) -> Iterator[Files]:
    url = ""
    if engine.dialect == "postgresql":
        emptied(engine, keep_tables=True)
        url = request.getfixturevalue("shared_postgres")
    yield from opened(tmp_path, database=url)


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_by_any_way_comes_out_by_every_way(files: Files, size: int) -> None:
    for number, way in enumerate(files.uploads if size else ["proxy", "rest"]):
        content = (b"%d" % number) * size
        files.put(content, way)
        assert {call(files.app, "GET", target).body for target in files.downloads} == {content}
    assert set(files.stored()) == ({size} if size > SMALL_BYTES else set())
    listed = call(files.app, "GET", f"/v1/runs/{files.run}/artifacts").json
    assert [each["size"] for each in listed] == [size]


@pytest.mark.parametrize("size", [1, SMALL, LARGE])
def test_small_files_need_nothing_but_the_database(on_any_database: Files, size: int) -> None:
    on_any_database.put(b"x" * size)
    on_any_database.put(b"y" * size)
    assert on_any_database.get().body == b"y" * size
    assert len(on_any_database.stored()) == (2 if size > SMALL_BYTES else 0)


def test_a_body_may_come_in_many_parts(files: Files) -> None:
    files.put([b"a" * 10, b"", b"b" * 10])
    assert files.get().body == b"a" * 10 + b"b" * 10
    files.put([b"a" * SMALL_BYTES, b"b"])
    assert files.get().body == b"a" * SMALL_BYTES + b"b"


def test_a_file_that_grows_and_shrinks_is_always_the_newest(files: Files) -> None:
    for content in (b"small", b"l" * LARGE, b"s", b"small", b"l" * LARGE):
        files.put(content)
        assert files.get().body == content


def test_parts_of_a_small_upload_make_one_file(files: Files) -> None:
    base, name = "/api/2.0/mlflow-artifacts/mpu", f"0/{files.run}/artifacts"
    made = call(files.app, "POST", f"{base}/create/{name}", {"path": "a.txt", "num_parts": 2}).json
    for number, content in ((2, b"two"), (1, b"one")):
        assert call(files.app, "PUT", f"{base}/part/{made['upload_id']}/{number}", content).status == 200
    ended = {"path": "a.txt", "upload_id": made["upload_id"], "parts": [{"part_number": 1}, {"part_number": 2}]}
    assert call(files.app, "POST", f"{base}/complete/{name}", ended).status == 200
    assert files.get().body == b"onetwo"


def test_pages_show_small_and_large_files(files: Files) -> None:
    for content in (b"hello", b"hello" * SMALL_BYTES):
        files.put(content)
        page = call(files.app, "GET", f"/runs/{files.run}/artifacts/a.txt", headers={"accept": "text/html"})
        assert page.status == 200
        assert b"hello" in page.body


def test_changed_bytes_never_arrive_whole(files: Files, location: str) -> None:
    content = bytes(LARGE) * 40
    files.put(content)
    assert files.get().body == content
    (digest,) = [digest for digest, _, _ in files.platform.blobs.digests()]
    overwrite(location, digest, content[:-1] + b"y")
    try:
        answer = files.get()
    except Untrusted:  # the answer had begun
        return
    assert (answer.status, location.startswith("s3:")) == (400, False)
