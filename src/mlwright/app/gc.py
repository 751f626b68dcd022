"""Garbage collection over all slices: deleted things, abandoned uploads, blobs that nothing names, old environments.

Names go first, in small transactions; bytes go afterwards. A blob in the store is removed only when nothing names it
and it was not written for an hour: an upload stores its blob moments before it names it, and storing a known blob
renews its time. A small blob in the database is written together with its name, so it need not wait.

A dry run removes the names too, in a transaction that is rolled back: only so it sees what they would leave behind.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import root_path
from mlwright.compute.environments import Environments
from mlwright.kernel import events
from mlwright.kernel.blobs import Blob, Blobs
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
#: For so many blobs together, all names are looked at once.
_BLOBS_TOGETHER = 20_000
_FORGOTTEN_TOGETHER = 500
_ALL = 10**9
#: How long a blob may wait for its name, in seconds.
GRACE_S = 3_600.0
#: How long a multipart upload may be silent.
UPLOAD_MS = _DAY_MS

Purge = Callable[..., list[Purged]]


class Collect(msgspec.Struct, forbid_unknown_fields=True):
    """`older_than_ms`: only what was deleted, or not used, at least so long ago. `dry_run` only says what would go."""

    older_than_ms: int = 30 * _DAY_MS
    dry_run: bool = False


class Collected(msgspec.Struct):
    """What went, or would go now. `bytes` is the space that blobs, each once, and environments of models take."""

    experiments: int = 0
    runs: int = 0
    models: int = 0
    files: int = 0
    uploads: int = 0
    blobs: int = 0
    environments: int = 0
    bytes: int = 0
    dry_run: bool = False


class GarbageCollector:
    """Args:
    database, blobs, environments: what is cleaned.
    now_s: tells Unix time in seconds, by which the age of blobs is judged.
    """

    def __init__(
        self, database: Database, blobs: Blobs, environments: Environments, now_s: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._environments = environments
        self._now_s = now_s

    def operations(self) -> list[Operation]:
        return [Operation("POST", "/v1/gc", self.handle, "Remove garbage for good.", "server", Collect, Collected)]

    async def handle(self, request: Request) -> Response:
        body, caller = await read_json(request, Collect), caller_of(request)
        return json_response(await self.collect(caller, body.older_than_ms, dry=body.dry_run))

    async def collect(self, caller: Caller, older_than_ms: int, *, dry: bool = False) -> Collected:
        """Remove what was deleted at least `older_than_ms` ago, and all garbage. Raises Denied."""
        caller.require_server_admin()
        now_ms = self._database.clock.now_ms()
        before_ms, silent_ms = now_ms - min(max(older_than_ms, 0), 10**15), now_ms - UPLOAD_MS
        unused_s = max(older_than_ms, 0) / 1_000
        if dry:
            found = await self._rehearse(caller, before_ms, silent_ms)
            await self._collect_environments(found, unused_s, dry=True)
            return found
        found = Collected()
        found.runs = await self._purge(purge.purge_runs, caller, before_ms, found)
        found.models = await self._purge(purge.purge_models, caller, before_ms, found)
        found.experiments = await self._purge(purge.purge_experiments, caller, before_ms, found)
        found.uploads = await self._database.write(lambda tx: artifacts.forget_uploads(tx, silent_ms))
        await self._collect_small(found)
        await self._collect_blobs(found)
        await self._collect_environments(found, unused_s)
        data = msgspec.to_builtins(found)
        await self._database.write(
            lambda tx: tx.emit(Draft(caller.name, "", "server.garbage.collected", "server", data))
        )
        return found

    async def _rehearse(self, caller: Caller, before_ms: int, silent_ms: int) -> Collected:
        """What a collection would do now. Others' writes wait for it; nobody sees what it takes back."""
        before_s = self._now_s() - GRACE_S
        batches = await asyncio.to_thread(lambda: list(_batches(self._blobs, before_s)))

        def work(tx: Tx) -> Collected:
            tx.command("SAVEPOINT rehearsal")
            found = _rehearsal(tx, caller, before_ms, silent_ms, batches)
            tx.command("ROLLBACK TO SAVEPOINT rehearsal")
            return found

        return await self._database.write(work)

    async def _purge(self, step: Purge, caller: Caller, before_ms: int, found: Collected) -> int:
        """One kind of things, batch by batch. Returns how many."""

        def work(tx: Tx) -> tuple[int, int]:
            gone = step(tx, caller, before_ms, _TOGETHER)
            return len(gone), _forget_files(tx, gone)

        count = 0
        while True:
            things, files = await self._database.write(work)
            count += things
            found.files += files
            if things < _TOGETHER:
                return count

    async def _collect_small(self, found: Collected) -> None:
        after = ""
        while True:
            since, garbage = await self._database.read(partial(_small_garbage, after=after))
            if not garbage:
                return
            for first in range(0, len(garbage), _FORGOTTEN_TOGETHER):
                batch = garbage[first : first + _FORGOTTEN_TOGETHER]
                _count(found, await self._database.write(partial(artifacts.forget, blobs=batch, since=since)))
            after = garbage[-1].digest

    async def _collect_blobs(self, found: Collected) -> None:
        before_s = self._now_s() - GRACE_S
        for batch in await asyncio.to_thread(lambda: list(_batches(self._blobs, before_s))):
            for blob in await self._database.read(partial(_unneeded, batch=batch)):
                if await asyncio.to_thread(self._blobs.delete_older, blob.digest, before_s):
                    _count(found, [blob])

    async def _collect_environments(self, found: Collected, unused_s: float, *, dry: bool = False) -> None:
        freed = await asyncio.to_thread(self._environments.collect, unused_s, dry=dry)
        found.environments += freed.environments
        found.bytes += freed.bytes


