"""The artifacts of a run, or of a model that it logged."""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import models, runs
from mlwright.tracking.ui import details
from mlwright.tracking.ui.details import Head
from mlwright.web import files as shared
from mlwright.web.files import Files, Folder, Place, StoredFile
from mlwright.web.pages import Pages


class FilesPage(msgspec.Struct, frozen=True):
    """`base` is the address of the run, `model` the logged model whose files are shown, if any."""

    head: Head
    base: str
    model: str
    folder: Folder


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
        model_id, scripts = request.query_params.get("model", ""), request.query_params.get("scripts") == "1"

        def load(tx: Tx) -> FilesPage:
            head = details.head(tx, caller, run_id, now, "artifacts")
            root = models.get(tx, caller, model_id).artifact_uri if model_id else head.info.artifact_uri
            base = f"/runs/{head.info.run_id}"
            place = Place(f"{base}/artifacts", f"{base}/raw", f"model={model_id}" if model_id else "")
            folder = shared.load(tx, caller, self._files, root, path, place, scripts=scripts)
            return FilesPage(head, base, model_id, folder)

        found = await self._database.read(load)
        folder = await asyncio.to_thread(shared.with_preview, self._files, found.folder)
        found = msgspec.structs.replace(found, folder=folder)
        return await self._pages.respond(request, "tracking/artifacts.html", found)

    async def raw(self, request: Request) -> Response:
        """The file, shown by the browser (?show=1) or saved."""
        run_id, caller, path = request.path_params["id"], caller_of(request), request.path_params["path"]
        given = request.query_params
        model_id = given.get("model", "")

        def find(tx: Tx) -> StoredFile:
            root = (models.get(tx, caller, model_id) if model_id else runs.find(tx, caller, run_id).info).artifact_uri
            return self._files.find(tx, caller, root, path)

        file = await self._database.read(find)
        return await shared.send(self._files, file, shown=given.get("show") == "1", scripts=given.get("scripts") == "1")
