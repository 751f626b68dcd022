"""Statements are compiled once, for both drivers."""

from sqlalchemy import bindparam, insert, select

from mlwright.kernel.events import events
from mlwright.kernel.query import Query, compile_statement


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
