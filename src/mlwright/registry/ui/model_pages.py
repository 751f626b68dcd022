"""The pages of one model, and what one does to a model."""

import urllib.parse
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, integer, is_number, json_response
from mlwright.kernel.identity import Role
from mlwright.registry import validation
from mlwright.registry.service import aliases, models, renaming
from mlwright.registry.ui import address, model
from mlwright.registry.ui.refusal import Refusals
from mlwright.web import markdown
from mlwright.web.columns import Column, parse_columns, recall, remember
from mlwright.web.forms import read_form, see_other
from mlwright.web.live import stream
from mlwright.web.pages import Pages

COOKIE = "mlw-columns"
_MAX_SIZE = 500
_NEWEST = 1 << 62


class ModelPages:
    """Handlers below /projects/{project}/models/{name}, but for its versions.

    Args:
        database: where models are kept.
        pages: renders.
    """

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages
        self._refusals = Refusals(database, pages)

    def routes(self) -> list[Route]:
        base = "/projects/{project}/models/{name}"
        return [
            Route("GET", base, self.show),
            Route("GET", f"{base}/history", self.history),
            Route("GET", f"{base}/keys", self.keys),
            Route("GET", f"{base}/live", self.live),
            Route("POST", f"{base}/columns", self.choose_columns),
            Route("POST", f"{base}/describe", self.describe),
            Route("POST", f"{base}/preview", self.preview),
            Route("POST", f"{base}/tags", self.set_tag),
            Route("POST", f"{base}/tags/delete", self.delete_tag),
            Route("POST", f"{base}/aliases", self.move_alias),
            Route("POST", f"{base}/aliases/delete", self.remove_alias),
            Route("POST", f"{base}/rename", self.rename),
            Route("POST", f"{base}/delete", self.delete),
        ]

    async def show(self, request: Request) -> Response:
        (project, name), caller, given = named(request), caller_of(request), request.query_params
        size = integer(request, "size", model.PAGE, 1, _MAX_SIZE)
        chosen = parse_columns(given.getlist("column")) if "column" in given else recall(request, COOKIE)
        found = await self._database.read(
            lambda tx: model.load(tx, caller, name, project, chosen, size, given.get("token", ""))
        )
        if "column" in given:
            found = msgspec.structs.replace(found, chosen=_encoded(found.columns))
        return await self._pages.respond(request, "registry/model.html", found)

    async def history(self, request: Request) -> Response:
        (project, name), caller = named(request), caller_of(request)
        before = integer(request, "before", _NEWEST, 1, _NEWEST)
        found = await self._database.read(lambda tx: model.load_history(tx, caller, name, project, before))
        return await self._pages.respond(request, "registry/model_history.html", found)

    async def keys(self, request: Request) -> Response:
        """All keys that can be columns, as JSON: {metrics, params, tags: [names], complete}."""
        (project, name), caller = named(request), caller_of(request)
        return json_response(await self._database.read(lambda tx: model.keys(tx, caller, name, project)))

    async def live(self, request: Request) -> Response:
        (project, name), caller = named(request), caller_of(request)
        await self._database.read(lambda tx: models.find(tx, caller, name, Role.VIEWER, project))
        return stream(self._database.changes, models.topic(project, name))

    # --- changes -----------------------------------------------------------------------------------------------

    async def choose_columns(self, request: Request) -> Response:
        """Remember the columns in this browser and show them."""
        form, base = await read_form(request), address.of_model(*named(request))
        chosen = parse_columns(form.getlist("column"))
        if form.get("reset"):
            response = see_other(base)
            response.delete_cookie(COOKIE, path=base)
            return response
        response = see_other(f"{base}?{_encoded(chosen)}")
        remember(response, COOKIE, chosen, base)
        return response

    async def describe(self, request: Request) -> Response:
        form, (project, name), caller = await read_form(request), named(request), caller_of(request)
        text = form.get("note", "").replace("\r\n", "\n")
        await self._database.write(lambda tx: models.describe(tx, caller, name, text, project))
        return see_other(address.of_model(project, name))

    async def preview(self, request: Request) -> Response:
        """The HTML of a Markdown text: {"html"}."""
        form = await read_form(request)
        return json_response({"html": str(markdown.render(form.get("note", "")))})

    async def set_tag(self, request: Request) -> Response:
        form, (project, name), caller = await read_form(request), named(request), caller_of(request)
        key, value = form.get("key", "").strip(), form.get("value", "")
        await self._database.write(lambda tx: models.set_tag(tx, caller, name, key, value, project))
        return see_other(f"{address.of_model(project, name)}#tags")

    async def delete_tag(self, request: Request) -> Response:
        form, (project, name), caller = await read_form(request), named(request), caller_of(request)
        key = form.get("key", "")
        await self._database.write(lambda tx: models.delete_tag(tx, caller, name, key, project))
        return see_other(f"{address.of_model(project, name)}#tags")

    async def move_alias(self, request: Request) -> Response:
        """Let an alias lead to a version; if a gate is closed, a page says why and what an administrator can do."""
        form, (project, name), caller = await read_form(request), named(request), caller_of(request)
        alias, version = form.get("alias", "").strip(), validation.parse_version(form.get("version", "").strip())
        override, shown = form.get("override", "").strip(), form.get("expected", "")
        expected = _expected(shown)
        return await self._refusals.unless(
            request,
            lambda tx: aliases.move(tx, caller, name, alias, version, expected, project, override),
            version,
            alias=alias,
            expected=shown,
            back=form.get("back") or f"{address.of_model(project, name)}#aliases",
        )

    async def remove_alias(self, request: Request) -> Response:
        form, (project, name), caller = await read_form(request), named(request), caller_of(request)
        alias = form.get("alias", "")
        await self._database.write(lambda tx: aliases.remove(tx, caller, name, alias, project))
        return see_other(form.get("back") or f"{address.of_model(project, name)}#aliases")

    async def rename(self, request: Request) -> Response:
        form, (project, name), caller = await read_form(request), named(request), caller_of(request)
        new = form.get("new_name", "").strip()
        await self._database.write(lambda tx: renaming.rename(tx, caller, name, new, project))
        return see_other(address.of_model(project, new))

    async def delete(self, request: Request) -> Response:
        (project, name), caller = named(request), caller_of(request)
        await self._database.write(lambda tx: models.delete_model(tx, caller, name, project))
        return see_other("/models")


def named(request: Request) -> tuple[str, str]:
    """The project and the name of the model."""
    return request.path_params["project"], request.path_params["name"]


def _encoded(columns: Sequence[Column]) -> str:
    """Columns as part of an address."""
    return urllib.parse.urlencode([("column", column.id) for column in columns] or [("column", "")])


def _expected(text: str) -> int | UnsetType | None:
    """Where the alias led on the page that was looked at: a number, 0 for nowhere; nothing when it did not matter."""
    if not text:
        return UNSET
    if not is_number(text):
        raise Invalid(f"{text!r} is not the number of a version", path="expected")
    return int(text) or None
