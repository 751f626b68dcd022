"""Pages of a search: what is asked for, what comes back, and the opaque token in between."""

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mlwright.kernel.errors import Invalid

Row = TypeVar("Row")

#: Most rows of one page, as in MLflow.
MAX_RESULTS = 50_000
#: Most clauses of an order.
MAX_ORDERS = 24


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows in order, and the token of the next page; an empty token after the last."""

    rows: list[Row]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page starts.

    Attributes:
        offset: rows before it.
        after: sort key of the row before it, when the token came from the same query; else empty.
    """

    offset: int
    after: tuple[Any, ...] = ()


def check_max_results(max_results: int) -> None:
    """Raises Invalid unless 1 ≤ max_results ≤ MAX_RESULTS."""
    start = f"Invalid value {max_results} for parameter 'max_results' supplied. It must be"
    if max_results < 1:
        raise Invalid(f"{start} a positive integer", path="max_results")
    if max_results > MAX_RESULTS:
        raise Invalid(f"{start} at most {MAX_RESULTS}", path="max_results")


def check_orders(clauses: Sequence[object]) -> None:
    """Raises Invalid for more clauses than SQLite survives: with 64 terms, two for each, it ends the process."""
    if len(clauses) > MAX_ORDERS:
        raise Invalid(f"order_by may have at most {MAX_ORDERS} clauses, not {len(clauses)}", path="order_by")


def fingerprint(*parts: object) -> int:
    """A number that tells one query from another, so that a token is not used with the wrong one."""
    return zlib.crc32(repr(parts).encode())


def encode(offset: int, after: Sequence[Any] = (), query: int = 0) -> str:
    """The token for the page that starts after `offset` rows, the last of which has the sort key `after`."""
    document: dict[str, Any] = {"offset": offset}
    if after:
        document |= {"after": list(after), "query": query}
    return base64.b64encode(json.dumps(document).encode()).decode()


def decode(token: str | None, query: int = 0) -> Place:
    """The place a token points to. Raises Invalid for what is not a token."""
    if not token:
        return Place(0)
    try:
        decoded = base64.b64decode(token)
    except (binascii.Error, ValueError) as error:
        raise Invalid("Invalid page token, could not base64-decode", path="page_token") from error
    try:
        parsed = json.loads(decoded)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"Invalid page token, decoded value={decoded!r}", path="page_token") from error
    offset = parsed.get("offset") if isinstance(parsed, dict) else None
    if not offset:
        raise Invalid(f"Invalid page token, parsed value={parsed}", path="page_token")
    try:
        number = int(offset)
    except (ValueError, TypeError, OverflowError) as error:
        raise Invalid(f"Invalid page token, not stringable {offset}", path="page_token") from error
    if not 0 <= number < 1 << 62:
        raise Invalid(f"Invalid page token, parsed value={parsed}", path="page_token")
    after = parsed.get("after")
    if not isinstance(after, list) or parsed.get("query") != query:
        return Place(number)
    return Place(number, tuple(after))
