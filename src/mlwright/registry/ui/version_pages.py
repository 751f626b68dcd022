"""The pages of one version, and what one does to a version."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright import __version__
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, integer
from mlwright.kernel.identity import Role
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.gates import reports
from mlwright.registry.gates.spec import Standing
from mlwright.registry.service import gates as service
from mlwright.registry.service import versions
from mlwright.registry.ui import address, version
from mlwright.registry.ui.refusal import Refusals
from mlwright.registry.ui.version import VersionFilesPage, VersionPage, Wanted
from mlwright.web import files as shared
from mlwright.web.files import Files, Place, StoredFile
from mlwright.web.forms import read_form, see_other
from mlwright.web.pages import Pages

_NEWEST = 1 << 62
#: Media types and endings of files, by format.
_REPORTS: Mapping[str, tuple[str, str]] = {
    "junit": ("application/xml", "xml"),
    "sarif": ("application/sarif+json", "sarif"),
    "markdown": ("text/markdown; charset=utf-8", "md"),
}
_NO_SNIFFING = {"x-content-type-options": "nosniff"}


class VersionPages:
    """Handlers below /projects/{project}/models/{name}/versions/{version}.

    Args:
        database: where versions are kept.
        pages: renders.
        files: the files of versions.
    """

    def __init__(self, database: Database, pages: Pages, files: Files) -> None:
        self._database = database
        self._pages = pages
        self._files = files
        self._refusals = Refusals(database, pages)

    def routes(self) -> list[Route]:
        base = "/projects/{project}/models/{name}/versions/{version}"
        return [
            Route("GET", base, self.overview),
            Route("GET", f"{base}/gates", self.gates),
            Route("GET", f"{base}/report", self.report),
            Route("GET", f"{base}/files", self.files),
            Route("GET", f"{base}/files/{{path:path}}", self.files),
            Route("GET", f"{base}/raw/{{path:path}}", self.raw),
            Route("GET", f"{base}/history", self.history),
            Route("POST", f"{base}/gates", self.run_gates),
            Route("POST", f"{base}/word", self.say),
            Route("POST", f"{base}/describe", self.describe),
            Route("POST", f"{base}/tags", self.set_tag),
            Route("POST", f"{base}/tags/delete", self.delete_tag),
            Route("POST", f"{base}/stage", self.move),
            Route("POST", f"{base}/delete", self.delete),
        ]

    async def overview(self, request: Request) -> Response:
        (project, name, number), caller = named(request), caller_of(request)
        wanted = await self._database.read(lambda tx: version.load(tx, caller, self._files, name, number, project))
        page = await asyncio.to_thread(self._with_previews, wanted)
        return await self._pages.respond(request, "registry/version.html", page)

    def _with_previews(self, wanted: Wanted) -> VersionPage:
        page = wanted.page
        shown = {path: shared.preview_of(self._files, file) for path, file in wanted.files.items()}
        example = page.head.version.facts.input_example
        return msgspec.structs.replace(
            page,
            example=shown.get(example.path) if example else None,
            environment=[msgspec.structs.replace(each, preview=shown.get(each.path)) for each in page.environment],
        )

    async def gates(self, request: Request) -> Response:
        (project, name, number), caller = named(request), caller_of(request)
        found = await self._database.read(lambda tx: version.load_gates(tx, caller, name, number, project))
        return await self._pages.respond(request, "registry/version_gates.html", found)

    async def report(self, request: Request) -> Response:
        """How it stands, for other programs: ?as=junit, sarif or markdown."""
        (project, name, number), caller = named(request), caller_of(request)
        form = request.query_params.get("as", "")
        if form not in _REPORTS:
            raise Invalid(f"as must be {', '.join(_REPORTS)}, not {form!r}", path="as")
        standings = await self._database.read(
            lambda tx: service.standings(tx, versions.get(tx, caller, name, number, project))
        )
        of, (kind, ending) = f"{name}/{number}", _REPORTS[form]
        text = _REPORTERS[form](of, standings)
        headers = {"content-disposition": f'attachment; filename="gates-{number}.{ending}"', **_NO_SNIFFING}
        return Response(text, headers=headers, media_type=kind)

    async def files(self, request: Request) -> Response:
        (project, name, number), caller = named(request), caller_of(request)
        path, scripts = request.path_params.get("path", "").strip("/"), request.query_params.get("scripts") == "1"

        def load(tx: Tx) -> VersionFilesPage:
            head = version.head(tx, caller, name, number, project, "files")
            place = Place(f"{head.base}/files", f"{head.base}/raw")
            folder = shared.load(tx, caller, self._files, head.version.storage, path, place, scripts=scripts)
            return VersionFilesPage(head, folder)

        found = await self._database.read(load)
        folder = await asyncio.to_thread(shared.with_preview, self._files, found.folder)
        found = msgspec.structs.replace(found, folder=folder)
        return await self._pages.respond(request, "registry/version_files.html", found)

    async def raw(self, request: Request) -> Response:
        """The file, shown by the browser (?show=1) or saved."""
        (project, name, number), caller = named(request), caller_of(request)
        path, given = request.path_params["path"], request.query_params

        def find(tx: Tx) -> StoredFile:
            found = versions.get(tx, caller, name, number, project)
            return self._files.find(tx, caller, found.storage, path)

        file = await self._database.read(find)
        return await shared.send(self._files, file, shown=given.get("show") == "1", scripts=given.get("scripts") == "1")

    async def history(self, request: Request) -> Response:
        (project, name, number), caller = named(request), caller_of(request)
        before = integer(request, "before", _NEWEST, 1, _NEWEST)
        found = await self._database.read(lambda tx: version.load_history(tx, caller, name, number, project, before))
        return await self._pages.respond(request, "registry/version_history.html", found)

    # --- changes -----------------------------------------------------------------------------------------------

    async def run_gates(self, request: Request) -> Response:
        """Have gates run: those without an answer, or with `again` all of them."""
        form, (project, name, number), caller = await read_form(request), named(request), caller_of(request)
        policy, again = form.get("policy", ""), form.get("again") == "1"

        def work(tx: Tx) -> None:
            found = versions.find(tx, caller, name, number, Role.EDITOR, project)[1]
            service.request(tx, caller, found, policy, again=again)

        await self._database.write(work)
        return see_other(f"{address.of_version(project, name, number)}/gates")

    async def say(self, request: Request) -> Response:
        """Approve or reject at a gate."""
        form, (project, name, number), caller = await read_form(request), named(request), caller_of(request)
        policy, gate, comment = form.get("policy", ""), form.get("gate", ""), form.get("comment", "").strip()
        said = form.get("word", "")
        if said not in {"approve", "reject"}:
            raise Invalid(f"word must be approve or reject, not {said!r}", path="word")

        def work(tx: Tx) -> None:
            found = versions.find(tx, caller, name, number, Role.VIEWER, project)[1]
            service.approve(tx, caller, found, policy, gate, approves=said == "approve", comment=comment)

        await self._database.write(work)
        return see_other(form.get("back") or f"{address.of_version(project, name, number)}/gates")

    async def describe(self, request: Request) -> Response:
        form, (project, name, number), caller = await read_form(request), named(request), caller_of(request)
        text = form.get("note", "").replace("\r\n", "\n")
        await self._database.write(lambda tx: versions.describe(tx, caller, name, number, text, project))
        return see_other(address.of_version(project, name, number))

    async def set_tag(self, request: Request) -> Response:
        form, (project, name, number), caller = await read_form(request), named(request), caller_of(request)
        key, value = form.get("key", "").strip(), form.get("value", "")
        await self._database.write(lambda tx: versions.set_tag(tx, caller, name, number, key, value, project))
        return see_other(f"{address.of_version(project, name, number)}#tags")

    async def delete_tag(self, request: Request) -> Response:
        form, (project, name, number), caller = await read_form(request), named(request), caller_of(request)
        key = form.get("key", "")
        await self._database.write(lambda tx: versions.delete_tag(tx, caller, name, number, key, project))
        return see_other(f"{address.of_version(project, name, number)}#tags")

    async def move(self, request: Request) -> Response:
        """Move the version to a stage; a closed gate refuses it with a page that says why."""
        form, (project, name, number), caller = await read_form(request), named(request), caller_of(request)
        stage = validation.parse_stage(form.get("stage", ""))
        return await self._refusals.unless(
            request,
            lambda tx: versions.transition(tx, caller, name, number, stage, project=project),
            number,
            stage=stage,
            back=address.of_version(project, name, number),
        )

    async def delete(self, request: Request) -> Response:
        (project, name, number), caller = named(request), caller_of(request)
        await self._database.write(lambda tx: versions.delete_version(tx, caller, name, number, project))
        return see_other(address.of_model(project, name))


def _sarif(version: str, standings: Sequence[Standing]) -> str:
    document = msgspec.json.encode(reports.sarif(version, standings, __version__))
    return msgspec.json.format(document, indent=2).decode()


_REPORTERS: Mapping[str, Callable[[str, Sequence[Standing]], str]] = {
    "junit": reports.junit,
    "sarif": _sarif,
    "markdown": reports.markdown,
}


def named(request: Request) -> tuple[str, str, int]:
    """The project, the name of the model, and the number of the version."""
    found = request.path_params
    return found["project"], found["name"], validation.parse_version(found["version"])
