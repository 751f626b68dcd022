"""SQL statements built with SQLAlchemy Core, compiled once per dialect, and run by the database driver itself."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Text, bindparam
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import NullType


@cache
def dialect_named(name: str) -> Dialect:
    """The dialect "sqlite" or "postgresql". The parameter styles let one mapping of values serve both drivers."""
    if name == "sqlite":
        return SQLiteDialect(paramstyle="named")
    from sqlalchemy.dialects.postgresql.base import PGDialect  # large, and not needed on SQLite

    return PGDialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]


class _Among(ColumnElement[Any]):
    """`column IN (…)` over a JSON array given as one parameter. `kind`: PostgreSQL's type of the column."""

    inherit_cache = False
    type = NullType()  # as Boolean, SQLite would get "= 1" behind it and could not use an index

    def __init__(self, column: ColumnElement[Any], name: str, kind: str) -> None:
        self.column = column
        self.values = bindparam(name, type_=Text())
        self.kind = kind


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in (element.column, element.values))
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both are compiled SQL


@compiles(_Among, "postgresql")
def _among_postgresql(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in (element.column, element.values))
    listed = f"json_array_elements_text(CAST({values} AS JSON))"
    return f"{column} IN (SELECT CAST(value AS {element.kind}) FROM {listed})"  # noqa: S608 - both are compiled SQL


def among(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Whether an integer column is among the numbers of the parameter `name`, which is their JSON array as text.

    Unlike SQLAlchemy's `in_`, the statement does not depend on how many numbers there are, so it is compiled once.
    """
    return _Among(column, name, "BIGINT")


def among_texts(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """The same for a column of text, and a JSON array of strings."""
    return _Among(column, name, "TEXT")


class Compiled(NamedTuple):
    """SQL text and the values that the statement itself brings."""

    text: str
    values: Mapping[str, Any]


def compile_statement(statement: ClauseElement, dialect: str) -> Compiled:
    """Compile `statement` for the driver of `dialect`. IN lists are expanded into one parameter per value."""
    compiled = statement.compile(dialect=dialect_named(dialect), compile_kwargs={"render_postcompile": True})
    return Compiled(str(compiled), compiled.params)


class Query:
    """A statement used again and again: compiled at first use, then only text and values."""

    __slots__ = ("_compiled", "_statement")

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, Compiled] = {}

    def bind(self, dialect: str, params: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]]:
        """The SQL text and all values for one execution."""
        compiled = self._compiled.get(dialect)
        if compiled is None:
            text, values = compile_statement(self._statement, dialect)
            own = {name: value for name, value in values.items() if value is not None}
            compiled = self._compiled[dialect] = Compiled(text, own)
        if params is None:
            return compiled
        return compiled.text, ({**compiled.values, **params} if compiled.values else params)
