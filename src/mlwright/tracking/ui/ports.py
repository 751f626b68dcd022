"""What the pages need of artifacts; implemented and wired in `app`, because slices of one tier stay apart."""

from typing import Protocol

import msgspec
from starlette.responses import Response

from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx


class FileEntry(msgspec.Struct, frozen=True):
    """An entry of an artifact folder. `path` is relative to the root; `size` is in bytes, None for folders."""

    path: str
    is_dir: bool
    size: int | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class StoredFile(msgspec.Struct, frozen=True):
    """A file that was found: enough to read or send it later, outside the transaction.

    `content` holds its bytes where they came along, as those of small files do.
    """

    path: str
    size: int
    digest: str
    created_ms: int
    content: bytes | None = None


class Files(Protocol):
    """The artifacts below an artifact URI."""

    def entries(self, tx: Tx, caller: Caller, root_uri: str, path: str) -> list[FileEntry]:
        """What lies directly in a folder; nothing for artifacts that are stored elsewhere. Raises Invalid."""
        ...

    def find(self, tx: Tx, caller: Caller, root_uri: str, path: str) -> StoredFile:
        """One file. Raises NotFound, Invalid."""
        ...

    def read(self, file: StoredFile, limit: int) -> bytes:
        """The first `limit` bytes. Blocks."""
        ...

    def send(self, file: StoredFile, *, inline: bool) -> Response:
        """The whole file as an answer that a browser shows (`inline`) or saves."""
        ...
