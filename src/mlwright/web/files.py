"""A folder of files as a page shows it: a tree, a preview of the chosen file, and the file itself, sealed."""

from typing import Protocol

import msgspec
from starlette.responses import Response

from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.web.preview import READ_BYTES, Preview, kind_of, preview

#: Scripts of a page run in a frame of their own origin, without network.
_SCRIPTS = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:"
)
_MAX_ENTRIES = 2_000
#: Larger pictures are not shown before they are chosen.
_GALLERY_BYTES = 2 << 20
_MAX_GALLERY = 24
#: Folders that are opened unasked.
_MAX_OPENED = 12


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
    """The artifacts below an artifact URI; implemented and wired in `app`, because slices of one tier stay apart."""

    def entries(self, tx: Tx, caller: Caller, root_uri: str, path: str) -> list[FileEntry]:
        """What lies directly in a folder; nothing for artifacts that are stored elsewhere. Raises Invalid."""
        ...

    def find(self, tx: Tx, caller: Caller, root_uri: str, path: str) -> StoredFile:
        """One file. Raises NotFound, Invalid."""
        ...

    def read(self, file: StoredFile, limit: int) -> bytes:
        """The first `limit` bytes. Blocks."""
        ...

    async def send(self, file: StoredFile, *, inline: bool) -> Response:
        """The whole file as an answer that a browser shows (`inline`) or saves."""
        ...


class Place(msgspec.Struct, frozen=True):
    """Where on this server a folder is shown: addresses are `shown/…` for pages and `raw/…` for files, with `query`."""

    shown: str
    raw: str
    query: str = ""


class Node(msgspec.Struct, frozen=True):
    """A line of the tree; `level` is its depth below the root."""

    entry: FileEntry
    level: int
    opened: bool
    image: bool


class Folder(msgspec.Struct, frozen=True):
    """What is shown of a folder; `file` is None unless one was chosen."""

    place: Place
    path: str
    root_uri: str
    nodes: list[Node]
    cut: bool
    file: StoredFile | None
    scripts: bool
    gallery: list[FileEntry]
    preview: Preview | None = None


def load(tx: Tx, caller: Caller, files: Files, root: str, path: str, place: Place, *, scripts: bool = False) -> Folder:
    """The folder at the artifact URI `root` with the file or folder `path` chosen. Raises NotFound, Invalid."""
    nodes: list[Node] = []
    _tree(tx, caller, files, root, "", path, 0, nodes)
    chosen = next((node.entry for node in nodes if node.entry.path == path), None)
    is_file = bool(path) and (chosen is None or not chosen.is_dir)
    file = files.find(tx, caller, root, path) if is_file else None
    gallery = [node.entry for node in nodes if node.image and node.entry.path.rpartition("/")[0] == path]
    gallery = gallery[:_MAX_GALLERY] if file is None else []
    return Folder(place, path, root, nodes, len(nodes) >= _MAX_ENTRIES, file, scripts, gallery)


def _tree(
    tx: Tx, caller: Caller, files: Files, root: str, folder: str, path: str, level: int, nodes: list[Node]
) -> None:
    """The entries of a folder, with those below it that lead to `path`, or below the only folders there are."""
    entries = files.entries(tx, caller, root, folder)
    # A run with nothing but folders would open on a list that says nothing.
    only_folders = not path and len(entries) <= _MAX_OPENED and all(entry.is_dir for entry in entries)
    for entry in entries:
        if len(nodes) >= _MAX_ENTRIES:
            return
        opened = entry.is_dir and (f"{path}/".startswith(f"{entry.path}/") or (only_folders and not folder))
        image = not entry.is_dir and kind_of(entry.path) == "image" and (entry.size or 0) <= _GALLERY_BYTES
        nodes.append(Node(entry, level, opened, image))
        if opened:
            _tree(tx, caller, files, root, entry.path, path, level + 1, nodes)


def with_preview(files: Files, folder: Folder) -> Folder:
    """The folder with the preview of its chosen file. Blocks."""
    if folder.file is None:
        return folder
    return msgspec.structs.replace(folder, preview=preview_of(files, folder.file))


def preview_of(files: Files, file: StoredFile) -> Preview:
    """The preview of a file. Blocks."""
    limit = READ_BYTES.get(kind_of(file.path), 0)
    content = files.read(file, limit) if limit else b""
    return preview(file.path, content, file.size)


async def send(files: Files, file: StoredFile, *, shown: bool, scripts: bool) -> Response:
    """The file, shown by the browser or saved. Never with the rights of our own pages."""
    response = await files.send(file, inline=shown)
    if scripts and kind_of(file.path) == "html":
        response.headers["content-security-policy"] = _SCRIPTS
    return response
