"""The bill of materials of a version: what it needs, as a table and as a CycloneDX file."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, Unsupported
from mlwright.kernel.http import Route, caller_of
from mlwright.registry import materials
from mlwright.registry.ui import version
from mlwright.registry.ui.version import VersionHead
from mlwright.registry.ui.version_pages import named
from mlwright.web.pages import Pages

_MOST = 2_000
_MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"


class Library(msgspec.Struct, frozen=True):
    """A distribution that the model needs. `version` is empty where none is certain; then `asked` says what is."""

    name: str
    version: str
    licence: str
    source: str
    asked: str


class MaterialsPage(msgspec.Struct, frozen=True):
    """The bill, or why there is none. `listed` counts all libraries, of which the first are shown."""

    head: VersionHead
    libraries: list[Library]
    listed: int
    error: dict[str, str] | None


class MaterialsPages:
    """Handlers of bills of materials.

    Args:
        database: where versions are kept.
        pages: renders.
        files: the bytes of versions.
    """

    def __init__(self, database: Database, pages: Pages, files: materials.Files) -> None:
        self._database = database
        self._pages = pages
        self._files = files

    def routes(self) -> list[Route]:
        base = "/projects/{project}/models/{name}/versions/{version}"
        return [Route("GET", f"{base}/materials", self.show), Route("GET", f"{base}/sbom.cdx.json", self.file)]

    async def show(self, request: Request) -> Response:
        (project, name, number), caller = named(request), caller_of(request)
        head = await self._database.read(lambda tx: version.head(tx, caller, name, number, project, "materials"))
        libraries: list[Library] = []
        error = None
        try:
            document: dict[str, Any] = msgspec.json.decode(await self._bill(request))
            libraries = [_library(each) for each in document.get("components", [])]
        except (Invalid, Unsupported) as problem:
            error = {"message": problem.message, "hint": problem.hint, "path": problem.path}
        page = MaterialsPage(head, libraries[:_MOST], len(libraries), error)
        return await self._pages.respond(request, "registry/version_materials.html", page)

    async def file(self, request: Request) -> Response:
        """The bill as a file."""
        number = named(request)[2]
        headers = {
            "content-disposition": f'attachment; filename="sbom-{number}.cdx.json"',
            "x-content-type-options": "nosniff",
        }
        return Response(await self._bill(request), headers=headers, media_type=_MEDIA_TYPE)

    async def _bill(self, request: Request) -> str:
        project, name, number = named(request)
        where = (self._database, self._files, caller_of(request), name, number, project)
        return await asyncio.to_thread(materials.bill, *where)


def _library(component: dict[str, Any]) -> Library:
    """A component as CycloneDX has it."""
    said = {each["name"]: each["value"] for each in component.get("properties", [])}
    licences = [
        each.get("expression") or each.get("license", {}).get("id", "") for each in component.get("licenses", [])
    ]
    return Library(
        component["name"],
        component.get("version", ""),
        ", ".join(filter(None, licences)),
        said.get("mlwright:source", ""),
        said.get("mlwright:requirement", ""),
    )
