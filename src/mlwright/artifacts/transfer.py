"""Moving artifact bytes between HTTP and the blob store, in pieces, with flat memory."""

import asyncio
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse

from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel.blobs import PIECE_BYTES, Blob, Blobs
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.transaction import Tx


async def receive(request: Request, blobs: Blobs, database: Database, allow: Callable[[Tx], object]) -> Blob:
    """Store the request's body as a blob. Nothing stays behind when the client goes away half-way.

    Args:
        allow: raises when the body may not be stored; called before anything is written.
    """
    stream = request.stream()
    try:
        first = await _piece(stream)
        if len(first) < PIECE_BYTES:  # all of it: one trip to a thread does everything
            return await database.read(lambda tx: (allow(tx), _stored(blobs, first))[1])
        await database.read(allow)
        return await _receive_rest(stream, blobs, first)
    except ClientDisconnect as error:
        raise Invalid("The client went away before the upload was complete") from error


async def _receive_rest(stream: AsyncGenerator[bytes, None], blobs: Blobs, piece: bytes) -> Blob:
    writer = await asyncio.to_thread(blobs.writer)
    try:
        while piece:
            await asyncio.to_thread(writer.write, piece)
            piece = await _piece(stream)
        return await asyncio.to_thread(writer.commit)
    except BaseException:  # also when the request is cancelled: half a blob must not stay
        await asyncio.to_thread(writer.abort)
        raise


async def _piece(stream: AsyncGenerator[bytes, None]) -> bytes:
    """The next PIECE_BYTES of the body or a little more; less only at its end."""
    parts: list[bytes] = []
    size = 0
    async for part in stream:
        parts.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            break
    return b"".join(parts)


def _stored(blobs: Blobs, data: bytes) -> Blob:
    writer = blobs.writer()
    try:
        writer.write(data)
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


def send(file: ArtifactFile, blobs: Blobs, *, inline: bool = False) -> Response:
    """The file as an answer, never to be interpreted by a browser unless `inline`; ranges work for local blobs.

    Raises NotFound when the store has lost its bytes.
    """
    name = file.path.rpartition("/")[2]
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "content-disposition": f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(name)}",
        "content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
        "x-content-type-options": "nosniff",
        "etag": f'"{file.digest}"',
    }
    path = blobs.path(file.digest)
    if path is not None:
        try:
            status = path.stat()
        except FileNotFoundError:
            hint = "do all servers of this database use the same --artifacts?   run: mlwright doctor"
            raise NotFound(f"the bytes of {file.path!r} are not in this server's store", hint=hint) from None
        return _LargePieces(path, headers=headers, media_type=kind, stat_result=status)
    headers["content-length"] = str(file.size)
    return StreamingResponse(_stream(blobs, file.digest), headers=headers, media_type=kind)


async def _stream(blobs: Blobs, digest: str) -> AsyncIterator[bytes]:
    pieces = await asyncio.to_thread(blobs.read, digest)
    while True:
        piece = await asyncio.to_thread(next, pieces, None)
        if piece is None:
            return
        yield piece
