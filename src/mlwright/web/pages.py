"""Rendering: a template and plain data become a page, or with ?format=json the data itself."""

import asyncio
import re
import shlex
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mlwright.kernel.errors import MlwrightError
from mlwright.kernel.http import json_response
from mlwright.kernel.identity import Caller
from mlwright.web import formats, i18n, markdown
from mlwright.web.assets import Assets
from mlwright.web.compress import compressed
from mlwright.web.i18n import Words, language_of

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_YEAR_S = 365 * 86_400
_THEMES = ("auto", "light", "dark")
#: No inline scripts or styles, nothing from elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data: blob:;"
    " media-src 'self'; font-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-cache",
    "vary": "accept, accept-language, cookie",
}
_UNSAFE_ID = re.compile(r"[^A-Za-z0-9_-]")


class Pages:
    """Renders templates.

    Args:
        folders: further template folders by prefix: "tracking/run.html" lies in folders["tracking"].
        assets: the static files the layout refers to.
        waiting: how many things wait for a caller; shown beside the navigation's entry.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        assets: Assets,
        waiting: Callable[[Caller], Awaitable[int]] | None = None,
    ) -> None:
        self._waiting = waiting
        self._folders = {"web": _TEMPLATES, **folders}
        self.assets = assets

    @cached_property
    def _environment(self) -> "Environment":
        from jinja2 import Environment, FileSystemLoader, PrefixLoader, StrictUndefined  # not needed by clients' calls

        loader = PrefixLoader({name: FileSystemLoader(folder) for name, folder in self._folders.items()})
        environment = Environment(
            loader=loader,
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        for name in ("number", "exact", "size", "duration", "moment", "short", "middle", "spark"):
            environment.filters[name] = getattr(formats, name)
        environment.filters["markdown"] = markdown.render
        environment.filters["plain"] = markdown.plain
        environment.filters["count"] = lambda value: f"{value:,}"
        environment.filters["quoted"] = shlex.quote
        environment.filters["pairs"] = urllib.parse.urlencode
        environment.filters["json"] = lambda value: msgspec.json.encode(value).decode()
        environment.filters["anchor"] = lambda value: _UNSAFE_ID.sub("-", value)
        environment.globals["asset"] = self.assets.url
        environment.globals["languages"] = i18n.LANGUAGES
        return environment

    @cached_property
    def _script_texts(self) -> frozenset[str]:
        return self.assets.script_texts()

    def show(self, request: Request, template: str, data: object, status: int = 200, waiting: int = 0) -> Response:
        """The page for a browser, or the data when ?format=json asks for it.

        Args:
            template: for example "tracking/run.html"; it sees the data as `page`.
            data: a msgspec struct or a mapping; all that the page shows.
        """
        if request.query_params.get("format") == "json":
            return json_response(data, status)
        language = language_of(request)
        page: Response = HTMLResponse(self.html(request, template, data, language, waiting), status, HEADERS)
        response = compressed(request, page)
        if request.query_params.get("lang") in i18n.LANGUAGES:
            response.set_cookie(i18n.COOKIE, language, max_age=_YEAR_S, samesite="lax")
        return response

    async def respond(self, request: Request, template: str, data: object, status: int = 200) -> Response:
        """`show` in a thread: a large page, or the first one, must not hold up the server's other answers."""
        caller, waiting = request.scope.get("caller"), 0
        if self._waiting is not None and caller is not None and request.query_params.get("format") != "json":
            waiting = await self._waiting(caller)
        return await asyncio.to_thread(self.show, request, template, data, status, waiting)

    def html(self, request: Request, template: str, data: object, language: str, waiting: int = 0) -> str:
        """The text of the page."""
        words = Words(language)
        theme = request.cookies.get("mlw-theme", "auto")
        values: dict[str, Any] = {
            "page": data,
            "t": words,
            "language": language,
            "script_words": words.subset(self._script_texts),
            "theme": theme if theme in _THEMES else "auto",
            "caller": request.scope.get("caller"),
            "waiting": waiting,
            "path": request.url.path,
            "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "origin": f"{request.url.scheme}://{request.url.netloc}",
            "lang_url": lambda tag: request.url.include_query_params(lang=tag).replace(scheme="", netloc=""),
        }
        return self._environment.get_template(template).render(values)

    def show_error(self, request: Request, error: MlwrightError) -> Response:
        """An error as a page."""
        return self.show(request, "web/error.html", error.document(), error.status)
