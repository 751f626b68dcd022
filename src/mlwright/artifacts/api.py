"""Files of runs and logged models over our own REST API."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.artifacts import service, transfer
from mlwright.artifacts.spec import ArtifactFile, FileInfo, Owners, safe_path
from mlwright.kernel.blobs import Blobs
from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, json_response
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.transaction import Tx

_TAG = "artifacts"
_PATH = Parameter("path", {"type": "string"}, "Folder; the root when not given.")
_ALL = Parameter("all", {"type": "boolean"}, "All files below the folder, with digests, instead of its entries.")


class StoredFile(msgspec.Struct, frozen=True):
    """A file below a run or model. `size` is in bytes; folders have neither size nor digest."""

    path: str
    is_dir: bool
    size: int | None = None
    digest: str | None = None


class ArtifactsApi:
    """Handlers.

    Args:
        database, blobs: where names and bytes are kept.
        owners: what paths belong to.
    """

    def __init__(self, database: Database, blobs: Blobs, owners: Owners) -> None:
        self._database = database
        self._blobs = blobs
        self._owners = owners

    def operations(self) -> list[Operation]:
        found = []
        for owner in ("runs/{run_id}", "logged-models/{model_id}"):
            folder, file = f"/v1/{owner}/artifacts", f"/v1/{owner}/artifacts/{{path:path}}"
            found += [
                Operation("GET", folder, self.list, "Files and folders.", _TAG, None, list[StoredFile], (_PATH, _ALL)),
                Operation("GET", file, self.get, "Download a file.", _TAG),
                Operation("PUT", file, self.put, "Upload a file: the body is its content.", _TAG, None, StoredFile),
                Operation("DELETE", file, self.delete, "Remove a file or folder.", _TAG, status=204),
            ]
        return found

    async def list(self, request: Request) -> Response:
        caller, path = caller_of(request), request.query_params.get("path", "")
        everything = request.query_params.get("all", "").lower() in {"1", "true", "yes"}
        root_uri = await self._root(request)

        def work(tx: Tx) -> list[StoredFile]:
            root = service.resolve(root_uri, "", empty=True)
            folder = service.resolve(root_uri, path, empty=True)
            if everything:
                return [_shown(each, root) for each in service.below(tx, caller, self._owners, folder)]
            return [_entry(each, root) for each in service.entries(tx, caller, self._owners, folder)]

        return json_response(await self._database.read(work))

    async def get(self, request: Request) -> Response:
        path, caller = await self._path(request), caller_of(request)
        file = await self._database.read(lambda tx: service.get(tx, caller, path), brief=True)
        return await transfer.send(file, self._blobs)

    async def put(self, request: Request) -> Response:
        file = await transfer.store(request, self._database, self._blobs, self._owners, await self._path(request))
        shown = safe_path(request.path_params["path"])
        return json_response(StoredFile(shown, is_dir=False, size=file.size, digest=file.digest))

    async def delete(self, request: Request) -> Response:
        path, caller = await self._path(request), caller_of(request)
        await self._database.write(lambda tx: service.remove(tx, caller, self._owners, path))
        return Response(status_code=204)

    async def _root(self, request: Request) -> str:
        caller, found = caller_of(request), request.path_params
        if "run_id" in found:
            return await self._database.read(lambda tx: self._owners.run_root(tx, caller, found["run_id"]))
        return await self._database.read(lambda tx: self._owners.model_root(tx, caller, found["model_id"]))

    async def _path(self, request: Request) -> str:
        return service.resolve(await self._root(request), request.path_params["path"])


def _entry(each: FileInfo, root: str) -> StoredFile:
    return StoredFile(each.path.removeprefix(f"{root}/"), each.is_dir, each.size)


def _shown(each: ArtifactFile, root: str) -> StoredFile:
    return StoredFile(each.path.removeprefix(f"{root}/"), is_dir=False, size=each.size, digest=each.digest)