def _small_garbage(tx: Tx, after: str) -> tuple[int, list[Blob]]:
    """Small blobs without a name, and until which event that is so."""
    return events.head(tx), artifacts.unnamed(tx, after, _BLOBS_TOGETHER)


def _rehearsal(tx: Tx, caller: Caller, before_ms: int, silent_ms: int, batches: Sequence[Sequence[Blob]]) -> Collected:
    """A whole collection but for the bytes. Things themselves stay: only names of blobs decide what else goes."""
    runs, models, experiments = (
        step(tx, caller, before_ms, _ALL, dry=True)
        for step in (purge.purge_runs, purge.purge_models, purge.purge_experiments)
    )
    found = Collected(len(experiments), len(runs), len(models), dry_run=True)
    found.files = sum(_forget_files(tx, gone) for gone in (runs, models, experiments))
    found.uploads = artifacts.forget_uploads(tx, silent_ms)
    after = ""
    while small := artifacts.unnamed(tx, after, _BLOBS_TOGETHER):
        _count(found, small)
        after = small[-1].digest
    for batch in batches:
        _count(found, _unneeded(tx, batch))
    return found


def _forget_files(tx: Tx, gone: Sequence[Purged]) -> int:
    """Remove the names of the files of what is gone. Returns how many."""
    return sum(artifacts.purge(tx, path) for path in _folders(gone))


def _unneeded(tx: Tx, batch: Sequence[Blob]) -> list[Blob]:
    named = artifacts.named(tx, [blob.digest for blob in batch])
    return [blob for blob in batch if blob.digest not in named]


def _count(found: Collected, blobs: Sequence[Blob]) -> None:
    found.blobs += len(blobs)
    found.bytes += sum(blob.size for blob in blobs)


def _folders(gone: Sequence[Purged]) -> list[str]:
    """The artifact folders of what is gone, if they are kept here and hold nothing else."""
    paths = ((each.id, root_path(each.artifact_uri)) for each in gone)
    return [path for own, path in paths if path and own in path.split("/")]


def _batches(blobs: Blobs, before_s: float) -> Iterator[list[Blob]]:
    """The blobs in the store that are old enough."""
    batch: list[Blob] = []
    for digest, size, written_s in blobs.digests():
        if written_s < before_s:
            batch.append(Blob(digest, size))
        if len(batch) == _BLOBS_TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch
