"""What the registry's pages ask the database, on SQLite and PostgreSQL: standings together, histories, what waits."""

from pathlib import Path

import pytest

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Denied, Invalid
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.registry.gates.spec import Decision, GateVerdict
from mlwright.registry.service import aliases, approvals, gate_history, gates, history, renaming, versions
from mlwright.registry.service.gate_history import Asked
from mlwright.registry.spec import ModelVersion
from mlwright.tracking.service import columns
from tests.contract.registry import FILES
from tests.contract.test_gates import Gates

CHECK = {"name": "check", "command": {"command": ["true"]}}
_ALL = Asked()
STRANGER = Caller("sam", roles={"other": Role.ADMIN})


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Gates:
    return Gates(database, tmp_path)


def answer(registry: Gates, verdict: GateVerdict = GateVerdict.PASS) -> None:
    """Answer the next gate without running it."""
    work = registry.database.write_now(lambda tx: gates.claim(tx, "t"))
    assert work is not None
    decision = Decision(verdict, "because", [], "much output")
    assert registry.database.write_now(lambda tx: gates.finish(tx, work, "t", decision, {}))


def test_many_versions_stand_as_each_of_them(registry: Gates) -> None:
    """… also those that share a digest, and those that are not pinned."""
    registry.policy(CHECK, {"name": "lead", "approval": {"notRequester": False}})
    pinned = registry.register(registry.logged())
    answer(registry)
    copied = registry.register("models:/m/1")
    elsewhere = [registry.register("s3://bucket/x") for _ in range(2)]
    answer(registry, GateVerdict.FAIL)
    other = registry.register(registry.logged({**FILES, "model.pkl": b"other"}))
    found: list[ModelVersion] = [pinned, copied, *elsewhere, other]
    registry(gates.approve, copied, "production", "lead", approves=True)
    together = registry.database.read_now(lambda tx: gates.standings_of(tx, found))
    for version in found:
        alone = registry.standings(version)
        assert [(each.gate, each.state, each.decision.verdict) for each in together[version.row]] == [
            (each.gate, each.state, each.decision.verdict) for each in alone
        ]
        assert all(each.decision.output == "" for each in together[version.row])
    states = [[each.state for each in together[version.row]] for version in found]
    assert states == [
        ["done", "missing"], ["done", "done"], ["done", "missing"], ["waiting", "missing"], ["waiting", "missing"],
    ]  # fmt: skip
    assert registry.database.read_now(lambda tx: gates.standings_of(tx, [])) == {}


def test_answers_words_and_overrides_in_one_order(registry: Gates) -> None:
    registry.policy(CHECK, {"name": "lead", "approval": {"notRequester": False}})
    version = registry.register(registry.logged())
    answer(registry, GateVerdict.FAIL)
    registry(gates.approve, version, "production", "lead", approves=True, comment="fine")
    registry.champion(version, override="pilot")
    registry(gates.approve, version, "production", "lead", approves=False)

    def page(asked: Asked = _ALL, limit: int = 10, token: str = "", caller: Caller = LOCAL) -> list[str]:
        found = registry.database.read_now(lambda tx: gate_history.page(tx, caller, asked, limit, token))
        rest = page(asked, limit, found.next_token, caller) if found.next_token else []
        return [each.outcome for each in found.answers] + rest

    whole = page()
    assert sorted(whole) == ["approved", "fail", "overridden", "rejected"]
    for limit in (1, 2, 3):
        assert page(limit=limit) == whole, "no page repeats or leaves out what another shows"
    assert page(Asked(model="m", version=1)) == whole
    assert page(Asked(policy="production", outcome="overridden")) == ["overridden"]
    assert page(Asked(policy="product", outcome="overridden")) == []
    assert page(Asked(model="m", version=11)) == page(Asked(model="n")) == page(caller=STRANGER) == []
    with pytest.raises(Denied):
        page(Asked(project="default"), caller=STRANGER)
    with pytest.raises(Invalid):
        page(Asked(outcome="maybe"))


def test_what_waits_for_people(registry: Gates) -> None:
    registry.policy({"name": "lead", "approval": {"notRequester": False}}, stages=[])
    found = [registry.register("s3://bucket/x") for _ in range(approvals.NEWEST + 2)]

    def numbers(caller: Caller = LOCAL) -> list[int]:
        waiting = registry.database.read_now(lambda tx: approvals.waiting(tx, caller))
        return [each.version.version for each in waiting]

    assert numbers() == [*range(approvals.NEWEST + 2, 2, -1)], "the newest only"
    assert numbers(STRANGER) == []
    registry.policy({"name": "boss", "approval": {"notRequester": False}}, name="another", models=["m"])
    assert numbers() == [number for number in range(approvals.NEWEST + 2, 2, -1) for _ in range(2)]
    registry.policy(CHECK, name="another", aliases=[], stages=[])
    assert registry.database.read_now(lambda tx: approvals.count(tx, LOCAL)) == approvals.NEWEST
    registry(gates.approve, found[-1], "production", "lead", approves=True)
    registry.champion(found[-1])
    assert numbers() == []


def test_the_life_of_a_model_across_names(registry: Gates) -> None:
    registry.register("s3://bucket/x")
    registry(renaming.rename, "m", "n")
    registry.model("m")
    registry(aliases.move, "n", "best", 1)
    registry(versions.set_tag, "n", 1, "k", "v")

    def types(name: str, limit: int = 10) -> list[str]:
        found = registry.database.read_now(lambda tx: history.of_model(tx, LOCAL, name, "", limit))
        return [each.type.removeprefix("registry.") for each in found]

    assert types("n") == ["alias.moved", "model.renamed", "model.created"]
    assert types("n", 2) == ["alias.moved", "model.renamed"]
    assert types("m") == ["model.created"]
    found = registry.database.read_now(lambda tx: history.of_version(tx, LOCAL, "n", 1, "", 10))
    assert [each.type for each in found] == ["registry.version.tags_set", "registry.version.created"]
    older = registry.database.read_now(lambda tx: history.of_version(tx, LOCAL, "n", 1, "", 10, found[0].seq))
    assert older == found[1:]


def test_runs_that_may_be_read(registry: Gates) -> None:
    run_id = registry.new_run()
    found = registry.database.read_now(lambda tx: columns.readable_runs(tx, LOCAL, [run_id, "none"]))
    assert list(found) == [run_id]
    assert registry.database.read_now(lambda tx: columns.readable_runs(tx, STRANGER, [run_id])) == {}
    assert registry.database.read_now(lambda tx: columns.readable_runs(tx, LOCAL, [])) == {}
