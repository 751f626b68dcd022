"""One suite over every blob store: a directory, and S3 (moto) through obstore."""

import hashlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import obstore.store
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.kernel.blobs import PIECE_BYTES, Blobs, DirectoryBlobs, blob_of, open_blobs, verify
from mlwright.kernel.errors import Invalid, NotFound, StorageFull, Unavailable, Untrusted

UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture
def blobs(location: str) -> Blobs:
    return open_blobs(location)


def put(blobs: Blobs, *pieces: bytes) -> str:
    writer = blobs.writer()
    for piece in pieces:
        writer.write(piece)
    return writer.commit().digest


def content(blobs: Blobs, digest: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(blobs.read(digest, start, end))


def overwrite(location: str, digest: str, data: bytes) -> None:
    """Put other bytes where the blob lies, behind the store's back."""
    key = f"sha256/{digest[7:9]}/{digest[9:]}"
    if "://" in location:
        store = obstore.store.from_url(location, region="us-east-1", client_options={"allow_http": True})
        obstore.put(store, key, data)
    else:
        (Path(location) / key).write_bytes(data)


@pytest.mark.parametrize("pieces", [(), (b"",), (b"a",), (b"ab", b"", b"c"), (b"x" * PIECE_BYTES, b"y", bytes(9))])
def test_what_goes_in_comes_out(blobs: Blobs, pieces: tuple[bytes, ...]) -> None:
    whole = b"".join(pieces)
    writer = blobs.writer()
    for piece in pieces:
        writer.write(piece)
    blob = writer.commit()
    assert blob.digest == f"sha256:{hashlib.sha256(whole).hexdigest()}"
    assert blob.size == len(whole)
    assert blob_of(whole) == blob
    assert content(blobs, blob.digest) == whole
    assert verify(blobs, blob.digest)
    assert [each[:2] for each in blobs.digests()] == [(blob.digest, len(whole))]


def test_a_blob_is_read_again_once_it_may_have_changed(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = open_blobs(location)
    digest = put(blobs, b"sound")
    blobs.check(digest)
    reads: list[str] = []
    read = type(blobs).read

    def noted(self: Any, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        reads.append(digest)
        return read(self, digest, start, end)

    monkeypatch.setattr(type(blobs), "read", noted)
    blobs.check(digest)
    assert reads == []
    overwrite(location, digest, b"other")
    assert not blobs.is_sound(digest)
    for _ in range(2):  # nothing that was seen makes it sound
        with pytest.raises(Untrusted, match="are not those that were stored"):
            blobs.check(digest)
    assert put(blobs, b"sound") == digest  # which heals it, where old ones are written again
    overwrite(location, digest, b"sound")
    blobs.check(digest)
    with pytest.raises(NotFound):
        blobs.check(UNKNOWN)


def test_a_new_store_is_empty(blobs: Blobs) -> None:
    assert list(blobs.digests()) == []


def test_equal_bytes_are_stored_once(blobs: Blobs) -> None:
    assert put(blobs, b"same") == put(blobs, b"sa", b"me")
    assert len(list(blobs.digests())) == 1


def test_an_aborted_blob_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    writer = blobs.writer()
    writer.write(b"half")
    writer.abort()
    assert list(blobs.digests()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_unfinished_blob_is_not_visible(blobs: Blobs) -> None:
    writer = blobs.writer()
    writer.write(b"half")
    with pytest.raises(NotFound):
        blobs.read(f"sha256:{hashlib.sha256(b'half').hexdigest()}")
    writer.abort()


def test_an_unknown_blob_is_not_found_before_the_first_piece(blobs: Blobs) -> None:
    with pytest.raises(NotFound, match=UNKNOWN):
        blobs.read(UNKNOWN)


def test_a_deleted_blob_is_gone_and_may_be_deleted_again(blobs: Blobs) -> None:
    digest, other = put(blobs, b"one"), put(blobs, b"two")
    blobs.delete(digest)
    blobs.delete(digest)
    blobs.delete(UNKNOWN)
    with pytest.raises(NotFound):
        blobs.read(digest)
    assert content(blobs, other) == b"two"
    assert put(blobs, b"one") == digest
    assert content(blobs, digest) == b"one"


def test_only_old_blobs_are_collected(blobs: Blobs) -> None:
    digest = put(blobs, b"x")
    ((_, _, written_s),) = blobs.digests()
    assert not blobs.delete_older(digest, written_s - 10)
    assert content(blobs, digest) == b"x"
    assert blobs.delete_older(digest, written_s + 10)
    assert not blobs.delete_older(digest, written_s + 10)
    assert not blobs.delete_older(UNKNOWN, written_s + 10)
    assert list(blobs.digests()) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 3 * PIECE_BYTES), end=st.none() | st.integers(0, 3 * PIECE_BYTES))
def test_any_range_can_be_read(blobs: Blobs, start: int, end: int | None) -> None:
    whole = bytes(range(251)) * (2 * PIECE_BYTES // 251)
    digest = f"sha256:{hashlib.sha256(whole).hexdigest()}"
    if not list(blobs.digests()):
        assert put(blobs, whole) == digest
    assert content(blobs, digest, start, end) == (whole[start:] if end is None else whole[start : max(start, end)])


@pytest.mark.parametrize(
    "digest",
    [
        "", "sha256:", "0" * 64, "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "G" * 64, "sha256:" + "A" * 64,
        "md5:" + "0" * 64, "sha256:../" + "0" * 61, "sha256:" + "../../../../etc/passwd".ljust(64, "0"),
        "sha256:" + "0" * 63 + "\n", "sha256:" + "0" * 63 + "\0", "sha256:" + "٠" * 64,
    ],
)  # fmt: skip
def test_hostile_digests_are_refused(blobs: Blobs, digest: str) -> None:
    calls: list[Callable[[str], Any]] = [blobs.read, blobs.path, blobs.delete]
    for call in calls:
        with pytest.raises(Invalid, match="not a digest"):
            call(digest)


def test_many_writers_at_once(blobs: Blobs) -> None:
    def work(number: int) -> str:
        text = b"%d" % (number % 10)
        return put(blobs, text * 100_000, text)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(40)))
    assert len(set(found)) == 10
    assert {each[0] for each in blobs.digests()} == set(found)
    assert all(verify(blobs, digest) for digest in set(found))


def test_memory_stays_flat(location: str) -> None:
    program = Path(__file__).with_name("blob_memory.py")
    grown = subprocess.run([sys.executable, program, location, "100"], check=True, capture_output=True, text=True)
    assert int(grown.stdout) <= (8 if "://" not in location else 70)


# --- only a directory --------------------------------------------------------------------------------------------

_HALF_WAY = """
import sys, time
from pathlib import Path
from mlwright.kernel.blobs import DirectoryBlobs
writer = DirectoryBlobs(Path(sys.argv[1])).writer()
writer.write(bytes(1 << 20))
print("half", flush=True)
time.sleep(60)
"""


def test_a_killed_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    kept = put(DirectoryBlobs(tmp_path), b"kept")
    with subprocess.Popen([sys.executable, "-c", _HALF_WAY, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    again = DirectoryBlobs(tmp_path)
    assert list((tmp_path / "incoming").iterdir()) == []
    assert [each[0] for each in again.digests()] == [kept]


def test_a_directory_says_which_file_holds_a_blob(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    path = blobs.path(put(blobs, b"bytes"))
    assert path is not None
    assert path.read_bytes() == b"bytes"


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = put(blobs, b"bytes")
    path = blobs.path(digest)
    assert path is not None
    path.write_bytes(b"other")
    assert not verify(blobs, digest)


def test_a_disk_that_fills_up_keeps_the_blob_that_was_there(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from mlwright.kernel.blobs import DirectoryBlobs, verify
from mlwright.kernel.errors import MlwrightError
store, data = DirectoryBlobs(Path(sys.argv[1])), bytes(range(250)) * 600
def put():
    writer = store.writer()
    writer.write(data)
    return writer.commit()
blob = put()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    put()
except (MlwrightError, OSError):
    print("refused", verify(store, blob.digest))
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "refused True\n"


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written"):
        DirectoryBlobs(tmp_path / "file" / "blobs")


class _FullDisk:
    """A file on a full disk."""

    closed = False

    def write(self, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        self.closed = True


def test_a_full_disk_is_storage_full(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    writer: Any = blobs.writer()
    writer._file.close()
    monkeypatch.setattr(writer, "_file", _FullDisk())
    with pytest.raises(StorageFull):
        writer.write(b"x")
    writer.abort()


# --- only object stores ------------------------------------------------------------------------------------------


@pytest.mark.component
def test_objects_lie_below_the_prefix(moto_s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_s3.secret_key)
    one, two = open_blobs(f"s3://{moto_s3.bucket}/one"), open_blobs(f"s3://{moto_s3.bucket}/two/")
    digest = put(one, b"x")
    assert list(two.digests()) == []
    assert [each[0] for each in open_blobs(f"s3://{moto_s3.bucket}/one/").digests()] == [digest]
    assert one.path(digest) is None


@pytest.mark.component
def test_a_missing_bucket_is_unavailable(moto_s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_s3.secret_key)
    missing = open_blobs(f"s3://bucket-{secrets.token_hex(6)}/x")
    with pytest.raises(Unavailable, match="does not answer"):
        put(missing, b"x")
    with pytest.raises(Unavailable):
        list(missing.digests())


def test_a_store_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    nobody = open_blobs("s3://bucket/x")
    for call in (lambda: put(nobody, b"x"), lambda: nobody.read(UNKNOWN), lambda: list(nobody.digests())):
        with pytest.raises(Unavailable, match="does not answer"):
            call()


@pytest.mark.parametrize("location", ["ftp://host/x", "s3://", "s3:///prefix", "az://container"])
def test_a_location_that_cannot_be_is_refused(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(Invalid) as caught:
        open_blobs(location)
    assert caught.value.path == "artifacts"


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    digest = put(open_blobs(f"file://{tmp_path}/x"), b"x")
    assert open_blobs(f"{tmp_path}/x").path(digest) == tmp_path / "x" / "sha256" / digest[7:9] / digest[9:]
