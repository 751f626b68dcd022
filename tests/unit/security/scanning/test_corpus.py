"""Both corpora, made anew by the scripts in `tests/data/pickles`: all that is malicious is refused, and hardly more.

The samples are only scanned. None is ever loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlwright.security.scanning.files import scan
from mlwright.security.scanning.spec import Finding, Verdict
from tests import components

GENERATORS = Path(__file__).resolve().parents[3] / "data" / "pickles"
MAX_REFUSED = 0.02
#: Samples that no pickle is decided by: what is offending there has no opcode.
WITHOUT_OPCODES = {
    "zip_name_mismatch", "keras_lambda", "keras_module_inject", "gguf_template_ssti",
    "mlmodel_loader_module", "joblib_lz4",
}  # fmt: skip


def findings(path: Path) -> list[Finding]:
    """All findings of a sample, which may be a folder."""
    return [found for report in scan([path]) for found in report.findings]


@pytest.fixture(scope="module")
def malicious(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("malicious")
    subprocess.run([sys.executable, GENERATORS / "gen_corpus.py", folder], check=True, capture_output=True)
    index = json.loads((folder / "index.json").read_text())
    return [(each["id"], folder / each["file"]) for each in index]


def test_every_malicious_sample_is_refused(malicious: list[tuple[str, Path]]) -> None:
    assert len(malicious) >= 160
    assert [name for name, path in malicious if all(each.verdict is Verdict.SAFE for each in scan([path]))] == []
    marks = malicious[0][1].parent.parent / "marks"
    assert list(marks.iterdir()) == [], "a sample was executed"


def test_every_refusal_names_the_opcodes_and_the_global(malicious: list[tuple[str, Path]]) -> None:
    for name, path in malicious:
        found = findings(path)
        assert all(each.message and each.hint for each in found), name
        if name not in WITHOUT_OPCODES:
            assert any("@" in each.opcodes and each.target for each in found), name


def test_no_sample_makes_the_scanner_fail(malicious: list[tuple[str, Path]]) -> None:
    assert not [path for _, path in malicious for each in findings(path) if "scanner failed" in each.message]


@pytest.mark.component
def test_hardly_any_benign_model_is_refused(tmp_path: Path) -> None:
    python = components.mlflow_python("3.17.2")
    command = [python, GENERATORS / "gen_benign.py", tmp_path / "benign"]
    subprocess.run(command, check=True, capture_output=True, env=components.mlflow_environment())
    index = json.loads((tmp_path / "benign.json").read_text())
    kinds: dict[str, dict[str, list[Finding]]] = {"std": {}, "code": {}}
    for each in index:
        kinds[each["kind"]][each["file"]] = findings(tmp_path / each["file"])
    refused = {file: found for file, found in kinds["std"].items() if found}
    assert len(kinds["std"]) >= 80
    assert len(refused) <= MAX_REFUSED * len(kinds["std"]), refused
    assert all(found and all(each.message for each in found) for found in kinds["code"].values())
    assert {found[0].rule for found in kinds["code"].values()} == {"pickle-code"}


@pytest.mark.component
def test_hardly_any_estimator_of_scikit_learn_is_refused(tmp_path: Path) -> None:
    python = components.mlflow_python("3.17.2")
    command = [python, GENERATORS / "gen_estimators.py", tmp_path / "made"]
    subprocess.run(command, check=True, capture_output=True, env=components.mlflow_environment())
    reports = list(scan([tmp_path / "made"]))
    refused = {Path(each.path).name: each.findings for each in reports if each.findings}
    assert len(reports) > 300
    assert len(refused) <= MAX_REFUSED * len(reports), refused
