"""Requests and answers of a dialect, without HTTP: what a face has to say to be served."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.serving.host.state import Revision
from mlwright.serving.host.takes import Takes
from mlwright.serving.host.tensors import Array, Asked


class Reading(NamedTuple):
    """A request that was read.

    Attributes:
        asked: what the model gets.
        request_id: the client's own, "" when it has none.
        parameters: of the request.
        context: what the dialect needs for the answer.
    """

    asked: Asked
    request_id: str = ""
    parameters: Mapping[str, Any] = {}
    context: Any = None


class Reply(NamedTuple):
    """An answer to a client."""

    body: bytes
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Answer(NamedTuple):
    """What the model said. `form`: "array", "arrays" or "table"."""

    arrays: list[Array]
    form: str


class Dialect(NamedTuple):
    """How a protocol reads requests, writes answers, and says that something is wrong.

    `read` gets the body, the headers and what the version takes; it raises Invalid. `error` gets the code and the
    message.
    """

    name: str
    read: Callable[[bytes, Mapping[bytes, bytes], Takes], Reading]
    write: Callable[[Reading, Answer, str, Revision], Reply]
    error: Callable[[str, str], bytes]


class Refusal(NamedTuple):
    """An answer that says no."""

    status: int
    code: str
    message: str
    retry_after_s: int = 0


encode = msgspec.json.Encoder().encode


def by_rows(answer: Answer) -> Any:
    """An answer as MLflow and TensorFlow's servers have it: a list with one entry per row."""
    if answer.form == "array":
        return answer.arrays[0].nested()
    columns = {each.name: each.nested() for each in answer.arrays}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_T = TypeVar("_T")
#: Python's names of what JSON has no numbers for.
_NO_NUMBERS = (b"NaN", b"Infinity")


def read_json(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """A document in JSON. NaN and the infinities may be in it, as Python's clients write them. Raises Invalid."""
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        if not any(word in body for word in _NO_NUMBERS):
            raise Invalid(f"the request cannot be read: {error}", path="body") from None
    try:
        found: _T = msgspec.convert(json.loads(body), decoder.type)
        encode(found)  # half characters are text for Python alone
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the request cannot be read: {error}", path="body") from None
    return found
