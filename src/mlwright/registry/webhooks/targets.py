"""Where webhooks may lead: against requests that others make this server send into its own network (SSRF).

A host is resolved, all its addresses are judged, and the connection is made to an address that was judged: a name that
leads elsewhere a moment later (DNS rebinding) gains nothing.
"""

import asyncio
import socket
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from mlwright.kernel.errors import Invalid, Unavailable

MAX_URL_LENGTH = 2_000
_PORTS = {"https": 443, "http": 80}
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
#: What older releases of Python's `ipaddress` take for global: special purposes (RFC 6890, RFC 7526, RFC 9637), and an
#: address that leads to the metadata of the machine in Azure.
_SPECIAL = [ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20")]
#: Slow name servers hold up these threads and nothing else.
_RESOLVERS = ThreadPoolExecutor(32, thread_name_prefix="mlwright-resolve")

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Target(NamedTuple):
    """A URL in parts.

    Attributes:
        authority: for the header Host.
        path: with the query.
        credentials: for the header Authorization; empty when there are none.
    """

    scheme: str
    host: str
    port: int
    authority: str
    path: str
    credentials: str

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def origin(self) -> str:
        """The URL without path, which may hold a secret."""
        return f"{self.scheme}://{self.authority}"


def parse(url: str, schemes: Sequence[str]) -> Target:
    """The parts of a URL. Raises Invalid with MLflow's texts."""
    if not url.strip():
        raise Invalid(f"Webhook URL cannot be empty or just whitespace: {url!r}", path="url")
    if len(url) > MAX_URL_LENGTH:
        raise Invalid(f"Webhook URL is longer than {MAX_URL_LENGTH} characters", path="url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid(f"Invalid webhook URL {url!r}: {error!r}", path="url") from error
    if parts.scheme not in schemes or parts.scheme not in _PORTS:
        raise Invalid(
            f"Invalid webhook URL scheme: {parts.scheme!r}. Allowed schemes are: {', '.join(schemes)}.", path="url"
        )
    if not parts.hostname:
        raise Invalid(f"Webhook URL must include a hostname: {url!r}", path="url")
    if any(ord(character) < 33 or character == "\x7f" for character in url):
        raise Invalid("Invalid webhook URL: spaces and control characters must be escaped", path="url")
    return _target(parts, _ascii(parts.hostname, url), port or _PORTS[parts.scheme])


def _ascii(host: str, url: str) -> str:
    """The host as name servers know it."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise Invalid(f"Invalid webhook URL {url!r}: {error!r}", path="url") from error


def _target(parts: SplitResult, host: str, port: int) -> Target:
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
    path = quote(parts.path, safe="%/:@!$&'()*+,;=~-._") or "/"
    query = f"?{quote(parts.query, safe='%/:@!$&()*+,;=~-._?[]')}" if parts.query else ""
    given = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    credentials = f"Basic {b64encode(given.encode()).decode()}" if given != ":" else ""
    return Target(parts.scheme, host, port, authority, path + query, credentials)


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as this machine finds them. Raises OSError and UnicodeError."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_RESOLVERS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def addresses(target: Target, *, private: bool, resolve: Resolve = resolve) -> Sequence[str]:
    """The addresses to connect to. Raises Invalid when one of them is not public, Unavailable when there are none.

    Args:
        private: they need not be public.
    """
    try:
        found = await resolve(target.host, target.port)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"Cannot resolve Webhook URL hostname {target.host!r}: {error}", path="url") from error
    for text in found if not private else ():
        if not is_public(ip_address(text)):
            raise Invalid(
                f"Webhook URL must not resolve to a non-public IP address. {target.host!r} resolves to {text}.",
                path="url",
            )
    return found


def is_public(address: Address) -> bool:
    """Whether an address is meant for everybody on the internet, also one that is written within an IPv6 address."""
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is None:
            return address in _GLOBAL_UNICAST and address.is_global and not _is_special(address)
        address = inner
    return address.is_global and not address.is_multicast and not _is_special(address)


def _is_special(address: Address) -> bool:
    return any(address in network for network in _SPECIAL)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which an IPv6 address leads: mapped (RFC 4291), 6to4 (RFC 3056), NAT64 (RFC 6052)."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
