"""Column types that mean the same on SQLite and PostgreSQL.

Statements run on the driver, without SQLAlchemy's value conversion, so every column holds one of the plain
Python types int, float, str and bytes. JSON is stored as text, booleans as 0/1, times as Unix milliseconds.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Double, LargeBinary, MetaData, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import Integer, TypeEngine

#: One catalogue for all slices: `create_all` on a new database, Alembic's target on an old one.
METADATA = MetaData()

#: 64-bit integer; SQLite only makes a column spelled INTEGER the row's own id.
Int64: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
#: 64-bit float, kept exactly. NaN is never stored: SQLite would turn it into NULL (see tracking/tables.py).
Float64: TypeEngine[float] = Double()
#: Text compared byte by byte, on PostgreSQL too, so that both sort and page alike.
String: TypeEngine[str] = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Bytes: TypeEngine[bytes] = LargeBinary()


def key(name: str, kind: TypeEngine[Any]) -> "Column[Any]":
    """A primary key column."""
    return Column(name, kind, primary_key=True, nullable=False)


def required(name: str, kind: TypeEngine[Any], default: str | None = None) -> "Column[Any]":
    """A column that is never NULL; `default` is the SQL text of a server-side default."""
    return Column(name, kind, nullable=False, server_default=default)


def optional(name: str, kind: TypeEngine[Any]) -> "Column[Any]":
    """A column that may be NULL."""
    return Column(name, kind, nullable=True)
