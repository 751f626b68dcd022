"""Smaller answers over a network. On the same machine compressing would only take time."""

import gzip
import ipaddress

from starlette.requests import Request
from starlette.responses import Response

_LEAST_BYTES = 10_000
_LEVEL = 3


def compressed(request: Request, response: Response) -> Response:
    """The response, compressed when it is large and the client is far away and takes it."""
    body = bytes(response.body)
    if len(body) < _LEAST_BYTES or "gzip" not in request.headers.get("accept-encoding", "") or _is_near(request):
        return response
    packed = gzip.compress(body, _LEVEL)
    response.body = packed
    response.headers["content-length"] = str(len(packed))
    response.headers["content-encoding"] = "gzip"
    response.headers["vary"] = ", ".join(filter(None, (response.headers.get("vary"), "accept-encoding")))
    return response


def _is_near(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
