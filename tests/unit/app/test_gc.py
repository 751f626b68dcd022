"""Garbage collection keeps everything that somebody needs or is about to need."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mlwright.app import gc
from mlwright.app.gc import GRACE_S, UPLOAD_MS, GarbageCollector
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.artifacts import service as artifacts
from mlwright.kernel.blobs import Blob, DirectoryBlobs, blob_of
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.errors import Denied, NotFound
from mlwright.kernel.identity import LOCAL, Caller
from mlwright.tracking.service import runs
from mlwright.tracking.service.owners import TrackingOwners


@pytest.fixture
def platform(data_dir: Path) -> Iterator[Platform]:
    platform = Platform(Settings(data=data_dir))
    platform.database.clock = ManualClock(time.time_ns() // 1_000_000)
    yield platform
    platform.close()


def stored(platform: Platform, content: bytes, *, old: bool = True) -> Blob:
    writer = platform.blobs.writer()
    writer.write(content)
    blob = writer.commit()
    path = platform.blobs.path(blob.digest)
    if old and path is not None:
        os.utime(path, (1, 1))
    return blob


def collect(platform: Platform, caller: Caller = LOCAL, *, dry: bool = False) -> dict[str, int]:
    found = asyncio.run(
        GarbageCollector(platform.database, platform.blobs, platform.environments).collect(caller, 0, dry=dry)
    )
    return {name: getattr(found, name) for name in ("uploads", "blobs", "bytes")}


def test_only_old_blobs_without_a_name_go(platform: Platform) -> None:
    named, fresh, garbage = stored(platform, b"named"), stored(platform, b"fresh", old=False), stored(platform, b"old")
    platform.database.write_now(lambda tx: artifacts.put(tx, LOCAL, TrackingOwners(), "0/x", named))
    assert collect(platform, dry=True) == {"uploads": 0, "blobs": 1, "bytes": 3}
    assert collect(platform) == {"uploads": 0, "blobs": 1, "bytes": 3}
    assert b"".join(platform.blobs.read(named.digest)) == b"named"
    assert b"".join(platform.blobs.read(fresh.digest)) == b"fresh"
    with pytest.raises(NotFound):
        platform.blobs.read(garbage.digest)
    assert collect(platform) == {"uploads": 0, "blobs": 0, "bytes": 0}


def put_small(platform: Platform, path: str, content: bytes) -> None:
    blob = blob_of(content)
    platform.database.write_now(lambda tx: artifacts.put(tx, LOCAL, TrackingOwners(), path, blob, content))


def test_bytes_of_small_files_go_at_once_when_nothing_names_them(platform: Platform) -> None:
    for number in range(3):
        put_small(platform, f"0/{number}", b"file %d" % number)
    put_small(platform, "0/also", b"file 2")
    assert collect(platform) == {"uploads": 0, "blobs": 0, "bytes": 0}
    put_small(platform, "0/0", b"new")
    platform.database.write_now(lambda tx: artifacts.remove(tx, LOCAL, TrackingOwners(), "0/1"))
    platform.database.write_now(lambda tx: artifacts.remove(tx, LOCAL, TrackingOwners(), "0/2"))
    assert collect(platform, dry=True) == {"uploads": 0, "blobs": 2, "bytes": 12}
    assert collect(platform) == {"uploads": 0, "blobs": 2, "bytes": 12}
    assert collect(platform) == {"uploads": 0, "blobs": 0, "bytes": 0}
    for path, content in (("0/0", b"new"), ("0/also", b"file 2")):
        file = platform.database.read_now(lambda tx, path=path: artifacts.get(tx, LOCAL, path))  # type: ignore[misc]
        assert file.content == content


def test_many_small_files_go_in_batches(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "_BLOBS_TOGETHER", 3)
    for number in range(10):
        put_small(platform, f"0/d/{number}", b"%d" % number)
    platform.database.write_now(lambda tx: artifacts.remove(tx, LOCAL, TrackingOwners(), "0/d"))
    assert collect(platform, dry=True)["blobs"] == 10
    assert collect(platform)["blobs"] == 10


def test_a_dry_run_says_what_will_go(platform: Platform) -> None:
    """Names that go, content that they share with one that stays, large and small, old and fresh."""
    owners, write = TrackingOwners(), platform.database.write_now
    stays, goes = (write(lambda tx: runs.create(tx, LOCAL, 0)).info.run_id for _ in range(2))
    for number in range(10):
        put_small(platform, f"0/{goes}/artifacts/{number}", b"file %d" % (number // 2))
    put_small(platform, f"0/{stays}/artifacts/same", b"file 0")
    for name, content, old in (("old", b"o" * 40_000, True), ("fresh", b"f" * 40_000, False)):
        blob = stored(platform, content, old=old)
        for twice in range(2):
            path = f"0/{goes}/artifacts/{name}{twice}"
            write(lambda tx, path=path, blob=blob: artifacts.put(tx, LOCAL, owners, path, blob))  # type: ignore[misc]
    write(lambda tx: runs.delete_run(tx, LOCAL, goes))
    assert isinstance(platform.database.clock, ManualClock)
    platform.database.clock.advance(60_000)
    collector = GarbageCollector(platform.database, platform.blobs, platform.environments)
    dry = asyncio.run(collector.collect(LOCAL, 0, dry=True))
    assert (dry.runs, dry.files, dry.blobs, dry.bytes) == (1, 14, 5, 4 * 6 + 40_000)
    assert asyncio.run(collector.collect(LOCAL, 0, dry=True)) == dry
    assert msgspec.structs.replace(asyncio.run(collector.collect(LOCAL, 0)), dry_run=True) == dry


def test_storing_a_known_blob_again_saves_it(platform: Platform) -> None:
    blob = stored(platform, b"bytes")
    before_s = time.time() - GRACE_S
    assert stored(platform, b"bytes", old=False) == blob
    assert not platform.blobs.delete_older(blob.digest, before_s)
    assert b"".join(platform.blobs.read(blob.digest)) == b"bytes"


def test_uploads_in_progress_keep_their_parts_and_silent_ones_go(platform: Platform) -> None:
    part, owners = stored(platform, b"part"), TrackingOwners()
    upload = platform.database.write_now(lambda tx: artifacts.start_upload(tx, LOCAL, owners, "0/y"))
    platform.database.write_now(lambda tx: artifacts.put_part(tx, upload, 1, part))
    assert collect(platform) == {"uploads": 0, "blobs": 0, "bytes": 0}
    assert isinstance(platform.database.clock, ManualClock)
    platform.database.clock.advance(UPLOAD_MS + 60_000)
    assert collect(platform) == {"uploads": 1, "blobs": 1, "bytes": 4}


def test_no_upload_is_lost_to_a_collection_at_the_same_time(tmp_path: Path) -> None:
    """One thread stores the same old bytes again and again, the other collects: what was stored last is there."""
    blobs = DirectoryBlobs(tmp_path)
    stop = threading.Event()

    def collecting() -> None:
        while not stop.is_set():
            for digest, _, written_s in blobs.digests():
                if written_s < time.time() - GRACE_S:
                    blobs.delete_older(digest, time.time() - GRACE_S)

    thread = threading.Thread(target=collecting)
    thread.start()
    try:
        for _ in range(150):
            writer = blobs.writer()
            writer.write(b"the same")
            blob = writer.commit()
            assert b"".join(blobs.read(blob.digest)) == b"the same"
            os.utime(blobs.file(blob.digest.removeprefix("sha256:")), (1, 1))
    finally:
        stop.set()
        thread.join()


def test_only_administrators_collect(platform: Platform) -> None:
    with pytest.raises(Denied):
        collect(platform, Caller("eve"))
