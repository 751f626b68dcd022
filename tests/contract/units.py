"""Units of work on a table that has no other use in the tests of the database, and what they left."""

from collections.abc import Callable

from sqlalchemy import bindparam, func, insert, select

from mlwright.kernel import events
from mlwright.kernel.database import Database
from mlwright.kernel.errors import AlreadyExists
from mlwright.kernel.events import Draft
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.tables import tags

PUT = Query(insert(tags).values(run=bindparam("run"), key=bindparam("key"), value=bindparam("value")))
COUNT = Query(select(func.count()).select_from(tags))
KEYS = Query(select(tags.c.key).order_by(tags.c.run, tags.c.key))


def put(key: str, run: int = 1, *, event: bool = False) -> Callable[[Tx], str]:
    """A unit of work that inserts one row, and may draft an event about it."""

    def work(tx: Tx) -> str:
        tx.run(PUT, {"run": run, "key": key, "value": "v"})
        if event:
            tx.emit(Draft("me", "default", "test.put", f"tag/{key}", {"key": key}))
        return key

    return work


def keys(database: Database) -> list[str]:
    return [row[0] for row in database.read_now(lambda tx: tx.all(KEYS))]


def log(database: Database) -> list[str]:
    """Subjects of the test's events, in order."""
    found = database.read_now(lambda tx: events.read(tx, 0, 10_000))
    return [each.subject for each in found if each.type == "test.put"]


def failing(tx: Tx) -> None:
    put("half", 9, event=True)(tx)
    raise AlreadyExists("taken")


def broken(tx: Tx) -> None:
    put("broken", 9, event=True)(tx)
    raise ZeroDivisionError


def clashing(tx: Tx) -> None:
    put("a", event=True)(tx)
