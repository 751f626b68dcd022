"""`mlwright gate`, and gates over our own API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner

from mlwright.app.cli import cli
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.errors import GateClosed, Invalid, NotFound, Unavailable
from tests.unit.registry.registered import Registered

POLICY: dict[str, Any] = {
    "apiVersion": "mlwright.dev/v1",
    "kind": "GatePolicy",
    "metadata": {"name": "production"},
    "spec": {
        "aliases": ["champion"],
        "gates": [
            {"name": "smoke", "command": {"command": ["test", "-s", "model/MLmodel"]}},
            {"name": "lead", "approval": {"approvers": ["local"], "notRequester": False}},
        ],
    },
}
Typed = Callable[..., Any]


@pytest.fixture
def typed(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Runs a command on a directory with a version of "tree" and a policy, which has not run yet."""
    monkeypatch.setenv("MLWRIGHT_DATA", str(data_dir))
    manifest = tmp_path / "policy.yaml"
    manifest.write_text(yaml.safe_dump(POLICY))

    def run(*words: str) -> Any:
        return CliRunner().invoke(cli, words, catch_exceptions=True)

    assert run("apply", "-f", str(manifest)).exit_code == 0
    platform = Platform(Settings(data=data_dir))
    Registered(platform).register()
    platform.close()
    return run


def run_gates(data_dir: Path) -> None:
    """What a server does all the time."""
    platform = Platform(Settings(data=data_dir))
    while platform.gates.run_one():
        continue
    platform.close()


def test_from_registration_to_the_alias(typed: Typed, data_dir: Path) -> None:
    assert typed("gate", "explain", "tree/1", "-o", "name").stdout == "smoke\nlead\n"
    assert "waiting" in typed("gate", "explain", "tree/1").stdout
    assert isinstance(typed("models", "alias", "tree", "champion", "1").exception, GateClosed)
    run_gates(data_dir)
    found = json.loads(typed("gate", "explain", "tree/1", "-o", "json").stdout)
    assert [each["decision"]["verdict"] for each in found] == ["pass", "inconclusive"]
    assert isinstance(typed("models", "alias", "tree", "champion", "1").exception, GateClosed)
    assert "rejected by local" in typed("gate", "reject", "tree/1", "production/lead", "--comment", "no").stdout
    assert "approved by local" in typed("gate", "approve", "tree/1", "production/lead").stdout
    assert typed("models", "alias", "tree", "champion", "1").exit_code == 0


def test_an_override_needs_no_gate_but_a_reason(typed: Typed) -> None:
    assert typed("models", "alias", "tree", "champion", "1", "--override", "outage").exit_code == 0
    assert "registry.gate.overridden" in typed("events", "--tail", "5").stdout


def test_reports_for_other_programs(typed: Typed, data_dir: Path) -> None:
    run_gates(data_dir)
    suites = ET.fromstring(typed("gate", "explain", "tree/1", "-o", "junit").stdout)
    assert suites.attrib["tests"] == "2"
    assert json.loads(typed("gate", "explain", "tree/1", "-o", "sarif").stdout)["version"] == "2.1.0"
    assert "| production/smoke | ✅ pass |" in typed("gate", "explain", "tree/1", "-o", "markdown").stdout


def test_evidence_is_saved_as_it_was_given(typed: Typed, data_dir: Path, tmp_path: Path) -> None:
    run_gates(data_dir)
    saved = typed("gate", "evidence", "tree/1", str(tmp_path / "kept"))
    assert saved.stdout.splitlines() == [str(tmp_path / "kept" / "production" / "smoke" / "report.json")]
    report = json.loads((tmp_path / "kept" / "production" / "smoke" / "report.json").read_text())
    assert (report["model"], report["answer"]["verdict"]) == ("tree", "pass")


def test_without_a_server_gates_are_asked_for_but_not_waited_for(typed: Typed, data_dir: Path) -> None:
    assert isinstance(typed("gate", "run", "tree/1").exception, Unavailable)
    run_gates(data_dir)
    assert "0 gates will run" in typed("gate", "run", "tree/1", "--no-wait").stderr
    assert "1 gate will run" in typed("gate", "run", "tree/1", "--no-wait", "--again", "--policy", "production").stderr
    run_gates(data_dir)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("gate", "explain", "tree"), Invalid),
        (("gate", "explain", "tree/x"), Invalid),
        (("gate", "explain", "tree/9"), NotFound),
        (("gate", "run", "tree/1", "--no-wait", "--policy", "none"), NotFound),
        (("gate", "approve", "tree/1", "lead"), Invalid),
        (("gate", "approve", "tree/1", "production/none"), NotFound),
        (("gate", "approve", "tree/1", "production/smoke"), Invalid),
    ],
)
def test_what_cannot_be(typed: Typed, words: tuple[str, ...], error: type[Exception]) -> None:
    assert isinstance(typed(*words).exception, error)


def test_a_policy_that_makes_no_sense_is_refused(typed: Typed, tmp_path: Path) -> None:
    for gates in ([], [{"name": "x"}], [{"name": "x", "command": {"command": []}}], [*POLICY["spec"]["gates"][:1] * 2]):
        path = tmp_path / "bad.yaml"
        path.write_text(yaml.safe_dump({**POLICY, "spec": {"gates": gates}}))
        assert isinstance(typed("apply", "-f", str(path)).exception, Invalid), gates
