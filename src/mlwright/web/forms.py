"""Forms that browsers post."""

from urllib.parse import parse_qsl

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import read_body

_MAX_BYTES = 1 << 20
_MAX_FIELDS = 20_000


async def read_form(request: Request) -> ImmutableMultiDict[str, str]:
    """The fields of an application/x-www-form-urlencoded body. Raises Invalid, TooLarge."""
    body = await read_body(request, _MAX_BYTES)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise Invalid(f"The form cannot be read: {error}") from error
    return ImmutableMultiDict(pairs)


def see_other(url: str) -> Response:
    """Redirect after post, to a page of this server only: anything else leads to the front page."""
    local = url.startswith("/") and not url.startswith(("//", "/\\"))
    return RedirectResponse(url if local else "/", status_code=303)
