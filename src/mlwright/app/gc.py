"""Garbage collection over all slices: deleted things, abandoned uploads, and blobs that nothing names.

Names go first, in small transactions; bytes go afterwards. A blob in the store is removed only when nothing names it
and it was not written for an hour: an upload stores its blob moments before it names it, and storing a known blob
renews its time. A small blob in the database is written together with its name, so it need not wait.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import root_path
from mlwright.kernel.blobs import Blobs
from mlwright.kernel.database import Database
from mlwright.kernel.events import Draft
from mlwright.kernel.http import caller_of, json_response, read_json
from mlwright.kernel.identity import Caller
from mlwright.kernel.openapi import Operation
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import purge
from mlwright.tracking.service.purge import Purged

_DAY_MS = 86_400_000
_TOGETHER = 100
_BLOBS_TOGETHER = 500
#: How long a blob may wait for its name, in seconds.
GRACE_S = 3_600.0
#: How long a multipart upload may be silent.
UPLOAD_MS = _DAY_MS

Purge = Callable[..., list[Purged]]


class Collect(msgspec.Struct, forbid_unknown_fields=True):
    """`older_than_ms`: only what was deleted at least so long ago. `dry_run` only says what would go."""

    older_than_ms: int = 30 * _DAY_MS
    dry_run: bool = False


class Collected(msgspec.Struct):
    """What went, or would go. `bytes` is the space that removed blobs took; in a dry run, that they take at most."""

    experiments: int = 0
    runs: int = 0
    models: int = 0
    files: int = 0
    uploads: int = 0
    blobs: int = 0
    bytes: int = 0
    dry_run: bool = False


class GarbageCollector:
    """Args:
    database, blobs: what is cleaned.
    now_s: tells Unix time in seconds, by which the age of blobs is judged.
    """

    def __init__(self, database: Database, blobs: Blobs, now_s: Callable[[], float] = time.time) -> None:
        self._database = database
        self._blobs = blobs
        self._now_s = now_s

    def operations(self) -> list[Operation]:
        return [Operation("POST", "/v1/gc", self.handle, "Remove garbage for good.", "server", Collect, Collected)]

    async def handle(self, request: Request) -> Response:
        body, caller = await read_json(request, Collect), caller_of(request)
        return json_response(await self.collect(caller, body.older_than_ms, dry=body.dry_run))

    async def collect(self, caller: Caller, older_than_ms: int, *, dry: bool = False) -> Collected:
        """Remove what was deleted at least `older_than_ms` ago, and all garbage. Raises Denied."""
        caller.require_server_admin()
        before_ms = self._database.clock.now_ms() - min(max(older_than_ms, 0), 10**15)
        found = Collected(dry_run=dry)
        found.runs = await self._purge(purge.purge_runs, caller, before_ms, found)
        found.models = await self._purge(purge.purge_models, caller, before_ms, found)
        found.experiments = await self._purge(purge.purge_experiments, caller, before_ms, found)
        silent_ms = self._database.clock.now_ms() - UPLOAD_MS
        found.uploads = await self._database.write(lambda tx: artifacts.forget_uploads(tx, silent_ms, dry=dry))
        await self._collect_small(found)
        await self._collect_blobs(found)
        if not dry:
            data = msgspec.to_builtins(found)
            await self._database.write(
                lambda tx: tx.emit(Draft(caller.name, "", "server.garbage.collected", "server", data))
            )
        return found

    async def _purge(self, step: Purge, caller: Caller, before_ms: int, found: Collected) -> int:
        """One kind of things, batch by batch. Returns how many."""

        def work(tx: Tx) -> tuple[int, list[tuple[int, int]]]:
            gone = step(tx, caller, before_ms, 10**9 if found.dry_run else _TOGETHER, dry=found.dry_run)
            counted = found.dry_run and step is purge.purge_experiments  # as files of its runs and models
            folders = [] if counted else _folders(gone)
            return len(gone), [artifacts.purge(tx, path, dry=found.dry_run) for path in folders]

        count = 0
        while True:
            things, folders = await (self._database.read if found.dry_run else self._database.write)(work)
            count += things
            found.files += sum(files for files, _ in folders)
            if found.dry_run:
                found.bytes += sum(size for _, size in folders)
            if found.dry_run or things < _TOGETHER:
                return count

    async def _collect_small(self, found: Collected) -> None:
        after = ""
        while batch := await self._database.read(partial(artifacts.unnamed, after=after, limit=_BLOBS_TOGETHER)):
            gone = batch if found.dry_run else await self._database.write(partial(artifacts.forget, blobs=batch))
            found.blobs += len(gone)
            found.bytes += sum(blob.size for blob in gone)
            after = batch[-1].digest

    async def _collect_blobs(self, found: Collected) -> None:
        before_s = self._now_s() - GRACE_S
        batches = await asyncio.to_thread(lambda: list(_batches(self._blobs, before_s)))
        for batch in batches:
            named = await self._database.read(lambda tx, batch=batch: artifacts.named(tx, [each[0] for each in batch]))  # type: ignore[misc]
            for digest, size in batch:
                if digest in named:
                    continue
                if found.dry_run or await asyncio.to_thread(self._blobs.delete_older, digest, before_s):
                    found.blobs += 1
                    found.bytes += size


def _folders(gone: list[Purged]) -> list[str]:
    """The artifact folders of what is gone, if they are kept here and hold nothing else."""
    paths = ((each.id, root_path(each.artifact_uri)) for each in gone)
    return [path for own, path in paths if path and own in path.split("/")]


def _batches(blobs: Blobs, before_s: float) -> Iterator[list[tuple[str, int]]]:
    """Digest and size of blobs that are old enough."""
    batch: list[tuple[str, int]] = []
    for digest, size, written_s in blobs.digests():
        if written_s < before_s:
            batch.append((digest, size))
        if len(batch) == _BLOBS_TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch
