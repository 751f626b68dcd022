"""Who sent this request: bearer tokens, names with passwords, and browser sessions."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

import msgspec

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Unauthenticated
from mlwright.kernel.identity import LOCAL, Caller
from mlwright.kernel.transaction import Tx
from mlwright.security import secrets, service
from mlwright.security.passwords import PasswordChecks

#: The session of a browser. Over TLS its cookie has a name that only this host itself can set, and only over TLS.
SESSION_COOKIE = "mlwright_session"
SECURE_COOKIE = f"__Host-{SESSION_COOKIE}"
#: How long a verified credential is remembered, in seconds: the longest that a revoked one still works.
REMEMBER_S = 5.0
_MAX_REMEMBERED = 10_000


class Authentication:
    """Finds the caller behind a request's headers.

    Args:
        database: where principals are kept.
        local_secret: a token that stands for the person who owns the data directory.
        monotonic: a clock in seconds.
        passwords: where passwords are checked.
    """

    def __init__(
        self,
        database: Database,
        local_secret: str,
        monotonic: Callable[[], float] = time.monotonic,
        passwords: PasswordChecks | None = None,
    ) -> None:
        self._database = database
        self._passwords = passwords or PasswordChecks(database, monotonic)
        self._local = hashlib.sha256(local_secret.encode()).digest()
        self._monotonic = monotonic
        self._remembered: dict[bytes, tuple[float, Caller]] = {}

    async def __call__(self, headers: Mapping[bytes, bytes], client: str = "", *, secure: bool = False) -> Caller:
        """The caller. Raises Unauthenticated, TooManyAttempts.

        Args:
            headers: of the request.
            client: the address that it came from, as far as it is known.
            secure: it came over TLS, where a session counts only from the cookie made for that.
        """
        credential = _credential(headers, secure=secure)
        fingerprint = hashlib.sha256(credential.encode()).digest()
        now = self._monotonic()
        known = self._remembered.get(fingerprint)
        if known is not None and known[0] > now:
            return known[1]
        caller = await self._verify(credential, client)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[fingerprint] = (now + REMEMBER_S, caller)
        return caller

    async def _verify(self, credential: str, client: str) -> Caller:
        kind, _, rest = credential.partition(" ")
        if kind == "token":
            if hmac.compare_digest(hashlib.sha256(rest.encode()).digest(), self._local):
                return LOCAL
            return await self._database.read(lambda tx: service.caller_by_token(tx, rest))
        name, _, password = rest.partition(":")
        if secrets.token_id(password):
            return await self._database.read(lambda tx: service.caller_by_token(tx, password))
        return await self._passwords.caller(name, password, client)


class Renewal:
    """Finds the caller of a request anew, for answers that go on for long.

    Args:
        database: where principals are kept.
        headers: of the request.
        caller: who it was at the beginning.
        secure: as `Authentication` was told.
    """

    def __init__(
        self, database: Database, headers: Mapping[bytes, bytes], caller: Caller, *, secure: bool = False
    ) -> None:
        self._database = database
        self._headers = headers
        self._caller = caller
        self._secure = secure
        self._password: str | None = None

    async def __call__(self) -> Caller:
        """The caller with the roles of now. Raises Unauthenticated when the credential has ended, or another password
        was set since the first call.
        """
        if self._caller.name == LOCAL.name:  # known by a secret that lasts as long as the server
            return self._caller
        kind, _, rest = _credential(self._headers, secure=self._secure).partition(" ")
        secret = rest if kind == "token" else rest.partition(":")[2]
        if kind == "token" or secrets.token_id(secret):
            found = await self._database.read(lambda tx: service.caller_by_token(tx, secret))
        else:
            found = await self._database.read(self._by_password)
        return msgspec.structs.replace(found, project=self._caller.project)

    def _by_password(self, tx: Tx) -> Caller:
        stored = service.stored_password(tx, self._caller.name)
        if self._password is not None and stored != self._password:
            raise Unauthenticated("The password was changed")
        self._password = stored
        return service.caller_by_name(tx, self._caller.name)


def _credential(headers: Mapping[bytes, bytes], *, secure: bool) -> str:
    """ "token SECRET" or "password NAME:PASSWORD"."""
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return f"token {value.strip()}"
    if scheme.lower() == "basic":
        try:
            return f"password {base64.b64decode(value, validate=True).decode()}"
        except (binascii.Error, UnicodeDecodeError):
            raise Unauthenticated("The Authorization header cannot be read") from None
    session = session_of(headers.get(b"cookie", b"").decode("latin-1"), secure=secure)
    if session:
        return f"token {session}"
    raise Unauthenticated(
        "This server asks who you are",
        hint="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    )


def session_of(header: str, *, secure: bool) -> str:
    """The secret in a Cookie header; empty when there is none. What other programs of the host put there is skipped."""
    parts = (part.strip().partition("=") for part in header.split(";"))
    cookies = {name: value for name, _, value in reversed(list(parts))}  # of two, browsers send the nearer path first
    names = (SECURE_COOKIE,) if secure else (SECURE_COOKIE, SESSION_COOKIE)
    return next((cookies[name] for name in names if cookies.get(name)), "")
