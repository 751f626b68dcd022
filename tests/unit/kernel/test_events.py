"""The event log: whatever is done to it behind our back is found and named."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy.schema import CreateTable

from mlwright.kernel import events
from mlwright.kernel.clock import ManualClock
from mlwright.kernel.events import GENESIS, Draft, Finding, Verdict, event_head
from mlwright.kernel.events import events as table
from mlwright.kernel.ids import SeededIds
from mlwright.kernel.query import compile_statement
from mlwright.kernel.transaction import Tx

COUNT = 12
FIELDS = ["at_ms", "actor", "project", "type", "subject", "data", "previous", "hash"]


@dataclass
class Log:
    """An event log in memory, and the means to tamper with it."""

    connection: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(":memory:", isolation_level=None))

    def __post_init__(self) -> None:
        for each in (table, event_head):
            self.connection.execute(compile_statement(CreateTable(each), "sqlite").text)
        self.tx = Tx(self.connection.cursor(), "sqlite", ManualClock(), SeededIds())

    def add(self, *names: str) -> None:
        events.append(self.tx, [Draft("ada", "p", "test.made", f"thing/{name}", {"name": name}) for name in names], 5)

    def run(self, sql: str, *values: Any) -> None:
        self.connection.execute(sql, values)

    def verify(self, expect: str = "", page: int = 5) -> Verdict:
        return events.verify(self.tx, expect, page)

    def problems(self) -> list[str]:
        return [each.problem for each in self.verify().findings]

    def hash_of(self, seq: int) -> str:
        row = self.connection.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
        return str(row[0])

    def dump(self) -> list[Any]:
        return self.connection.execute("SELECT * FROM events ORDER BY seq").fetchall()

    def close(self) -> None:
        self.connection.close()


def filled(count: int = COUNT) -> Log:
    log = Log()
    for number in range(0, count, 3):
        log.add(*(str(each) for each in range(number, min(number + 3, count))))
    return log


@pytest.fixture
def log() -> Iterator[Log]:
    log = filled()
    yield log
    log.close()


def test_an_empty_log_is_whole() -> None:
    log = Log()
    assert log.verify() == Verdict(0, GENESIS, [])
    log.close()


def test_a_log_is_whole_and_its_head_is_the_newest_hash(log: Log) -> None:
    assert log.verify() == Verdict(COUNT, log.hash_of(COUNT), [])
    assert events.head(log.tx) == COUNT


def test_events_are_read_in_order_from_anywhere(log: Log) -> None:
    found = events.read(log.tx, 4, 3)
    assert [(each.seq, each.subject, each.at_ms) for each in found] == [
        (seq, f"thing/{seq - 1}", 5) for seq in (5, 6, 7)
    ]
    assert bytes(found[0].data) == b'{"name":"4"}'
    assert [each.seq for each in events.read(log.tx, 10, 100)] == [11, 12]
    assert events.read(log.tx, COUNT, 100) == []


@pytest.mark.parametrize("name", FIELDS)
def test_a_changed_field_is_found_and_named(log: Log, name: str) -> None:
    log.run(f"UPDATE events SET {name} = {name} || '1' WHERE seq = 7" if name != "at_ms" else
            "UPDATE events SET at_ms = at_ms + 1 WHERE seq = 7")  # fmt: skip
    assert "event 7 was changed" in log.problems()
    if name == "hash":
        assert "event 8 does not continue event 7" in log.problems()


def test_a_removed_event_is_named(log: Log) -> None:
    log.run("DELETE FROM events WHERE seq = 5")
    assert log.verify().findings == [Finding(5, "event 5 removed")]


def test_removed_events_are_named(log: Log) -> None:
    log.run("DELETE FROM events WHERE seq BETWEEN 5 AND 7")
    assert log.problems() == ["events 5 to 7 removed"]


def test_a_removed_beginning_is_named(log: Log) -> None:
    log.run("DELETE FROM events WHERE seq < 4")
    assert log.problems() == ["events 1 to 3 removed"]


def test_a_removed_end_is_named(log: Log) -> None:
    log.run("DELETE FROM events WHERE seq > 9")
    assert log.problems() == ["events 10 to 12 removed from the end"]


def test_a_removed_end_with_the_head_set_back_needs_a_witness(log: Log) -> None:
    witness = log.hash_of(COUNT)
    log.run("DELETE FROM events WHERE seq > 9")
    log.run("UPDATE event_head SET seq = 9, hash = ?", log.hash_of(9))
    assert log.problems() == []
    assert [each.problem for each in log.verify(witness).findings] == [
        f"the log does not contain the expected event {witness}"
    ]


def test_everything_removed_is_named(log: Log) -> None:
    log.run("DELETE FROM events")
    assert log.problems() == ["events 1 to 12 removed from the end"]


def test_an_inserted_event_is_found(log: Log) -> None:
    log.run("UPDATE events SET seq = seq + 1000 WHERE seq > 5")
    log.run(
        "INSERT INTO events SELECT 6, at_ms, actor, project, type, 'thing/evil', data, hash, hash"
        " FROM events WHERE seq = 5"
    )
    log.run("UPDATE events SET seq = seq - 999 WHERE seq > 1000")
    found = log.problems()
    assert "event 6 was changed" in found
    assert "event 7 was changed" in found


@pytest.mark.parametrize("seq", [0, -5, COUNT + 1, COUNT + 50])
def test_an_event_before_or_after_all_others_is_found(log: Log, seq: int) -> None:
    log.run(
        "INSERT INTO events SELECT ?, at_ms, actor, project, type, subject, data, previous, hash"
        " FROM events WHERE seq = 3",
        seq,
    )
    assert log.problems() != []


def test_swapped_events_are_found(log: Log) -> None:
    log.run("UPDATE events SET seq = CASE seq WHEN 4 THEN -4 WHEN 5 THEN -5 END WHERE seq IN (4, 5)")
    log.run("UPDATE events SET seq = CASE seq WHEN -4 THEN 5 ELSE 4 END WHERE seq IN (-4, -5)")
    assert {"event 4 was changed", "event 5 was changed"} <= set(log.problems())


def test_a_head_of_another_log_is_found(log: Log) -> None:
    log.run("UPDATE event_head SET hash = ?", "f" * 64)
    assert log.verify().findings == [Finding(COUNT, "the newest event is not the one recorded as head")]
    log.run("DELETE FROM event_head")
    assert log.problems() == ["the newest event is not the one recorded as head"]


def test_a_rewritten_log_needs_a_witness(log: Log) -> None:
    witness, early = log.hash_of(COUNT), log.hash_of(3)
    forged = Log()
    forged.add(*"abcdefghijkl")
    assert forged.verify() == Verdict(COUNT, forged.hash_of(COUNT), [])
    assert [each.seq for each in forged.verify(witness).findings] == [0]
    assert log.verify(witness).findings == []
    assert log.verify(early).findings == []
    forged.close()


def test_a_recomputed_hash_breaks_the_next_link(log: Log) -> None:
    row = dict(zip(table.c.keys(), log.dump()[4], strict=True))
    row["actor"] = "mallory"
    log.run("UPDATE events SET actor = 'mallory', hash = ? WHERE seq = 5", events._digest(row))
    assert log.problems() == ["event 6 does not continue event 5"]


def test_the_log_goes_on_after_a_break(log: Log) -> None:
    log.run("UPDATE events SET actor = 'mallory' WHERE seq = 5")
    log.add("later")
    assert log.problems() == ["event 5 was changed"]
    assert events.head(log.tx) == COUNT + 1


_value = st.integers(-3, 3) | st.text(max_size=3)
_tampering = st.one_of(
    st.tuples(st.just("set"), st.integers(1, COUNT), st.sampled_from(FIELDS), _value),
    st.tuples(st.just("drop"), st.integers(1, COUNT), st.none(), st.none()),
    st.tuples(st.just("move"), st.integers(1, COUNT), st.none(), st.integers(-3, COUNT + 5)),
    st.tuples(st.just("copy"), st.integers(1, COUNT), st.none(), st.integers(-3, COUNT + 5)),
)


@given(st.lists(_tampering, min_size=1, max_size=4), st.integers(1, 20))
def test_any_tampering_is_found(steps: list[tuple[str, int, str | None, Any]], page: int) -> None:
    log = filled()
    try:
        before = log.dump()
        for what, seq, name, value in steps:
            try:
                if what == "set":
                    log.run(f"UPDATE events SET {name} = ? WHERE seq = ?", value, seq)
                elif what == "drop":
                    log.run("DELETE FROM events WHERE seq = ?", seq)
                elif what == "move":
                    log.run("UPDATE events SET seq = ? WHERE seq = ?", value, seq)
                else:
                    others = ", ".join(FIELDS)
                    log.run(f"INSERT INTO events SELECT ?, {others} FROM events WHERE seq = ?", value, seq)
            except sqlite3.Error:
                continue
        assume(log.dump() != before)
        assert log.verify(page=page).findings != []
    finally:
        log.close()
