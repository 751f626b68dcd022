"""Files and signatures of versions over our own REST API."""

import asyncio
from functools import partial
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.artifacts import service as artifacts
from mlwright.artifacts.spec import ArtifactFile
from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, json_response, read_json
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.service import loading, pinning, signatures, trust, versions
from mlwright.registry.signatures.spec import Verification, VersionSignature
from mlwright.registry.spec import ModelVersion

_TAG = "signatures"
_LOAD = Parameter("load", {"type": "boolean"}, "They are to be loaded: refused when the version may not be trusted.")
_PROJECT = Parameter("project", {"type": "string"}, "Where the model is; your own project when not given.")


class Files(loading.Digests, loading.Bytes, Protocol):
    """The bytes of versions."""

    async def send(self, file: ArtifactFile) -> Response:
        """The answer to a download."""
        ...


class VersionFile(msgspec.Struct, frozen=True):
    """A file of a version. `size` is in bytes; `digest` is "sha256:" and hexadecimal digits."""

    path: str
    size: int
    digest: str


class NewSignature(msgspec.Struct, forbid_unknown_fields=True):
    """A signature of the version's files: the text of a Sigstore bundle, as OpenSSF model signing writes it."""

    bundle: str


class SignatureBundle(msgspec.Struct, frozen=True):
    """A signature itself, and name and PEM of the key that it is by; null when the project does not know the key."""

    bundle: str
    key: str | None
    public_key: str | None


class SignaturesApi:
    """Handlers.

    Args:
        database: where versions stand.
        files: their bytes.
    """

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self._files = files
        self._verifying = asyncio.Lock()  # one after the other: each takes all processors for a while

    def operations(self) -> list[Operation]:
        version, here = "/v1/models/{name}/versions/{version}", (_PROJECT,)
        files, signed = f"{version}/files", f"{version}/signatures"
        one, verification = f"{signed}/{{fingerprint}}", f"{version}/verification"
        return [
            Operation("GET", files, self.list_files, "Its files.", _TAG, None, list[VersionFile], (*here, _LOAD)),
            Operation("GET", f"{files}/{{path:path}}", self.get_file, "Download a file.", _TAG, query=here),
            Operation("GET", signed, self.list, "Who has signed it.", _TAG, None, list[VersionSignature], here),
            Operation("POST", signed, self.add, "Bring a signature.", _TAG, NewSignature, VersionSignature, here),
            Operation("GET", one, self.get, "A signature itself.", _TAG, None, SignatureBundle, here),
            Operation("POST", verification, self.verify, "Look at every byte.", _TAG, None, Verification, here),
        ]

    async def list_files(self, request: Request) -> Response:
        caller, name, number, project = _where(request)
        to_load = request.query_params.get("load", "").lower() in {"1", "true", "yes"}

        def work(tx: Tx) -> tuple[ModelVersion, list[VersionFile]]:
            version = versions.find(tx, caller, name, number, Role.VIEWER, project)[1]
            return version, [VersionFile(each.path, each.size, each.digest) for each in trust.files(tx, version)]

        version, found = await self._database.read(work)
        if to_load:
            await loading.require(self._database, self._files, caller, version)
        return json_response(found)

    async def get_file(self, request: Request) -> Response:
        (caller, name, number, project), path = _where(request), request.path_params["path"]

        def work(tx: Tx) -> ArtifactFile:
            version = versions.find(tx, caller, name, number, Role.VIEWER, project)[1]
            return artifacts.get(tx, caller, f"{pinning.root(version.storage)}/{path}")

        return await self._files.send(await self._database.read(work))

    async def list(self, request: Request) -> Response:
        caller, name, number, project = _where(request)
        return json_response(
            await self._database.read(lambda tx: signatures.list_all(tx, caller, name, number, project))
        )

    async def get(self, request: Request) -> Response:
        (caller, name, number, project), fingerprint = _where(request), request.path_params["fingerprint"]

        def work(tx: Tx) -> SignatureBundle:
            found = signatures.bundle(tx, caller, name, number, fingerprint, project)
            home = versions.find(tx, caller, name, number, Role.VIEWER, project)[1].project
            known = next((each for each in trust.keys(tx, home) if each.spec.fingerprint == fingerprint), None)
            return SignatureBundle(
                found.decode(), known.name if known else None, known.spec.public_key if known else None
            )

        return json_response(await self._database.read(work))

    async def add(self, request: Request) -> Response:
        body, (caller, name, number, project) = await read_json(request, NewSignature), _where(request)
        bundle = body.bundle.encode()
        return json_response(
            await self._database.write(lambda tx: signatures.add(tx, caller, name, number, bundle, project))
        )

    async def verify(self, request: Request) -> Response:
        look = partial(loading.verify, self._database, self._files)
        async with self._verifying:
            return json_response(await asyncio.to_thread(look, *_where(request)))


def _where(request: Request) -> tuple[Caller, str, int, str]:
    found = request.path_params
    number, project = validation.parse_version(found["version"]), request.query_params.get("project", "")
    return caller_of(request), found["name"], number, project
