"""The artifacts of a run: a tree, a preview of the chosen file, and the file itself."""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import models, runs
from mlwright.tracking.ui import details
from mlwright.tracking.ui.details import Head
from mlwright.tracking.ui.ports import FileEntry, Files, StoredFile
from mlwright.tracking.ui.preview import READ_BYTES, Preview, kind_of, preview
from mlwright.web.pages import Pages

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


class Node(msgspec.Struct, frozen=True):
    """A line of the tree; `level` is its depth below the root."""

    entry: FileEntry
    level: int
    opened: bool
    image: bool


class FilesPage(msgspec.Struct, frozen=True):
    """`file` is None for a folder; `base` is the address of the run, `model` the logged model
    whose files are shown, if any."""

    head: Head
    base: str
    model: str
    path: str
    root_uri: str
    nodes: list[Node]
    cut: bool
    file: StoredFile | None
    preview: Preview | None
    scripts: bool
    gallery: list[FileEntry]


class FilePages:
    """Handlers of artifacts.

    Args:
        database: where names are kept.
        pages: renders.
        files: the artifacts themselves.
    """

    def __init__(self, database: Database, pages: Pages, files: Files) -> None:
        self._database = database
        self._pages = pages
        self._files = files

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/runs/{id}/artifacts", self.show),
            Route("GET", "/runs/{id}/artifacts/{path:path}", self.show),
            Route("GET", "/runs/{id}/raw/{path:path}", self.raw),
        ]

    async def show(self, request: Request) -> Response:
        run_id, caller, now = request.path_params["id"], caller_of(request), self._database.clock.now_ms()
        path = request.path_params.get("path", "").strip("/")
        model_id = request.query_params.get("model", "")

        def load(tx: Tx) -> FilesPage:
            head = details.head(tx, caller, run_id, now, "artifacts")
            root = models.get(tx, caller, model_id).artifact_uri if model_id else head.info.artifact_uri
            found = self._load(tx, caller, head, root, path)
            return msgspec.structs.replace(found, model=model_id, scripts=request.query_params.get("scripts") == "1")

        found = await self._database.read(load)
        if found.file is not None:
            shown = await asyncio.to_thread(self._preview, found.file)
            found = msgspec.structs.replace(found, preview=shown)
        return await self._pages.respond(request, "tracking/artifacts.html", found)

    def _load(self, tx: Tx, caller: Caller, head: Head, root: str, path: str) -> FilesPage:
        nodes: list[Node] = []
        self._tree(tx, caller, root, "", path, 0, nodes)
        chosen = next((node.entry for node in nodes if node.entry.path == path), None)
        is_file = bool(path) and (chosen is None or not chosen.is_dir)
        file = self._files.find(tx, caller, root, path) if is_file else None
        base = f"/runs/{head.info.run_id}"
        cut = len(nodes) >= _MAX_ENTRIES
        gallery = [node.entry for node in nodes if node.image and node.entry.path.rpartition("/")[0] == path]
        gallery = gallery[:_MAX_GALLERY] if file is None else []
        return FilesPage(head, base, "", path, root, nodes, cut, file, None, False, gallery)

    def _tree(self, tx: Tx, caller: Caller, root: str, folder: str, path: str, level: int, nodes: list[Node]) -> None:
        """The entries of a folder, with those below it that lead to `path`, or below the only folders there are."""
        entries = self._files.entries(tx, caller, root, folder)
        # A run with nothing but folders would open on a list that says nothing.
        only_folders = not path and len(entries) <= _MAX_OPENED and all(entry.is_dir for entry in entries)
        for entry in entries:
            if len(nodes) >= _MAX_ENTRIES:
                return
            opened = entry.is_dir and (f"{path}/".startswith(f"{entry.path}/") or (only_folders and not folder))
            image = not entry.is_dir and kind_of(entry.path) == "image" and (entry.size or 0) <= _GALLERY_BYTES
            nodes.append(Node(entry, level, opened, image))
            if opened:
                self._tree(tx, caller, root, entry.path, path, level + 1, nodes)

    def _preview(self, file: StoredFile) -> Preview:
        limit = READ_BYTES.get(kind_of(file.path), 0)
        content = self._files.read(file, limit) if limit else b""
        return preview(file.path, content, file.size)

    async def raw(self, request: Request) -> Response:
        """The file, shown by the browser (?show=1) or saved. Never with the rights of our own pages."""
        run_id, caller, path = request.path_params["id"], caller_of(request), request.path_params["path"]
        model_id = request.query_params.get("model", "")

        def find(tx: Tx) -> StoredFile:
            root = (models.get(tx, caller, model_id) if model_id else runs.find(tx, caller, run_id).info).artifact_uri
            return self._files.find(tx, caller, root, path)

        file = await self._database.read(find)
        response = self._files.send(file, inline=request.query_params.get("show") == "1")
        if request.query_params.get("scripts") == "1" and kind_of(path) == "html":
            response.headers["content-security-policy"] = _SCRIPTS
        return response
