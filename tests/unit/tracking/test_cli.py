"""Commands of tracking and artifacts, as typed, on a data directory without a server."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from mlwright.app.cli import cli
from mlwright.kernel.errors import Conflict, Denied, Invalid, NotFound
from mlwright.registry.ports import MovedRegisteredModel, MovedVersion
from mlwright.tracking.api.views import RunView
from mlwright.tracking.cli import moving
from mlwright.tracking.cli.runs import FIELDS
from tests.unit.tracking.moving_world import MODEL_ID, RUN_IDS, MemorySource


@pytest.fixture
def typed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLWRIGHT_DATA", str(data_dir))

    def run(*words: str, fails: type[Exception] | None = None) -> Result:
        result = CliRunner().invoke(cli, words)
        if fails is None:
            assert result.exit_code == 0, (result.output, result.exception)
        else:
            assert isinstance(result.exception, fails), (result.output, result.exception)
        return result

    return run


@pytest.fixture
def moved_in(typed: Any, monkeypatch: pytest.MonkeyPatch) -> MemorySource:
    """A platform with what a source in memory holds."""
    source = MemorySource()
    monkeypatch.setattr("tests.unit.tracking.test_cli.OPENED", source)
    monkeypatch.setattr(moving, "SOURCES", {"mlflow": "tests.unit.tracking.test_cli:open_memory"})
    typed("import", "mlflow", "memory")
    return source


OPENED: Any = None


def open_memory(address: str, artifacts_root: str, token: str) -> Any:
    return OPENED


def test_experiments_from_creation_to_restoration(typed: Any) -> None:
    number = typed("experiments", "create", "digits", "--tag", "team=red", "-o", "name").stdout.strip()
    typed("experiments", "rename", "digits", "it's")
    typed("experiments", "delete", "it's")
    assert typed("experiments", "list", "-o", "name").stdout == "0\n"
    listed = json.loads(typed("experiments", "list", "--view", "deleted", "-o", "json").stdout)
    assert [(str(each["experiment_id"]), each["name"]) for each in listed] == [(number, "it's")]
    typed("experiments", "restore", number)
    assert "it's" in typed("experiments", "list").stdout
    assert typed("experiments", "delete", "none", fails=NotFound).exception.hint
    typed("experiments", "create", "x", "--tag", "broken", fails=Invalid)


def test_an_import_prints_the_comparison(typed: Any, moved_in: MemorySource) -> None:
    assert moved_in.closed
    result = typed("import", "mlflow", "memory")
    assert "runs               5        5         yes" in result.stdout
    assert "changed: 0 changes" in result.stderr
    assert "counts and digests are equal" in result.stderr
    document = json.loads(typed("import", "mlflow", "memory", "-o", "json", "--no-progress").stdout)
    assert document["verified"]
    assert not any(document["changes"].values())


def test_an_import_that_differs_exits_with_1(
    typed: Any, moved_in: MemorySource, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    monkeypatch.setattr("mlwright.tracking.importer.mover.Mover._flush", lambda mover: None)
    with closing(sqlite3.connect(data_dir / "mlwright.db")) as connection, connection:
        connection.execute("DELETE FROM metric_series")
    result = CliRunner().invoke(cli, ["import", "mlflow", "memory"])
    assert result.exit_code == 1
    assert f"error: {RUN_IDS[0]} differs from the source" in result.stderr
    assert "points             1500     0         no" in result.stdout


def test_registered_models_come_along_as_far_as_gates_let_them(
    typed: Any, moved_in: MemorySource, tmp_path: Path
) -> None:
    policy = """
        apiVersion: mlwright.dev/v1
        kind: GatePolicy
        metadata: {name: production}
        spec: {aliases: [champion], gates: [{name: people, approval: {approvers: [ann]}}]}
    """
    (tmp_path / "policy.yaml").write_text(policy)
    typed("apply", "-f", str(tmp_path / "policy.yaml"))
    leads = {"champion": 1, "far": 3}
    moved_in.registered = [MovedRegisteredModel("trees", "", 5, 6, {}, leads), MovedRegisteredModel("other", "", 5, 6)]
    moved_in.numbered = [
        MovedVersion(1, f"models:/{MODEL_ID}", model_id=MODEL_ID, created_ms=7, updated_ms=8),
        MovedVersion(3, "s3://far/model", created_ms=7, updated_ms=8),
    ]
    words = ("import", "mlflow", "memory", "--model", "trees", "--model-prefix", "old ")
    assert typed(*words, "--dry-run").stderr.endswith("would change: 1 registered_models, 2 versions, 2 aliases\n")
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 1
    assert "registered model 1 of 1: trees" in result.stderr
    assert "not pinned, its files are not among those of the runs here: old trees/3 (s3://far/model)" in result.stderr
    assert "skipped: @champion does not lead to old trees/1: Version 1 of 'old trees' may not be" in result.stderr
    assert "error: old trees@champion differs from the source" in result.stderr
    assert "aliases            2        1         no" in result.stdout
    done = typed(*words, "--override", "it ran for a year")
    assert "changed: 1 aliases" in done.stderr
    assert "counts and digests are equal" in done.stderr
    assert typed("models", "list", "-o", "name").stdout == "old trees\n"
    version = json.loads(typed("models", "show", "old trees/1", "-o", "json").stdout)
    assert (version["files"], version["aliases"]) == (1, ["champion"])
    assert "changed: 0 changes" in typed("import", "mlflow", "memory", "--no-models").stderr
    typed(*words[:-4], "--model", "none", fails=NotFound)


def test_files_that_were_changed_since_they_were_pinned_are_noticed(typed: Any, moved_in: MemorySource) -> None:
    moved_in.registered = [MovedRegisteredModel("trees")]
    moved_in.numbered = [MovedVersion(1, f"runs:/{RUN_IDS[0]}/a")]
    typed("import", "mlflow", "memory")
    moved_in.content[RUN_IDS[0]]["a/b.txt"] = b"other words"
    result = CliRunner().invoke(cli, ["import", "mlflow", "memory"])
    assert result.exit_code == 1
    assert "error: trees/1 differs from the source" in result.stderr


def test_runs_are_listed_compared_and_commented(typed: Any, moved_in: MemorySource) -> None:
    table = typed("runs", "list", "--experiment", "digits", "--columns", "name,params.p,metrics.loss").stdout
    assert table.splitlines()[0].split() == ["NAME", "PARAMS.P", "METRICS.LOSS"]
    assert sorted(line.split()[2] for line in table.splitlines()[1:]) == ["0", "1", "3"]
    missing = typed("runs", "list", "--columns", "name,metrics.none,tags.none")
    assert missing.stderr == "note: none of these runs has metrics.none\nnote: none of these runs has tags.none\n"
    assert typed("runs", "list", "--columns", ",".join(FIELDS)).stderr == ""
    assert "START" in typed("runs", "list").stdout
    assert "start_ms" in typed("runs", "compare", RUN_IDS[1], RUN_IDS[2], "--all").stdout
    compared = json.loads(typed("runs", "compare", RUN_IDS[1], RUN_IDS[2], "-o", "json").stdout)
    assert {"what": "params.p", "run 0": "0", "run 1": "1"} in compared
    assert not [row for row in compared if row["what"] == "status"]
    typed("runs", "compare", RUN_IDS[1], RUN_IDS[1], fails=Invalid)
    typed("runs", "comment", RUN_IDS[1], "well **done**")
    assert "well **done**" in typed("runs", "comment", RUN_IDS[1]).stdout
    assert "metrics.loss" in typed("runs", "get", RUN_IDS[1]).stdout
    typed("runs", "delete", RUN_IDS[1])
    assert RUN_IDS[1] not in typed("runs", "list", "-o", "name").stdout
    typed("runs", "restore", RUN_IDS[1])
    assert RUN_IDS[1] in typed("runs", "list", "-o", "name").stdout


def test_the_columns_of_all_runs_are_those_of_the_api() -> None:
    scalars = [each.name for each in msgspec.structs.fields(RunView) if "[" not in str(each.type)]
    assert list(FIELDS) == scalars


def test_files_go_up_and_come_down(typed: Any, moved_in: MemorySource, tmp_path: Path) -> None:
    folder = tmp_path / "up"
    (folder / "sub dir").mkdir(parents=True)
    (folder / "sub dir" / "ä+%.txt").write_text("one")
    (folder / "two").write_text("two")
    typed("artifacts", "put", RUN_IDS[2], str(folder), "in/here")
    assert typed("artifacts", "list", RUN_IDS[2], "in/here", "-o", "name").stdout == "in/here/sub dir\nin/here/two\n"
    nothing = typed("artifacts", "list", RUN_IDS[2], "none")
    assert nothing.stderr == f"note: {RUN_IDS[2]} has no file or folder 'none'\n"
    typed("artifacts", "get", RUN_IDS[2], "in/here", str(tmp_path / "down"))
    assert (tmp_path / "down" / "here" / "sub dir" / "ä+%.txt").read_text() == "one"
    typed("artifacts", "get", RUN_IDS[2], "in/here/two", str(tmp_path / "one"))
    assert (tmp_path / "one" / "two").read_text() == "two"
    typed("artifacts", "get", RUN_IDS[2], "none", str(tmp_path), fails=NotFound)
    typed("artifacts", "put", RUN_IDS[2], str(tmp_path / "none"), fails=NotFound)


def test_tables_are_written_whole_or_not_at_all(typed: Any, moved_in: MemorySource, tmp_path: Path) -> None:
    target = tmp_path / "runs.jsonl"
    typed("export", "runs", "--experiment", "digits", "--view", "all", "-o", str(target))
    assert [json.loads(line)["params.p"] for line in target.read_text().splitlines()] == ["0", "1", "2", "3"]
    text = typed("export", "metrics", "--filter", "params.p = '1'", "-o", "-").stdout
    assert len(text.splitlines()) == 301
    typed("export", "runs", "--filter", "garbage", "-o", str(tmp_path / "bad.csv"), fails=Invalid)
    assert [path.name for path in tmp_path.iterdir() if path.suffix in {".csv", ".part"}] == []


def test_garbage_is_collected(typed: Any, moved_in: MemorySource) -> None:
    typed("runs", "delete", RUN_IDS[1])
    assert json.loads(typed("gc", "-o", "json").stdout)["runs"] == 0
    planned = json.loads(typed("gc", "--older-than", "0s", "--dry-run", "-o", "json").stdout)
    assert (planned["runs"], planned["files"], planned["bytes"]) == (2, 1, 0)  # a blob in the store stays for an hour
    done = json.loads(typed("gc", "--older-than", "0s", "-o", "json").stdout)
    assert done == planned | {"dry_run": False}
    typed("runs", "get", RUN_IDS[1], fails=NotFound)
    typed("gc", "--older-than", "soon", fails=Invalid)


def test_every_kind_of_failure_has_its_exit_status() -> None:
    assert (NotFound("").exit_code, Invalid("").exit_code, Denied("").exit_code, Conflict("").exit_code) == (1, 2, 4, 5)
