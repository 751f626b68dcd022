"""Moving artifact bytes between HTTP and where they are kept: small files whole, larger ones in pieces.

A small file comes and goes in one step, with its name. Larger ones are streamed, so that memory stays flat.
"""

import asyncio
import hashlib
import mimetypes
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mlwright.artifacts import service
from mlwright.artifacts.spec import SMALL_BYTES, ArtifactFile, Owners
from mlwright.kernel.blobs import PIECE_BYTES, Blob, Blobs, BlobWriter, altered, blob_of, checked
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.http import caller_of
from mlwright.kernel.transaction import Tx

#: Down to this depth a name is checked in well under a millisecond.
_BRIEF_DEPTH = 16
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def store(request: Request, database: Database, blobs: Blobs, owners: Owners, path: str) -> ArtifactFile:
    """Keep the request's body as the file `path`. Nothing stays behind when the client goes away half-way."""
    caller, stream = caller_of(request), request.stream()
    first = await _gathered(stream)
    if _size(first) <= SMALL_BYTES:  # all of it: one transaction does everything
        content = b"".join(first)
        small = blob_of(content)
        brief = path.count("/") <= _BRIEF_DEPTH
        return await database.write(lambda tx: service.put(tx, caller, owners, path, small, content), brief=brief)
    blob = await _receive(stream, first, database, blobs, lambda tx: service.place(tx, caller, owners, path))
    return await database.write(lambda tx: service.put(tx, caller, owners, path, blob))


async def receive(request: Request, database: Database, blobs: Blobs, allow: Callable[[Tx], object]) -> Blob:
    """Store the request's body as a blob, however small. Nothing stays behind when the client goes away half-way.

    Args:
        allow: raises when the body may not be stored; called before anything is written.
    """
    stream = request.stream()
    return await _receive(stream, await _gathered(stream), database, blobs, allow)


async def _receive(
    stream: AsyncGenerator[bytes, None],
    first: list[bytes],
    database: Database,
    blobs: Blobs,
    allow: Callable[[Tx], object],
) -> Blob:
    if _size(first) < PIECE_BYTES:  # all of it: one trip to a thread does everything
        return await database.read(lambda tx: (allow(tx), stored(blobs, first))[1])
    await database.read(allow)
    return await _receive_rest(stream, blobs, first)


async def _receive_rest(stream: AsyncGenerator[bytes, None], blobs: Blobs, parts: list[bytes]) -> Blob:
    writer = await asyncio.to_thread(blobs.writer)
    try:
        while parts:
            await asyncio.to_thread(_write, writer, parts)
            parts = await _gathered(stream)
        return await asyncio.to_thread(writer.commit)
    except BaseException:  # also when the request is cancelled: half a blob must not stay
        await asyncio.to_thread(writer.abort)
        raise


async def _gathered(stream: AsyncGenerator[bytes, None]) -> list[bytes]:
    """The next PIECE_BYTES of the body or a little more, in parts; less only at its end. Nothing is copied."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in stream:
            if part:
                parts.append(part)
            size += len(part)
            if size >= PIECE_BYTES:
                break
    except ClientDisconnect as error:
        raise Invalid("The client went away before the upload was complete") from error
    return parts


def _size(parts: Sequence[bytes]) -> int:
    return sum(map(len, parts))


def _write(writer: BlobWriter, parts: Sequence[bytes]) -> None:
    for part in parts:
        writer.write(part)


def stored(blobs: Blobs, parts: Sequence[bytes]) -> Blob:
    """The parts, one after the other, as a blob; half a one never stays. Blocks."""
    writer = blobs.writer()
    try:
        _write(writer, parts)
        return writer.commit()
    except BaseException:  # whatever went wrong: half a blob must not stay
        writer.abort()
        raise


def copy(blobs: Blobs, parts: list[Blob]) -> Blob:
    """One blob from many, one after the other. Blocks."""
    writer = blobs.writer()
    try:
        for part in parts:
            for piece in blobs.read(part.digest):
                writer.write(piece)
        return writer.commit()
    except BaseException:  # also on cancellation: half a blob must not stay
        writer.abort()
        raise


class _LargePieces(FileResponse):
    chunk_size = PIECE_BYTES


class _Content(Response):
    """A small file: whole, or the one range of it that the request asks for. Several ranges get it whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        asked = _RANGE.fullmatch(headers.get("range", ""))
        if asked and any(asked.groups()) and headers.get("if-range", self.headers["etag"]) == self.headers["etag"]:
            self._cut(*asked.groups())
        await super().__call__(scope, receive, send)

    def _cut(self, first: str, last: str) -> None:
        size = len(self.body)
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if start < end:
            self.status_code, self.body = 206, self.body[start:end]
            self.headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        elif start >= size:
            self.status_code, self.body = 416, b""
            self.headers["content-range"] = f"bytes */{size}"
        self.headers["content-length"] = str(len(self.body))


async def send(file: ArtifactFile, blobs: Blobs, *, inline: bool = False) -> Response:
    """The file as an answer, never to be interpreted by a browser unless `inline`.

    Ranges work where the bytes are in the database or in a folder. Bytes that changed in the store are never sent
    whole: in a folder they are looked at before, elsewhere on the way, and then the answer breaks off.

    Raises NotFound when the store has lost its bytes, and Untrusted when they are others.
    """
    name = file.path.rpartition("/")[2]
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "content-disposition": f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(name)}",
        "content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
        "x-content-type-options": "nosniff",
        "etag": f'"{file.digest}"',
    }
    if file.content is not None:
        headers["accept-ranges"] = "bytes"
        return _Content(file.content, headers=headers, media_type=kind)
    path = blobs.path(file.digest)
    if path is not None:
        try:
            if not blobs.is_sound(file.digest):
                await asyncio.to_thread(blobs.check, file.digest)
            status = path.stat()
        except (FileNotFoundError, NotFound):
            hint = "do all servers of this database use the same --artifacts?   run: mlwright doctor"
            raise NotFound(f"the bytes of {file.path!r} are not in this server's store", hint=hint) from None
        return _LargePieces(path, headers=headers, media_type=kind, stat_result=status)
    headers["content-length"] = str(file.size)
    return StreamingResponse(_stream(blobs, file.digest), headers=headers, media_type=kind)


async def _stream(blobs: Blobs, digest: str) -> AsyncIterator[bytes]:
    """The blob in pieces, the last one only when all of them are what it is named by. Raises Untrusted."""
    pieces = await asyncio.to_thread(blobs.read, digest)
    found = hashlib.sha256()

    def following() -> bytes | None:
        piece = next(pieces, None)
        if piece is not None:
            found.update(piece)
        return piece

    held = await asyncio.to_thread(following)
    while held is not None:
        piece = await asyncio.to_thread(following)
        if piece is None and found.hexdigest() != checked(digest):
            raise altered(digest)
        yield held
        held = piece
