"""Statements are compiled once, for both drivers."""

import pytest
from sqlalchemy import Column, Index, MetaData, Table, Text, bindparam, insert, literal_column, select
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql import ClauseElement

from mlwright.kernel.events import events
from mlwright.kernel.query import Query, compile_statement
from mlwright.kernel.upsert import upsert


def test_values_are_named_as_each_driver_wants() -> None:
    query = Query(select(events.c.seq).where(events.c.actor == bindparam("actor"), events.c.project == "p"))
    assert query.bind("sqlite", {"actor": "a"}) == (
        "SELECT events.seq \nFROM events \nWHERE events.actor = :actor AND events.project = :project_1",
        {"project_1": "p", "actor": "a"},
    )
    text, values = query.bind("postgresql", {"actor": "a"})
    assert "%(actor)s" in text
    assert values == {"project_1": "p", "actor": "a"}


def test_a_statement_without_values_of_its_own_passes_the_callers_on() -> None:
    query = Query(select(events.c.seq).where(events.c.actor == bindparam("actor")))
    given = {"actor": "a"}
    assert query.bind("sqlite", given)[1] is given
    assert Query(select(events.c.seq)).bind("sqlite", None) == ("SELECT events.seq \nFROM events", {})


def test_lists_become_one_value_each() -> None:
    compiled = compile_statement(select(events.c.seq).where(events.c.seq.in_([1, 2, 3])), "sqlite")
    assert compiled.text.count(":seq_1_") == 3
    assert sorted(compiled.values.values()) == [1, 2, 3]


def test_a_percent_sign_is_no_value_on_postgresql() -> None:
    compiled = compile_statement(select(events.c.seq).where(events.c.actor.like("50%")), "postgresql")
    assert list(compiled.values.values()) == ["50%"]


def test_an_insert_takes_rows() -> None:
    query = Query(insert(events).values({column.name: bindparam(column.name) for column in events.c}))
    text, values = query.bind("sqlite", None)
    assert text.count(":") == len(events.c)
    assert values == {}


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_upserts_are_the_same_on_both_databases(dialect: str) -> None:
    pairs = Table("pairs", MetaData(), Column("name", Text), Column("value", Text))
    new = upsert(pairs).values(name=bindparam("name"), value=bindparam("value"))
    put = new.on_conflict_do_update(index_elements=["name"], set_={"value": new.excluded.value})
    insert = "INSERT INTO pairs (name, value) VALUES (%s, %s) ON CONFLICT"
    marks = (":name", ":value") if dialect == "sqlite" else ("%(name)s", "%(value)s")

    def text(statement: ClauseElement) -> str:
        return compile_statement(statement, dialect).text

    assert text(put) == f"{insert % marks} (name) DO UPDATE SET value = excluded.value"
    assert text(new.on_conflict_do_nothing(index_elements=["name"])) == f"{insert % marks} (name) DO NOTHING"
    assert text(new.on_conflict_do_nothing()) == f"{insert % marks} DO NOTHING"


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_partial_index_is_partial_on_both_databases(dialect: str) -> None:
    pairs = Table("pairs", MetaData(), Column("name", Text), Column("value", Text))
    partial = Index("ix_partial", pairs.c.value, sqlite_where=literal_column("name = 'x'"))
    whole = Index("ix_whole", pairs.c.value)
    created = "CREATE INDEX ix_partial ON pairs (value) WHERE name = 'x'"
    assert compile_statement(CreateIndex(partial), dialect).text == created
    assert compile_statement(CreateIndex(whole), dialect).text == "CREATE INDEX ix_whole ON pairs (value)"
