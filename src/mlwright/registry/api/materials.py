"""Bills of materials over our own REST API."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.registry import materials, validation

_PROJECT = Parameter("project", {"type": "string"}, "Where the model is; your own project when not given.")
MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"


class MaterialsApi:
    """Handlers.

    Args:
        database: where versions stand.
        files: their bytes.
    """

    def __init__(self, database: Database, files: materials.Files) -> None:
        self._database = database
        self._files = files

    def operations(self) -> list[Operation]:
        path, here = "/v1/models/{name}/versions/{version}/sbom", (_PROJECT,)
        return [Operation("GET", path, self.get, "Its bill of materials.", "models", None, dict[str, Any], here)]

    async def get(self, request: Request) -> Response:
        found, project = request.path_params, request.query_params.get("project", "")
        number = validation.parse_version(found["version"])
        where = (self._database, self._files, caller_of(request), found["name"], number, project)
        return Response(await asyncio.to_thread(materials.bill, *where), media_type=MEDIA_TYPE)
