"""The move: once is enough, twice changes nothing, and half a move is completed."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mlwright.kernel.client import Client
from mlwright.kernel.errors import Conflict, NotFound
from mlwright.tracking.importer.counts import Counts, Outcome
from mlwright.tracking.importer.mover import Mover, Options
from mlwright.tracking.points import Point
from mlwright.tracking.spec import Param
from tests.unit.tracking.moving_world import MODEL_ID, RUN_IDS, FailingTransport, Killed, MemorySource, Silent

ROWS = {"experiments": 2, "runs": 5, "params": 4, "tags": 5, "points": 1_500, "datasets": 0, "models": 1, "files": 4,
        "bytes": 3_000_016}  # fmt: skip

PLAIN = Options("memory")


@pytest.fixture
def transport(data_dir: Path) -> Iterator[FailingTransport]:
    transport = FailingTransport(data_dir)
    yield transport
    transport.close()


def move(transport: FailingTransport, source: MemorySource, options: Options = PLAIN) -> Outcome:
    return Mover(Client(transport), source, options, Silent()).move()


def test_everything_arrives_and_is_compared(transport: FailingTransport) -> None:
    outcome = move(transport, MemorySource())
    assert outcome.verified
    assert {row.thing: row.source for row in outcome.rows} == ROWS
    assert {row.thing: row.imported for row in outcome.rows} == ROWS
    assert outcome.changes == Counts(1, 5, points=1_500, models=1, files=4, bytes=3_000_016)
    client = Client(transport)
    found = client.get("/v1/runs", view="all", experiment=str(outcome.experiments[1].experiment_id))
    assert {(run["run_id"], run["active"]) for run in found["items"]} == {
        (run_id, run_id != RUN_IDS[3]) for run_id in RUN_IDS[1:]
    }
    assert b"".join(client.download(f"/v1/runs/{RUN_IDS[0]}/artifacts/a/b.txt")) == b"hello"
    assert client.get(f"/v1/logged-models/{MODEL_ID}")["metrics"][0]["value"] == 0.5


def test_a_second_move_changes_nothing_and_sends_no_file(transport: FailingTransport) -> None:
    source = MemorySource()
    move(transport, source)
    transport.sent.clear()
    outcome = move(transport, source)
    assert outcome.verified
    assert outcome.changes == Counts()
    assert not [path for path in transport.sent if "/artifacts/" in path]


def test_a_move_that_ended_anywhere_goes_on(transport: FailingTransport) -> None:
    source = MemorySource()
    for requests in (1, 2, 3, 4, 5, 7, 9, 12):
        transport.requests = requests
        with pytest.raises(Killed):
            move(transport, source)
    transport.requests = 10**9
    outcome = move(transport, source)
    assert outcome.verified
    assert {row.thing: row.imported for row in outcome.rows} == ROWS
    assert move(transport, source).changes == Counts()


def test_what_is_new_at_the_source_is_brought(transport: FailingTransport) -> None:
    source = MemorySource()
    move(transport, source)
    source.points[RUN_IDS[2]] += [Point(900, 5_000, 1.0), Point(-1, 1, 2.0)]
    source.held["4"][0] = msgspec.structs.replace(source.held["4"][0], params=[Param("p", "0"), Param("late", "1")])
    source.content[RUN_IDS[0]]["new.txt"] = b"12345"
    outcome = move(transport, source)
    assert outcome.verified
    assert outcome.changes == Counts(runs=1, points=2, files=1, bytes=5)


def test_what_was_added_here_is_no_difference(transport: FailingTransport) -> None:
    source = MemorySource()
    move(transport, source)
    client = Client(transport)
    client.put(f"/v1/runs/{RUN_IDS[1]}/tags/ours", {"value": "kept"})
    client.post(f"/v1/runs/{RUN_IDS[1]}/log", {"metrics": [{"key": "loss", "value": 1.0, "step": 999}]})
    outcome = move(transport, source)
    assert outcome.verified
    assert outcome.changes == Counts()


class Lossy(FailingTransport):
    """A server that forgets a run between the move and the comparison."""

    def send(self, method, path, body, headers):  # type: ignore[no-untyped-def]
        answer = super().send(method, path, body, headers)
        if path == "/v1/import/states" and b'"runs":[{' in answer.body:
            document = msgspec.json.decode(answer.body)
            answer = answer._replace(body=msgspec.json.encode({**document, "runs": document["runs"][1:]}))
        return answer


def test_what_is_missing_is_named(data_dir: Path) -> None:
    transport = Lossy(data_dir)
    outcome = move(transport, MemorySource())
    transport.close()
    assert not outcome.verified
    assert outcome.differing == [RUN_IDS[0]]
    rows = {row.thing: row for row in outcome.rows}
    assert (rows["runs"].source, rows["runs"].imported, rows["runs"].equal) == (5, 4, False)
    assert (rows["points"].imported, rows["points"].equal) == (1_200, False)
    assert rows["files"].equal


class Damaging(MemorySource):
    """A source whose bytes come different the second time they are read."""

    reads = 0

    def read(self, experiment, owner, file):  # type: ignore[no-untyped-def]
        self.reads += 1
        for piece in super().read(experiment, owner, file):
            yield piece if self.reads < 3 else piece.replace(b"\0", b"\1")


def test_files_are_read_again_only_when_asked(transport: FailingTransport) -> None:
    source = Damaging()
    source.content = {RUN_IDS[1]: {"plot.bin": bytes(100)}, MODEL_ID: {}}
    move(transport, source)
    source.reads = 10
    assert move(transport, source).changes == Counts()
    outcome = move(transport, source, Options("memory", verify_files=True))
    assert outcome.changes == Counts(files=1, bytes=100)


def test_a_dry_run_counts_and_changes_nothing(transport: FailingTransport) -> None:
    outcome = move(transport, MemorySource(), Options("memory", dry_run=True))
    assert outcome.changes == Counts(1, 5, points=1_500, models=1, files=4, bytes=3_000_016)
    assert Client(transport).get("/v1/runs", view="all")["items"] == []


def test_one_experiment_under_another_name(transport: FailingTransport) -> None:
    outcome = move(transport, MemorySource(), Options("memory", names=("digits",), prefix="old "))
    assert [(place.source_id, place.name) for place in outcome.experiments] == [("4", "old digits")]
    assert next(row for row in outcome.rows if row.thing == "runs").source == 4


def test_an_experiment_that_is_not_there_is_named_with_those_that_are(transport: FailingTransport) -> None:
    with pytest.raises(NotFound, match="'letters'") as raised:
        move(transport, MemorySource(), Options("memory", names=("letters",)))
    assert "'digits'" in raised.value.hint


def test_a_taken_name_is_a_conflict_with_a_way_out(transport: FailingTransport) -> None:
    Client(transport).post("/v1/experiments", {"name": "digits"})
    with pytest.raises(Conflict, match="another experiment called 'digits'") as raised:
        move(transport, MemorySource())
    assert "--prefix" in raised.value.hint


def test_files_may_stay_where_they_are(transport: FailingTransport) -> None:
    source = MemorySource()
    source.held["0"] = [msgspec.structs.replace(source.held["0"][0], artifact_uri="s3://bucket/1/artifacts")]
    outcome = move(transport, source, Options("memory", artifacts=False))
    assert outcome.verified
    assert next(row for row in outcome.rows if row.thing == "files").source == 0
    assert Client(transport).get(f"/v1/runs/{RUN_IDS[0]}")["artifact_uri"] == "s3://bucket/1/artifacts"
