"""Moving in: registered models, versions and aliases that were made elsewhere, under /v1/import."""

from functools import partial
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, json_response, read_json
from mlwright.kernel.identity import Caller
from mlwright.kernel.openapi import Operation
from mlwright.kernel.transaction import Tx
from mlwright.registry.ports import MovedRegisteredModel, MovedVersion
from mlwright.registry.service import importing, registration
from mlwright.registry.service.importing import ImportedAliases, ImportedRegisteredModel, ImportedVersion, Moving
from mlwright.registry.service.registration import Description, ReadFiles

_TAG = "import"


class ImportRegisteredModel(msgspec.Struct, forbid_unknown_fields=True):
    """`dry_run` only says what would change; `project` is your own when empty, here and below."""

    model: MovedRegisteredModel
    project: str = ""
    prefix: str = ""
    dry_run: bool = False


class ImportVersions(msgspec.Struct, forbid_unknown_fields=True):
    """Versions of the model `name`, by number.

    `source` is noted in the events. `override` is the reason of an administrator who moves stages though a gate is
    closed.
    """

    name: str
    versions: Annotated[list[MovedVersion], msgspec.Meta(max_length=100)]
    project: str = ""
    source: str = ""
    override: str = ""
    dry_run: bool = False


class ImportAliases(msgspec.Struct, forbid_unknown_fields=True):
    """Where aliases of the model `name` lead, and when it was changed last. `override` is as for versions."""

    name: str
    aliases: dict[str, int]
    updated_ms: int = 0
    project: str = ""
    override: str = ""
    dry_run: bool = False


class ImportRegistryApi:
    """Handlers; each may be repeated. Every version is a unit of work."""

    def __init__(self, database: Database, files: ReadFiles) -> None:
        self._database = database
        self._files = files

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "POST", "/v1/import/registered-models", self.model, "Move in a registered model.", _TAG,
                ImportRegisteredModel, ImportedRegisteredModel,
            ),
            Operation(
                "POST", "/v1/import/versions", self.versions, "Move in versions of a model.", _TAG, ImportVersions,
                list[ImportedVersion],
            ),
            Operation(
                "POST", "/v1/import/aliases", self.aliases, "Move in aliases of a model.", _TAG, ImportAliases,
                ImportedAliases,
            ),
        ]  # fmt: skip

    async def model(self, request: Request) -> Response:
        body = await read_json(request, ImportRegisteredModel)
        caller = _in(request, body.project)
        return json_response(
            await self._database.write(
                lambda tx: importing.import_model(tx, caller, body.model, body.prefix, dry=body.dry_run)
            )
        )

    async def versions(self, request: Request) -> Response:
        body = await read_json(request, ImportVersions)
        work = partial(_version, _in(request, body.project), body)
        return json_response(
            [await registration.describing(self._database, self._files, partial(work, each)) for each in body.versions]
        )

    async def aliases(self, request: Request) -> Response:
        body = await read_json(request, ImportAliases)
        caller, moving = _in(request, body.project), Moving("", body.override, body.dry_run)
        return json_response(
            await self._database.write(
                lambda tx: importing.import_aliases(tx, caller, body.name, body.aliases, body.updated_ms, moving)
            )
        )


def _version(caller: Caller, body: ImportVersions, moved: MovedVersion, tx: Tx, known: Description) -> ImportedVersion:
    moving = Moving(body.source, body.override, body.dry_run)
    return importing.import_version(tx, caller, body.name, moved, known, moving)


def _in(request: Request, project: str) -> Caller:
    """The caller, at work in a project: their own when empty."""
    caller = caller_of(request)
    return msgspec.structs.replace(caller, project=project) if project else caller
