"""Columns that a reader chooses among metrics, parameters and tags: their addresses, their memory, their cells."""

import urllib.parse
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.errors import Invalid
from mlwright.web import formats

KINDS = ("metrics", "params", "tags")
MAX_COLUMNS = 200
#: Cells show the start of a long text; the rest is on the run's page.
_CELL_CHARACTERS = 80
_MAX_COOKIE = 3_500
_YEAR_S = 365 * 86_400


class Column(NamedTuple):
    """A chosen column: the latest values of one metric, parameter or tag."""

    kind: str
    key: str

    @property
    def id(self) -> str:
        return f"{self.kind}.{self.key}"

    @property
    def order(self) -> str:
        """The column in MLflow's order_by."""
        return f"{self.kind}.`{self.key}`"

    @classmethod
    def parse(cls, text: str) -> "Column":
        """Raises Invalid for what is not "metrics.…", "params.…" or "tags.…"."""
        kind, dot, key = text.partition(".")
        if kind not in KINDS or not dot or not key or "`" in key:
            raise Invalid(
                f"{text!r} is not a column", path="column", hint="write metrics.NAME, params.NAME or tags.NAME"
            )
        return cls(kind, key)


def parse_columns(texts: Iterable[str]) -> tuple[Column, ...]:
    """Columns, each once. Raises Invalid."""
    found = tuple(dict.fromkeys(Column.parse(text) for text in texts if text))
    if len(found) > MAX_COLUMNS:
        raise Invalid(f"A table shows at most {MAX_COLUMNS} columns, not {len(found)}", path="column")
    return found


# --- remembering them ----------------------------------------------------------------------------------------------


def remember(response: Response, cookie: str, columns: Iterable[Column], path: str) -> None:
    """Keep the columns in this browser for a year, for the pages below `path`, if they fit into a cookie."""
    value = urllib.parse.urlencode([("c", column.id) for column in columns]) or "c="
    if len(value) <= _MAX_COOKIE:
        response.set_cookie(cookie, value, max_age=_YEAR_S, path=path, samesite="lax")


def recall(request: Request, cookie: str) -> tuple[Column, ...] | None:
    """The columns chosen last time in this browser; None when there were none, or nonsense."""
    value = request.cookies.get(cookie)
    if not value:
        return None
    try:
        return parse_columns(text for _, text in urllib.parse.parse_qsl(value, keep_blank_values=True))
    except Invalid:
        return None


# --- showing them --------------------------------------------------------------------------------------------------


class Cell(msgspec.Struct, frozen=True, gc=False):
    """What a cell shows, and the whole value where that differs."""

    text: str
    title: str = ""


_EMPTY = Cell("")


def cell(column: Column, value: Any) -> Cell:
    """The cell for what was found: a number for metrics, else text; None for nothing."""
    if value is None:
        return _EMPTY
    if column.kind == "metrics":
        text = formats.number(value)
        return Cell(text, "" if text == str(value) else formats.exact(value))
    line = " ".join(value[: 4 * _CELL_CHARACTERS].split()) if value else value
    shown = formats.short(line, _CELL_CHARACTERS)
    return Cell(shown, formats.short(value, 1000) if shown != value else "")


def cells_html(columns: Sequence[Column], cells: Sequence[Cell]) -> Markup:
    """Cells as table cells. In Python, because a template takes three times as long for thousands of them."""
    parts = []
    for column, each in zip(columns, cells, strict=True):
        number = ' class="num"' if column.kind == "metrics" else ""
        title = f' title="{escape(each.title)}"' if each.title else ""
        text = each.text if number else escape(each.text)
        parts.append(f"<td{number}{title}>{text}</td>")
    return Markup("".join(parts))  # noqa: S704 - texts are escaped above; numbers are made by `formats.number`
