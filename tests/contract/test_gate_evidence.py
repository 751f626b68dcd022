"""What answers of gates rest on, on both databases."""

from pathlib import Path

import msgspec
import pytest

from mlwright.artifacts import service as artifacts
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Immutable, NotFound, StorageFull
from mlwright.kernel.identity import LOCAL
from mlwright.registry.gates.spec import GateVerdict
from mlwright.registry.service import models
from mlwright.registry.service.evidence import Stored
from tests.contract.registry import OWNERS
from tests.contract.test_gates import PASSES, Gates, InDatabase


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Gates:
    return Gates(database, tmp_path / "gates")


def test_an_answer_rests_on_artifacts_of_the_model(registry: Gates) -> None:
    registry.policy(PASSES)
    version = registry.register(registry.logged())
    registry.run_all()
    (standing,) = registry.standings(version)
    kept = standing.decision.evidence
    assert sorted(kept) == ["output.txt", "report.json"]

    def content(name: str) -> bytes:
        file = registry.database.read_now(lambda tx: artifacts.get(tx, LOCAL, kept[name].path))
        assert (file.digest, file.size) == (kept[name].digest, kept[name].size)
        return file.content or b""

    report = msgspec.json.decode(content("report.json"))
    assert (report["digest"], report["policy_version"]) == (version.digest, 1)
    assert report["gate"]["command"]["command"] == PASSES["command"]["command"]
    assert report["answer"]["verdict"] == "pass"
    with pytest.raises(Immutable):
        registry(artifacts.remove, OWNERS, kept["report.json"].path)
    registry(models.delete_model, version.name)
    with pytest.raises(NotFound):
        content("report.json")


def test_without_room_for_evidence_nothing_is_passed(registry: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: InDatabase, _data: bytes) -> Stored:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(InDatabase, "store", full)
    registry.policy(PASSES)
    version = registry.register(registry.logged())
    registry.run_all()
    (standing,) = registry.standings(version)
    assert standing.decision.verdict is GateVerdict.INCONCLUSIVE
    assert "evidence could not be kept: the disk is full" in standing.decision.reason
