"""Runs that repeat runs, on both databases: noted by those who may, listed and drawn for those who may see them."""

import pytest

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Denied, Invalid, NotFound
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.kernel.lineage import Lineage, LineageGraph
from mlwright.reproduction import service
from mlwright.reproduction.spec import Outcome
from mlwright.security import projects
from mlwright.tracking.service import experiments, graph, runs
from mlwright.tracking.spec import REPRODUCES_TAG, Tag
from tests.contract.conftest import PROJECT
from tests.contract.tracking import Tracking

LINEAGE = Lineage(graph.KINDS, graph.HOPS)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "there"))
    return Tracking(database)


def note(tracking: Tracking, run_id: str, by: str, outcome: Outcome = Outcome.REPRODUCED) -> None:
    tracking(service.note, run_id, by, outcome, "why")


def drawn(tracking: Tracking, subject: str) -> LineageGraph:
    return tracking.database.read_now(lambda tx: LINEAGE.graph(tx, tracking.caller, subject))


def test_it_is_noted_listed_and_an_event(tracking: Tracking) -> None:
    first, second, third = (tracking.new_run() for _ in range(3))
    note(tracking, first, second)
    note(tracking, first, third, Outcome.DIFFERS)
    found = {each.run_id: each.outcome for each in tracking(service.of_run, first)}
    assert found == {second: "reproduced", third: "differs"}
    assert tracking(service.of_run, second) == []
    data = {"reproduces": first, "outcome": "reproduced", "reason": "why"}
    assert ("reproduction.run.compared", f"run/{second}", data) in tracking.log()
    note(tracking, first, second, Outcome.CANNOT)  # the last word counts
    assert {each.outcome for each in tracking(service.of_run, first)} == {"cannot", "differs"}
    tracking(runs.delete_run, third)
    assert [each.run_id for each in tracking(service.of_run, first)] == [second]


def test_it_is_part_of_the_lineage_from_both_ends(tracking: Tracking) -> None:
    first, second = tracking.new_run(), tracking.new_run()
    note(tracking, first, second)
    for subject in (f"run/{first}", f"run/{second}"):
        edges = [(edge.source, edge.relation, edge.target) for edge in drawn(tracking, subject).edges]
        assert edges == [(f"run/{first}", "reproduced", f"run/{second}")]


def test_a_tag_that_names_no_run_leads_nowhere(tracking: Tracking) -> None:
    run = tracking.new_run(run_tags=[Tag(REPRODUCES_TAG, "nothing")])
    assert [node.id for node in drawn(tracking, f"run/{run}").nodes] == [f"run/{run}"]


def test_what_is_refused(tracking: Tracking) -> None:
    run, other = tracking.new_run(), tracking.new_run()
    with pytest.raises(Invalid):
        note(tracking, run, run)
    with pytest.raises(NotFound):
        note(tracking, "gone", run)
    with pytest.raises(NotFound):
        note(tracking, run, "gone")
    with pytest.raises(NotFound):
        tracking(service.of_run, "gone")
    tracking(runs.delete_run, other)
    with pytest.raises(Invalid):
        note(tracking, run, other)


def test_it_takes_viewer_there_and_editor_here(tracking: Tracking) -> None:
    elsewhere = tracking(experiments.create, "e", project="there")
    there, here = tracking.new_run(elsewhere), tracking.new_run()
    eve = Tracking(tracking.database, Caller("eve", roles={"default": Role.EDITOR}))
    with pytest.raises(NotFound):
        note(eve, there, here)
    ann = Tracking(tracking.database, Caller("ann", roles={"default": Role.EDITOR, "there": Role.VIEWER}))
    note(ann, there, here)
    with pytest.raises(Denied):
        note(ann, here, there)
    bob = Tracking(tracking.database, Caller("bob", roles={"there": Role.VIEWER}))
    assert bob(service.of_run, there) == []
    assert [each.run_id for each in ann(service.of_run, there)] == [here]
