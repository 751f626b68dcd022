"""Comparisons of a column with a bound value that mean the same on SQLite and PostgreSQL.

LIKE minds the case and ILIKE does not (for ASCII letters); `%` and `_` are wildcards and nothing escapes them.
SQLite's own LIKE ignores case, so there LIKE becomes GLOB. PostgreSQL takes a backslash as an escape, so it is doubled.
"""

import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.sql import operators

from mlwright.kernel.errors import Invalid

Column = ColumnElement[Any]
#: SQLite refuses patterns above 50,000 bytes; GLOB's escapes make them up to three times longer.
_LONGEST_PATTERN = 16_000
_LARGEST = 1 << 63
_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})
_SIMPLE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operators.eq, "!=": operators.ne, "<": operators.lt, "<=": operators.le, ">": operators.gt,
    ">=": operators.ge,
}  # fmt: skip


def compare(column: Column, operator: str, value: Any, dialect: str) -> Column:
    """The condition `column operator value`, where value is a bound parameter holding `bound(...)`."""
    if operator == "LIKE":
        return column.op("GLOB", is_comparison=True)(value) if dialect == "sqlite" else column.like(value)
    if operator == "ILIKE":
        return column.op("LIKE", is_comparison=True)(value) if dialect == "sqlite" else column.ilike(value)
    found: Column = _SIMPLE[operator](column, value)
    return found


def bound(operator: str, value: Any, dialect: str) -> Any:
    """What to bind for `value`: patterns in the words of the engine, integers that fit.

    Raises Invalid for a pattern that is too long.
    """
    if isinstance(value, int):
        return _fitting(value)
    if operator not in ("LIKE", "ILIKE"):
        return value
    if len(value.encode()) > _LONGEST_PATTERN:
        raise Invalid(f"the pattern of {operator} is longer than {_LONGEST_PATTERN} bytes", path="filter")
    if dialect != "sqlite":
        return value.replace("\\", "\\\\")
    return value.translate(_GLOB) if operator == "LIKE" else value


def _fitting(value: int) -> int | float:
    if -_LARGEST <= value < _LARGEST:
        return value
    return float("inf") if value > 0 else float("-inf")


def matches(text: str, operator: str, value: str | tuple[str, ...]) -> bool:
    """The same comparison of texts in Python."""
    if isinstance(value, tuple):
        return (text in value) == (operator == "IN")
    if operator in ("=", "!="):
        return (text == value) == (operator == "=")
    pattern = "".join({"%": ".*", "_": "."}.get(letter) or re.escape(letter) for letter in value)
    flags = re.DOTALL | (re.IGNORECASE | re.ASCII if operator == "ILIKE" else 0)
    return re.fullmatch(pattern, text, flags) is not None
