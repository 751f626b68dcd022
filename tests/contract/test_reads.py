"""Reads that need something written before they can go on, on every database."""

import asyncio

import pytest
from sqlalchemy import bindparam, insert, select

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, StorageFull
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.tables import tags

_PUT = Query(insert(tags).values(run=bindparam("run"), key=bindparam("key"), value=bindparam("value")))
_KEYS = Query(select(tags.c.key))


def _put(tx: Tx) -> None:
    tx.run(_PUT, {"run": 1, "key": "needed", "value": "v"})


def needy(tx: Tx) -> list[str]:
    """A read that needs a row."""
    if tx.settled is None or "row" not in tx.settled:
        tx.first(_put, ["row"])
    return [row[0] for row in tx.all(_KEYS)]


@pytest.mark.parametrize("brief", [False, True])
def test_a_read_can_have_something_written_first(database: Database, brief: bool) -> None:
    assert asyncio.run(database.read(needy, brief=brief)) == ["needed"]


def test_what_a_read_needs_is_written_once(database: Database) -> None:
    assert database.read_now(lambda tx: (needy(tx), needy(tx))) == (["needed"], ["needed"])


def test_a_write_does_at_once_what_it_needs_first(database: Database) -> None:
    assert asyncio.run(database.write(needy, brief=True)) == ["needed"]


def test_a_read_fails_with_what_it_needs_first(database: Database) -> None:
    def refused(tx: Tx) -> None:
        raise Invalid("no")

    with pytest.raises(Invalid):
        database.read_now(lambda tx: tx.first(refused, ["row"]))


def test_reading_goes_on_when_nothing_can_be_written(database: Database) -> None:
    def full(tx: Tx) -> None:
        _put(tx)
        if tx.settled is None and failing:
            failing.pop()
            raise StorageFull("the disk is full")

    def read(tx: Tx) -> list[str]:
        if tx.settled is None or "row" not in tx.settled:
            tx.first(full, ["row"])
        return [row[0] for row in tx.all(_KEYS)]

    failing = ["once"]
    assert asyncio.run(database.read(read)) == ["needed"]
    assert database.read_now(lambda tx: tx.all(_KEYS)) == []
    failing.append("again")
    assert database.read_now(read) == ["needed"]
    assert database.read_now(lambda tx: tx.all(_KEYS)) == []
    assert database.read_now(needy) == ["needed"]
