"""MLflow's artifact routes: the proxy, multipart uploads, and files of runs and logged models."""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.artifacts import service, transfer
from mlwright.artifacts.spec import FileInfo, Owners, Part, safe_path
from mlwright.kernel.blobs import Blobs
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, is_number
from mlwright.kernel.identity import Caller
from mlwright.kernel.protojson import answer, both, decode, required
from mlwright.kernel.transaction import Tx

_PROXY = "mlflow-artifacts"
_MAX_DIRECT_BYTES = 10 << 20


class ListFiles(msgspec.Struct):
    path: str = ""


class ListRunFiles(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""


class ListModelFiles(msgspec.Struct):
    artifact_directory_path: str = ""


class CreateUpload(msgspec.Struct):
    path: str | None = None
    num_parts: int = 0


class WirePart(msgspec.Struct):
    part_number: int = 0
    etag: str = ""


class EndUpload(msgspec.Struct):
    path: str | None = None
    upload_id: str = ""
    parts: list[WirePart] = []


class ArtifactRoutes:
    """Handlers of the artifact routes.

    Args:
        database, blobs: where names and bytes are kept.
        owners: what paths belong to.
    """

    def __init__(self, database: Database, blobs: Blobs, owners: Owners) -> None:
        self._database = database
        self._blobs = blobs
        self._owners = owners

    def routes(self) -> list[Route]:
        found = [
            *both("GET", "artifacts/list", self.list_run_files),
            *both("GET", "logged-models/{model_id}/artifacts/directories", self.list_model_files, ("2.0", "3.0")),
            *both("GET", "logged-models/{model_id}/artifacts/files", self.get_model_file, ("2.0", "3.0")),
            Route("POST", "/ajax-api/2.0/mlflow/upload-artifact", self.upload_to_run),
            Route("GET", "/get-artifact", self.get_run_file),
            Route("GET", "/ajax-api/2.0/mlflow/get-artifact", self.get_run_file),
        ]
        for root in ("api", "ajax-api"):
            base = f"/{root}/2.0/{_PROXY}"
            found += [
                Route("GET", f"{base}/artifacts", self.list_files),
                Route("GET", f"{base}/artifacts/{{path:path}}", self.download),
                Route("PUT", f"{base}/artifacts/{{path:path}}", self.upload),
                Route("DELETE", f"{base}/artifacts/{{path:path}}", self.delete),
                Route("PUT", f"{base}/mpu/part/{{upload_id}}/{{number}}", self.upload_part),
                Route("POST", f"{base}/mpu/create/{{path:path}}", self.create_upload),
                Route("POST", f"{base}/mpu/complete/{{path:path}}", self.complete_upload),
                Route("POST", f"{base}/mpu/abort/{{path:path}}", self.abort_upload),
            ]
        return found

    # --- the proxy ---------------------------------------------------------------------------------------------

    async def list_files(self, request: Request) -> Response:
        path = safe_path((await decode(request, ListFiles)).path, empty=True)
        found = await self._entries(caller_of(request), path)
        prefix = f"{path}/" if path else ""
        return _listing([msgspec.structs.replace(each, path=each.path.removeprefix(prefix)) for each in found])

    async def download(self, request: Request) -> Response:
        path, caller = safe_path(request.path_params["path"]), caller_of(request)
        file = await self._database.read(lambda tx: service.get(tx, caller, path), brief=True)
        return await transfer.send(file, self._blobs)

    async def upload(self, request: Request) -> Response:
        path = safe_path(request.path_params["path"])
        await transfer.store(request, self._database, self._blobs, self._owners, path)
        return Response()  # as MLflow 3 answers: nothing, and so no content type

    async def delete(self, request: Request) -> Response:
        path, caller = safe_path(request.path_params["path"]), caller_of(request)
        await self._database.write(lambda tx: service.remove(tx, caller, self._owners, path))
        return answer()

    # --- files of runs and models ------------------------------------------------------------------------------

    async def list_run_files(self, request: Request) -> Response:
        message, caller = await decode(request, ListRunFiles), caller_of(request)
        run_id = required("run_id", message.run_id or message.run_uuid)
        root = await self._database.read(lambda tx: self._owners.run_root(tx, caller, run_id), brief=True)
        return await self._list_below(caller, root, message.path)

    async def get_run_file(self, request: Request) -> Response:
        query, caller = request.query_params, caller_of(request)
        run_id, path = query.get("run_id") or query.get("run_uuid", ""), query.get("path", "")
        required("run_id", run_id)
        return await self._send_below(
            caller, await self._database.read(lambda tx: self._owners.run_root(tx, caller, run_id), brief=True), path
        )

    async def list_model_files(self, request: Request) -> Response:
        message, caller = await decode(request, ListModelFiles), caller_of(request)
        model_id = request.path_params["model_id"]
        root = await self._database.read(lambda tx: self._owners.model_root(tx, caller, model_id))
        return await self._list_below(caller, root, message.artifact_directory_path)

    async def get_model_file(self, request: Request) -> Response:
        caller, model_id = caller_of(request), request.path_params["model_id"]
        path = request.query_params.get("artifact_file_path", "")
        root = await self._database.read(lambda tx: self._owners.model_root(tx, caller, model_id))
        return await self._send_below(caller, root, path)

    async def upload_to_run(self, request: Request) -> Response:
        query, caller = request.query_params, caller_of(request)
        run_id, path = query.get("run_uuid", ""), query.get("path", "")
        if not run_id:
            raise Invalid("Request must specify run_uuid.", path="run_uuid")
        if not path:
            raise Invalid("Request must specify path.", path="path")
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > _MAX_DIRECT_BYTES:
            raise Invalid("Artifact size is too large. Max size is 10MB.", path="content-length")
        if length == "0":
            raise Invalid("Request must specify data.", path="content-length")
        root = await self._database.read(lambda tx: self._owners.run_root(tx, caller, run_id), brief=True)
        await transfer.store(request, self._database, self._blobs, self._owners, service.resolve(root, path))
        return answer()

    # --- multipart uploads -------------------------------------------------------------------------------------

    async def create_upload(self, request: Request) -> Response:
        path, caller = safe_path(request.path_params["path"]), caller_of(request)
        message = await decode(request, CreateUpload)
        target = _upload_target(path, required("path", message.path))
        if not 1 <= message.num_parts <= service.MAX_PARTS:
            raise Invalid(f"num_parts must be from 1 to {service.MAX_PARTS}", path="num_parts")
        upload_id = await self._database.write(lambda tx: service.start_upload(tx, caller, self._owners, target))
        base = f"{request.url.scheme}://{request.url.netloc}/api/2.0/{_PROXY}/mpu/part/{upload_id}"
        credentials = [
            {"url": f"{base}/{number}", "part_number": number, "headers": {}}
            for number in range(1, message.num_parts + 1)
        ]
        return answer({"upload_id": upload_id, "credentials": credentials})

    async def upload_part(self, request: Request) -> Response:
        upload_id, text = request.path_params["upload_id"], request.path_params["number"]
        number = int(text) if is_number(text) else 0
        blob = await transfer.receive(
            request, self._database, self._blobs, lambda tx: service.upload_path(tx, upload_id)
        )
        await self._database.write(lambda tx: service.put_part(tx, upload_id, number, blob))
        response = answer()
        response.headers["etag"] = f'"{blob.digest}"'
        return response

    async def complete_upload(self, request: Request) -> Response:
        path, caller = safe_path(request.path_params["path"]), caller_of(request)
        message = await decode(request, EndUpload)
        target = _upload_target(path, required("path", message.path))
        wanted = [Part(part.part_number, part.etag) for part in message.parts]
        blobs = await self._database.read(lambda tx: service.parts(tx, message.upload_id, target, wanted))
        blob = await asyncio.to_thread(transfer.copy, self._blobs, blobs)

        def work(tx: Tx) -> None:
            service.put(tx, caller, self._owners, target, blob)
            service.end_upload(tx, caller, self._owners, message.upload_id)

        await self._database.write(work)
        return answer()

    async def abort_upload(self, request: Request) -> Response:
        message, caller = await decode(request, EndUpload), caller_of(request)
        await self._database.write(lambda tx: service.end_upload(tx, caller, self._owners, message.upload_id))
        return answer()

    # --- shared ------------------------------------------------------------------------------------------------

    async def _entries(self, caller: Caller, path: str) -> list[FileInfo]:
        return await self._database.read(lambda tx: service.entries(tx, caller, self._owners, path))

    async def _list_below(self, caller: Caller, root: str, relative: str) -> Response:
        path = service.resolve(root, relative, empty=True)
        base = service.resolve(root, "", empty=True)
        found = await self._entries(caller, path)
        shown = [msgspec.structs.replace(each, path=each.path.removeprefix(f"{base}/")) for each in found]
        return _listing(shown, root)

    async def _send_below(self, caller: Caller, root: str, relative: str) -> Response:
        path = service.resolve(root, relative)
        file = await self._database.read(lambda tx: service.get(tx, caller, path), brief=True)
        return await transfer.send(file, self._blobs)


def _upload_target(folder_or_path: str, name: str) -> str:
    """Clients give the folder in the URL and the file in the message: by its name, or by its path on their disk."""
    file = safe_path(name.replace("\\", "/").rpartition("/")[2])
    return folder_or_path if folder_or_path.rpartition("/")[2] == file else f"{folder_or_path}/{file}"


def _listing(files: list[FileInfo], root_uri: str = "") -> Response:
    shown = [
        {"path": each.path, "is_dir": each.is_dir, **({"file_size": each.size} if each.size else {})} for each in files
    ]
    found: dict[str, object] = {"root_uri": root_uri} if root_uri else {}
    return answer({**found, "files": shown} if shown else found)
