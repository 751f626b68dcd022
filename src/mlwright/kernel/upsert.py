"""INSERT … ON CONFLICT as SQLite and PostgreSQL both have it.

SQLAlchemy writes it once for each dialect. Statements are made at import, and importing PostgreSQL's dialect for them
would cost every start on SQLite tens of milliseconds.
"""

from typing import Any, Self

from sqlalchemy import Table
from sqlalchemy.dialects.sqlite.dml import Insert, OnConflictDoNothing, OnConflictDoUpdate


class _DoNothing(OnConflictDoNothing):
    inherit_cache = True
    constraint_target = None  # PostgreSQL's compiler asks for the name of a constraint; we name columns


class _DoUpdate(OnConflictDoUpdate):
    inherit_cache = True
    constraint_target = None


class Upsert(Insert):
    """An INSERT with clauses for rows that are there already; arguments as in SQLAlchemy."""

    inherit_cache = True

    def on_conflict_do_nothing(self, index_elements: Any = None, index_where: Any = None) -> Self:
        return self.ext(_DoNothing(index_elements, index_where))

    def on_conflict_do_update(
        self, index_elements: Any = None, index_where: Any = None, set_: Any = None, where: Any = None
    ) -> Self:
        return self.ext(_DoUpdate(index_elements, index_where, set_, where))


def upsert(table: Table) -> Upsert:
    """An INSERT into `table`."""
    return Upsert(table)
