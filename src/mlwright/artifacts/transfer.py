"""Moving artifact bytes between HTTP and the blob store, in pieces, with flat memory."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator
from typing import TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse

from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel.blobs import PIECE_BYTES, Blob, Blobs, BlobWriter
from mlwright.kernel.errors import Invalid

T = TypeVar("T")


async def receive(request: Request, blobs: Blobs) -> Blob:
    """Store the request's body as a blob. Nothing stays behind when the client goes away half-way."""
    writer = await asyncio.to_thread(blobs.writer)
    try:
        pending: list[bytes] = []
        size = 0
        async for part in request.stream():
            pending.append(part)
            size += len(part)
            if size >= PIECE_BYTES:
                await asyncio.to_thread(writer.write, b"".join(pending))
                pending, size = [], 0
        return await asyncio.to_thread(_finish, writer, b"".join(pending))
    except BaseException as error:  # also when the request is cancelled: half a blob must not stay
        await asyncio.to_thread(writer.abort)
        if isinstance(error, ClientDisconnect):
            raise Invalid("The client went away before the upload was complete") from error
        raise


def _finish(writer: BlobWriter, rest: bytes) -> Blob:
    if rest:
        writer.write(rest)
    return writer.commit()


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
    """The file as an answer, never to be interpreted by a browser unless `inline`; ranges work for local blobs."""
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
        return _LargePieces(path, headers=headers, media_type=kind)
    headers["content-length"] = str(file.size)
    return StreamingResponse(_stream(blobs, file.digest), headers=headers, media_type=kind)


async def _stream(blobs: Blobs, digest: str) -> AsyncIterator[bytes]:
    pieces = await asyncio.to_thread(blobs.read, digest)
    while True:
        piece = await asyncio.to_thread(next, pieces, None)
        if piece is None:
            return
        yield piece
