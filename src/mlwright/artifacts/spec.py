"""The words of artifacts, and which paths are safe."""

import re
import unicodedata
from typing import Protocol
from urllib.parse import unquote

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx

#: URI scheme of artifacts that are stored here.
SCHEME = "mlflow-artifacts:"
MAX_PATH_LENGTH = 2_000
#: Files of at most so many bytes are kept in the database, beside their names; larger ones in the blob store.
SMALL_BYTES = 32 << 10
_DRIVE = re.compile(r"[A-Za-z]:")


class FileInfo(msgspec.Struct, frozen=True):
    """An entry of a folder. `size` is in bytes, and absent for folders."""

    path: str
    is_dir: bool
    size: int | None = None


class ArtifactFile(msgspec.Struct, frozen=True):
    """A stored file: which blob it is. `content` holds the bytes of a small file that was asked for by its path."""

    path: str
    project: str
    digest: str
    size: int
    created_ms: int
    content: bytes | None = None


class Part(msgspec.Struct, frozen=True):
    """One part of a multipart upload; `etag` is the digest that uploading it returned."""

    number: int
    etag: str


class Owners(Protocol):
    """Says what artifact trees belong to; implemented by tracking and the registry, put together in `app`."""

    def project_of(self, tx: Tx, path: str) -> str | None:
        """The project that the artifacts at `path` belong to; None when nothing known lies there."""
        ...

    def require_changeable(self, tx: Tx, path: str) -> None:
        """Raises Immutable when what is at `path`, or would be, can never change."""
        ...

    def run_root(self, tx: Tx, caller: Caller, run_id: str) -> str:
        """The artifact URI of a run. Raises NotFound."""
        ...

    def model_root(self, tx: Tx, caller: Caller, model_id: str) -> str:
        """The artifact URI of a logged model. Raises NotFound."""
        ...


def safe_path(text: str, *, empty: bool = False) -> str:
    """`text` as a relative path without surprises.

    Raises Invalid ("Invalid path", as MLflow) for absolute paths, "..", backslashes, drive letters, control
    characters, and any of these hidden by percent-encoding. A path may be empty only when `empty` says so.
    """
    decoded = _decoded(text)
    parts = decoded.split("/")
    bad = (
        decoded.startswith("/")
        or ".." in parts
        or "\\" in decoded
        or "#" in decoded
        or _DRIVE.match(decoded)
        or decoded.lower().startswith("file:")
        or len(decoded) > MAX_PATH_LENGTH
        or any(unicodedata.category(character) in {"Cc", "Cs"} for character in decoded)
    )
    path = "/".join(part for part in text.split("/") if part not in {"", "."})
    if bad or (not path and not empty):
        raise Invalid("Invalid path", path="path", hint="use a relative path with / between folders")
    return path


def _decoded(text: str) -> str:
    """Percent-decoded until nothing changes: an encoded ".." must not slip through one layer of decoding."""
    for _ in range(10):
        decoded = unquote(text)
        if decoded == text:
            return decoded
        text = decoded
    raise Invalid("Invalid path", path="path")


def root_path(uri: str) -> str | None:
    """The path behind an mlflow-artifacts: URI; None for artifacts that are stored elsewhere."""
    if not uri.startswith(SCHEME):
        return None
    rest = uri.removeprefix(SCHEME)
    if rest.startswith("//"):
        rest = rest[2:].partition("/")[2]
    return rest.strip("/")
