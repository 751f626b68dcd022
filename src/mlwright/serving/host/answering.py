"""Requests and answers of a dialect, without HTTP: what a face has to say to be served."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

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
