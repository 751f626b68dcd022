"""A reverse proxy in front: from its address, and only from there, we learn who calls, by what name, and if by TLS.

Anybody can send the headers X-Forwarded-For, -Proto and -Host. They are believed when the connection comes from an
address that the server was told to trust. A chain of such proxies may append to each header; of a list, the entry
counts that the outermost trusted one wrote.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from itertools import islice, takewhile

from starlette.types import ASGIApp, Receive, Scope, Send

from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import problem

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": b":80", "https": b":443"}
_OPTION = "--trusted-proxy"
#: Longest chain of proxies; clients can send lists of any length.
_MOST_PROXIES = 20


def networks(texts: Iterable[str]) -> tuple[_Network, ...]:
    """The addresses and networks (CIDR) of trusted proxies. Raises Invalid."""
    return tuple(map(_network, texts))


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        hint = f"use for example {_OPTION} 127.0.0.1 or {_OPTION} 10.0.0.0/8"
        raise Invalid(f"{text!r} is neither an address nor a network: {error}", path=_OPTION, hint=hint) from error


def behind(app: ASGIApp, trusted: Iterable[str]) -> ASGIApp:
    """The application behind these proxies; itself when there are none. Raises Invalid."""
    known = networks(trusted)
    return Forwarded(app, known) if known else app


def client_of(scope: Scope) -> str:
    """The address of the caller, as far as it is known: for limits and notes, never for trust."""
    client = scope.get("client")
    return str(client[0]) if client else ""


class Forwarded:
    """ASGI middleware that puts what a trusted proxy says into the request's scheme, host and client address.

    Args:
        app: what comes behind.
        trusted: networks of the proxies.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[_Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._trusts(_address(client_of(scope))):
            try:
                self._believe(scope)
            except Invalid as error:
                await problem(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)

    def _client(self, passed: Sequence[str]) -> tuple[_Address | None, int]:
        """The nearest address that is none of our proxies, or the farthest one; and how many of ours came before it."""
        nearest = list(islice(map(_address, reversed(passed)), _MOST_PROXIES))
        own = sum(1 for _ in takewhile(self._trusts, nearest))
        return (nearest[min(own, len(nearest) - 1)] if nearest else None), own

    def _believe(self, scope: Scope) -> None:
        client, own = self._client(_values(scope, b"x-forwarded-for"))
        if client is not None:
            scope["client"] = (str(client), 0)
        scheme = _entry(_values(scope, b"x-forwarded-proto"), own).lower()
        if scheme:
            if scheme not in _DEFAULT_PORTS:
                raise Invalid("X-Forwarded-Proto is neither http nor https", path="x-forwarded-proto")
            scope["scheme"] = scheme
        host = _entry(_values(scope, b"x-forwarded-host"), own)
        if host and not _HOST.fullmatch(host):
            raise Invalid("X-Forwarded-Host is not the name of a host", path="x-forwarded-host")
        # Browsers leave the usual port out of Origin; some proxies write it into the host.
        port = _DEFAULT_PORTS[scope["scheme"]]
        headers = list(scope["headers"])
        if host and b"host" not in dict(headers):
            headers.append((b"host", b""))
        given = host.encode()
        scope["headers"] = [
            (name, (given or value).removesuffix(port) if name == b"host" else value) for name, value in headers
        ]


def _values(scope: Scope, wanted: bytes) -> list[str]:
    """The entries of a header that is a list, over all its lines."""
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]
    return [each for each in (part.strip() for part in ",".join(lines).split(",")) if each]


def _entry(values: Sequence[str], own: int) -> str:
    """What the outermost of our proxies wrote: `own` more have appended to it, unless they replaced it."""
    return values[max(len(values) - 1 - own, 0)] if values else ""


def _address(text: str) -> _Address | None:
    """An address, also with a port behind it, or None. IPv4 within IPv6 counts as IPv4."""
    bare = text.rpartition(":")[0] if text.count(":") == 1 else text.partition("]")[0].removeprefix("[")
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
