"""`mlwright scan`: exit status and forms of output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from mlwright.app.cli import cli
from mlwright.security.scanning.rules import RULES
from tests.unit.security.scanning.samples import BENIGN, EVIL, zipped


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a safe file, an unsafe one, and one inside an archive."""
    (tmp_path / "good.pkl").write_bytes(BENIGN)
    (tmp_path / "evil.pkl").write_bytes(EVIL)
    (tmp_path / "evil.zip").write_bytes(zipped({"inner/model.pkl": EVIL}))
    return tmp_path


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["scan", *map(str, words)])


def test_the_exit_status_says_the_verdict(models: Path) -> None:
    assert run(models / "good.pkl").exit_code == 0
    assert run(models / "evil.pkl", models / "missing").exit_code == 1
    assert run(models / "good.pkl", models / "missing").exit_code == 2
    assert run().exit_code == 2
    assert run(models / "evil.zip", "--timeout", "0").exit_code == 2


def test_the_table_says_why_and_what_to_do(models: Path) -> None:
    found = run(models)
    assert "safe        " in found.stdout
    assert "unsafe      " in found.stdout
    assert "pickle-global: posix.system is not on the allow-list" in found.stdout
    assert "[inner/model.pkl; STACK_GLOBAL@17 > REDUCE@25]" in found.stdout
    assert "hint: " in found.stdout
    assert "1 safe, 2 unsafe" in found.stderr


def test_names_cannot_control_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b[31m\nsafe  model.pkl").write_bytes(EVIL)
    (tmp_path / "inner.zip").write_bytes(zipped({"\x1b[2Jmodel.pkl": EVIL}))
    found = run(tmp_path).stdout
    assert "\x1b" not in found
    assert "\\x1b[31m\\nsafe" in found


def test_json_and_yaml_hold_the_whole_report(models: Path) -> None:
    found = json.loads(run(models, "-o", "json").stdout)
    assert found == yaml.safe_load(run(models, "-o", "yaml").stdout)
    assert found["verdict"] == "unsafe"
    (problem,) = found["files"][0]["findings"]
    assert problem["target"] == "posix.system"
    assert problem["opcodes"] == "STACK_GLOBAL@17 > REDUCE@25"
    assert problem["offset"] == 17


def test_sarif_holds_every_finding(models: Path) -> None:
    found = json.loads(run(models, models / "missing", "-o", "sarif").stdout)
    assert found["version"] == "2.1.0"
    (log,) = found["runs"]
    rules = log["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    assert len(log["results"]) == 2
    for result in log["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "pickle-global"
        assert result["level"] == "error"
    first, second = (result["locations"][0] for result in log["results"])
    assert first["physicalLocation"]["artifactLocation"]["uri"].endswith("/evil.pkl")
    assert first["physicalLocation"]["region"] == {"byteOffset": 17}
    assert second["logicalLocations"][0]["fullyQualifiedName"] == "inner/model.pkl!posix.system"
    assert log["invocations"][0]["executionSuccessful"] is False
    assert "missing" in log["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_no_server_and_no_heavy_library_is_needed(models: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom mlwright.app.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    status = end.code\n"
        "bad = {'numpy', 'sqlalchemy', 'starlette', 'joblib', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {bad}' if bad else status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "scan", models / "good.pkl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
