"""What the address of a runs table says: filter, order, columns, page; and addresses made from it."""

import urllib.parse
from collections.abc import Mapping

import msgspec
from starlette.requests import Request

from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import integer
from mlwright.tracking.spec import ViewType
from mlwright.web.columns import Column, parse_columns

#: Attributes that are columns of their own, always shown; and what MLflow's order_by calls them.
ATTRIBUTES: Mapping[str, str] = {"name": "run_name", "status": "status", "started": "start_time", "user": "user_id"}
VIEWS: Mapping[str, ViewType] = {
    "active": ViewType.ACTIVE_ONLY,
    "deleted": ViewType.DELETED_ONLY,
    "all": ViewType.ALL,
}
DEFAULT_SIZE = 50
MAX_SIZE = 500


class TableQuery(msgspec.Struct, frozen=True):
    """One state of the table, as the address has it.

    Attributes:
        filter: in MLflow's grammar.
        order: one clause of MLflow's order_by; empty for newest first.
        view: "active", "deleted" or "all".
        columns: None until someone chose.
        size, token: the page.
        nested: "1" or "0" when chosen; empty for: nested while neither filtered nor ordered.
        opened: ids of parents whose children are shown.
    """

    filter: str = ""
    order: str = ""
    view: str = "active"
    columns: tuple[Column, ...] | None = None
    size: int = DEFAULT_SIZE
    token: str = ""
    nested: str = ""
    opened: tuple[str, ...] = ()

    @property
    def is_nested(self) -> bool:
        if self.view == "deleted":
            return False
        return self.nested == "1" if self.nested else not (self.filter or self.order)

    def url(self, experiment_id: int, **changes: object) -> str:
        """The address of this state with some fields changed. A change of anything but the page starts at page one."""
        changed = msgspec.structs.replace(self, **changes)
        if "token" not in changes and set(changes) - {"opened"}:
            changed = msgspec.structs.replace(changed, token="", opened=())
        return f"/experiments/{experiment_id}" + (f"?{changed.encoded}" if changed.pairs() else "")

    @property
    def encoded(self) -> str:
        """The fields as a query string."""
        return urllib.parse.urlencode(self.pairs())

    def pairs(self) -> list[tuple[str, str]]:
        """The fields that differ from the default, as query parameters."""
        found: list[tuple[str, str]] = []
        for name in ("filter", "order", "view", "size", "nested", "token"):
            value = getattr(self, name)
            if value != getattr(_DEFAULTS, name):
                found.append((name, str(value)))
        found += [("open", each) for each in self.opened]
        if self.columns is not None:
            found += [("column", column.id) for column in self.columns] or [("column", "")]
        return found


_DEFAULTS = TableQuery()


def from_request(request: Request, remembered: tuple[Column, ...] | None) -> TableQuery:
    """The state that an address asks for. Raises Invalid."""
    given = request.query_params
    view = given.get("view", "active")
    if view not in VIEWS:
        raise Invalid(f"view must be active, deleted or all, not {view!r}", path="view")
    columns = parse_columns(given.getlist("column")) if "column" in given else remembered
    return TableQuery(
        filter=given.get("filter", "").strip(),
        order=given.get("order", "").strip(),
        view=view,
        columns=columns,
        size=integer(request, "size", DEFAULT_SIZE, 1, MAX_SIZE),
        token=given.get("token", ""),
        nested=given.get("nested", "") if given.get("nested") in {"0", "1"} else "",
        opened=tuple(dict.fromkeys(given.getlist("open")))[:50],
    )


def from_saved(query: Mapping[str, object]) -> TableQuery:
    """The state that a saved view holds; what cannot be read is left out."""
    columns = query.get("columns")
    texts = [str(each) for each in columns] if isinstance(columns, list) else []
    return TableQuery(
        filter=str(query.get("filter", "")),
        order=str(query.get("order", "")),
        view=str(query.get("view", "active")) if query.get("view") in VIEWS else "active",
        columns=parse_columns(texts) if texts else None,
        nested=str(query.get("nested", "")),
    )


def to_saved(query: TableQuery) -> dict[str, object]:
    """What a saved view keeps: everything but the page."""
    columns = None if query.columns is None else [column.id for column in query.columns]
    return {
        "filter": query.filter,
        "order": query.order,
        "view": query.view,
        "nested": query.nested,
        "columns": columns,
    }


def cookie_name(experiment_id: int) -> str:
    """Of the cookie that holds the columns chosen last time in this browser."""
    return f"mlw-columns-{experiment_id}"
