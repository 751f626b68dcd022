"""The log-in page: a name with a password or a token becomes a session, which is a token in a cookie."""

from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import TooManyAttempts, Unauthenticated
from mlwright.kernel.http import Route
from mlwright.kernel.identity import Caller
from mlwright.security import secrets, service
from mlwright.security.authentication import SECURE_COOKIE, SESSION_COOKIE, session_of
from mlwright.security.passwords import PasswordChecks
from mlwright.web.forms import read_form, see_other
from mlwright.web.pages import Pages

TEMPLATES = Path(__file__).parent / "templates"
#: How long a browser stays logged in.
SESSION_MS = 12 * 3_600_000


class LoginPage(msgspec.Struct, frozen=True):
    """What the page shows."""

    next: str = "/"
    name: str = ""
    error: str = ""
    wait_s: int = 0


class SecurityPages:
    """Handlers of /login and /logout."""

    def __init__(self, database: Database, pages: Pages, passwords: PasswordChecks) -> None:
        self._database = database
        self._passwords = passwords
        self._pages = pages

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/login", self.form),
            Route("POST", "/login", self.log_in),
            Route("POST", "/logout", self.log_out),
        ]

    async def form(self, request: Request) -> Response:
        page = LoginPage(next=request.query_params.get("next", "/"))
        return self._pages.show(request, "security/login.html", page)

    async def log_in(self, request: Request) -> Response:
        form = await read_form(request)
        name, password, target = form.get("name", ""), form.get("password", ""), form.get("next", "/")
        try:
            caller = await self._caller(request, name, password)
        except TooManyAttempts as error:
            page = LoginPage(next=target, name=name, wait_s=error.retry_after_s)
            response = self._pages.show(request, "security/login.html", page, error.status)
            response.headers["retry-after"] = str(error.retry_after_s)
            return response
        except Unauthenticated as error:
            page = LoginPage(next=target, name=name, error=error.message)
            return self._pages.show(request, "security/login.html", page, error.status)
        token = await self._database.write(lambda tx: service.begin_session(tx, caller, SESSION_MS))
        response = see_other(target)
        secure = _is_secure(request)
        name = SECURE_COOKIE if secure else SESSION_COOKIE
        response.set_cookie(
            name, token.secret, max_age=SESSION_MS // 1000, httponly=True, samesite="lax", secure=secure
        )
        return response

    async def _caller(self, request: Request, name: str, password: str) -> Caller:
        """Who logs in. Raises Unauthenticated, TooManyAttempts, Unavailable."""
        if secrets.token_id(password):
            return await self._database.read(lambda tx: service.caller_by_token(tx, password))
        return await self._passwords.caller(name, password, request.client.host if request.client else "")

    async def log_out(self, request: Request) -> Response:
        secret = session_of(request.headers.get("cookie", ""), secure=_is_secure(request))
        if secret:
            await self._database.write(lambda tx: service.end_session(tx, secret))
        response = see_other("/login")
        response.delete_cookie(SECURE_COOKIE, secure=True, httponly=True)
        response.delete_cookie(SESSION_COOKIE)
        return response


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"
