"""Column types that mean the same on SQLite and PostgreSQL.

Statements run on the driver, without SQLAlchemy's value conversion, so every column holds one of the plain
Python types int, float, str and bytes. JSON is stored as text, booleans as 0/1, times as Unix milliseconds.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Double, Index, LargeBinary, MetaData, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.types import Integer, TypeEngine

#: One catalogue for all slices: `create_all` on a new database, Alembic's target on an old one.
METADATA = MetaData()

#: 64-bit integer; SQLite only makes a column spelled INTEGER the row's own id.
Int64: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
#: 64-bit float, kept exactly. NaN is never stored: SQLite would turn it into NULL (see tracking/tables.py).
Float64: TypeEngine[float] = Double()
#: Text compared byte by byte, on PostgreSQL too, so that both sort and page alike.
String: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
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


def share_condition(index: Index) -> None:
    """Give an index on PostgreSQL the condition that its table states for SQLite, as `sqlite_where`.

    Stated for PostgreSQL too, it would load that dialect wherever the table is imported: at every start.
    """
    where = index.dialect_options["sqlite"]["where"]
    if where is not None:
        index.dialect_options["postgresql"]["where"] = where


@compiles(CreateIndex, "postgresql")
def _create_index(element: CreateIndex, compiler: DDLCompiler, **options: Any) -> str:
    share_condition(element.element)
    return str(compiler.visit_create_index(element, **options))  # type: ignore[no-untyped-call]
