"""Moving in from real MLflow: afterwards MLflow's own client sees the same on both servers."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlwright.tracking.validation import clamp
from tests import components
from tests.e2e.harness import new_server, running

pytestmark = [pytest.mark.component, pytest.mark.xdist_group("moving")]

HERE = Path(__file__).parent
MLWRIGHT = Path(sys.executable).parent / "mlwright"
#: A store of files and a server of each generation that people have.
KINDS = ("server-3.17.2", "server-2.22", "folder-2.22")


@dataclass(frozen=True)
class Origin:
    """Real MLflow data: where its client finds it, our words for the ways to read it, and the client's interpreter."""

    uri: str
    addresses: tuple[tuple[str, ...], ...]
    python: Path


def client(python: Path, script: str, *uris: str) -> str:
    """Run a script of MLflow's client; returns what it prints."""
    environment = components.mlflow_environment(GIT_PYTHON_REFRESH="quiet", MLFLOW_DISABLE_AGENTIC_CLI_MESSAGE="1")
    done = subprocess.run(
        [python, HERE / script, *uris], env=environment, text=True, capture_output=True, timeout=120, cwd=HERE.parent
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module", params=KINDS)
def origin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    kind, _, version = str(request.param).partition("-")
    folder = tmp_path_factory.mktemp("origin")
    python = components.mlflow_python(version)
    if kind == "folder":
        uri = f"file://{folder}/mlruns"
        client(python, "moving_source.py", uri)
        yield Origin(uri, ((str(folder / "mlruns"),), (uri,)), python)
        return
    with components.mlflow_server(version, folder) as url:
        client(python, "moving_source.py", url)
        database = (f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-root", str(folder / "artifacts"))
        yield Origin(url, ((url,), database), python)


def command(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run our command as a user does."""
    done = subprocess.run([MLWRIGHT, *words], text=True, capture_output=True, timeout=120, env=dict(os.environ))
    assert not check or done.returncode == 0, done.stderr
    return done


def moved(address: Sequence[str], *words: str | Path) -> dict[str, Any]:
    """Import from an address; returns the outcome."""
    found: dict[str, Any] = json.loads(command("import", "mlflow", *address, "-o", "json", *words).stdout)
    return found


def _as_servers_say(dump: dict[str, Any]) -> None:
    """A folder keeps points in the order of logging, and infinities; every server of MLflow sorts and clamps them."""
    for experiment in dump.values():
        for run in experiment["runs"].values():
            for points in run["histories"].values():
                points[:] = sorted(
                    ([key, repr(clamp(float(value))), at, step] for key, value, at, step in points),
                    key=lambda point: (point[2], point[3], 0.0 if point[1] == "nan" else float(point[1])),
                )


def test_mlflows_client_sees_the_same_afterwards(origin: Origin, tmp_path: Path) -> None:
    server = new_server(tmp_path)
    with running(server):
        url = f"http://127.0.0.1:{server.port}"
        outcome = moved(origin.addresses[0], "--server", url)
        assert outcome["verified"]
        (ours, our_models), (theirs, their_models) = json.loads(
            client(origin.python, "moving_dump.py", url, origin.uri)
        )
        assert sorted(ours) == sorted(theirs) == ["Default", "gone", "states", "sweep 扫描", "training"]
        if origin.uri.startswith("file:"):
            _as_servers_say(theirs)
        for name, expected in theirs.items():
            assert ours[name] == expected
        assert our_models == their_models
        for address in origin.addresses:
            again = moved(address, "--server", url)
            assert again["verified"]
            assert not any(again["changes"].values()), again["changes"]


@pytest.mark.parametrize("origin", ["server-3.17.2"], indirect=True)
def test_it_works_without_a_server_and_into_a_project(origin: Origin, data_dir: Path) -> None:
    command("projects", "create", "research", "--data", data_dir)
    words = ("--data", data_dir, "--project", "research", "--experiment", "training", "--prefix", "old ")
    outcome = moved(origin.addresses[-1], *words)
    assert outcome["verified"]
    assert [each["name"] for each in outcome["experiments"]] == ["old training"]
    listed = json.loads(
        command("experiments", "list", "--project", "research", "-o", "json", "--data", data_dir).stdout
    )
    assert [(each["name"], each["project"]) for each in listed] == [("old training", "research")]


@pytest.mark.parametrize("origin", ["folder-2.22"], indirect=True)
def test_a_dry_run_changes_nothing(origin: Origin, data_dir: Path) -> None:
    outcome = moved(origin.addresses[-1], "--data", data_dir, "--dry-run")
    assert outcome["changes"]["runs"] >= 11
    assert outcome["changes"]["points"] > 2_000
    assert command("runs", "list", "--view", "all", "-o", "name", "--data", data_dir).stdout == ""


@pytest.mark.crash
@pytest.mark.parametrize("origin", ["server-3.17.2"], indirect=True)
def test_a_killed_import_goes_on_where_it_was(origin: Origin, data_dir: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [MLWRIGHT, "import", "mlflow", *origin.addresses[-1], "--data", data_dir]
    for killed_at_line in (2, 4, 5, 7):
        process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert process.stderr is not None
        for _ in range(killed_at_line):
            process.stderr.readline()
        process.kill()
        process.wait()
        process.stderr.close()
    outcome = moved(origin.addresses[-1], "--data", data_dir)
    assert outcome["verified"]
    whole = moved(origin.addresses[-1], "--data", tmp_path / "whole")
    assert outcome["rows"] == whole["rows"]
    assert command("audit", "verify", "--data", data_dir).stdout.startswith("ok      yes")


@pytest.mark.parametrize("origin", ["folder-2.22"], indirect=True)
def test_what_was_changed_here_is_noticed_or_kept(origin: Origin, data_dir: Path) -> None:
    moved(origin.addresses[-1], "--data", data_dir)
    run_id = command("runs", "list", "--filter", "run_name = 'parent'", "-o", "name", "--data", data_dir).stdout.strip()
    with closing(sqlite3.connect(data_dir / "mlwright.db")) as connection, connection:
        connection.execute("DELETE FROM params WHERE key = 'rate'")
        connection.execute("INSERT INTO tags SELECT id, 'ours', 'kept' FROM runs WHERE run_id = ?", (run_id,))
    again = moved(origin.addresses[-1], "--data", data_dir)
    assert again["verified"]
    assert again["changes"]["runs"] == 1
    run = json.loads(command("runs", "get", run_id, "-o", "json", "--data", data_dir).stdout)
    assert (run["params"]["rate"], run["tags"]["ours"]) == ("0.1", "kept")


@pytest.mark.parametrize("origin", ["folder-2.22"], indirect=True)
def test_hard_deletion_leaves_nothing_but_events(origin: Origin, data_dir: Path) -> None:
    """What `mlflow gc` promises: gone from search and from the storage."""
    moved(origin.addresses[-1], "--data", data_dir)
    run_id = command("runs", "list", "--filter", "run_name = 'parent'", "-o", "name", "--data", data_dir).stdout.strip()
    command("runs", "delete", run_id, "--data", data_dir)
    blobs = list((data_dir / "blobs" / "sha256").rglob("*/*"))
    for blob in blobs:
        os.utime(blob, (1, 1))
    report = json.loads(command("gc", "--older-than", "0s", "-o", "json", "--data", data_dir).stdout)
    assert report["bytes"] == 3_072_009  # big.bin once, though two names had it, and two texts
    assert report["blobs"] == 4
    assert command("runs", "get", run_id, "--data", data_dir, check=False).returncode == 1
    left = command("runs", "list", "--view", "all", "-o", "name", "--data", data_dir).stdout
    assert run_id not in left
    assert left.count("\n") >= 8
    events = command("events", "--limit", "1000", "--data", data_dir).stdout
    assert f"tracking.run.purged  run/{run_id}" in events
    assert f"tracking.run.imported  run/{run_id}" in events


@pytest.mark.parametrize("origin", ["server-3.17.2"], indirect=True)
def test_postgresql_is_read_as_well(origin: Origin, postgres_url: str, data_dir: Path) -> None:
    database = origin.addresses[-1][0].removeprefix("sqlite:///")
    copy_to_postgres(Path(database), postgres_url)
    outcome = moved((postgres_url,), "--data", data_dir, "--no-artifacts")
    assert outcome["verified"]
    again = moved(origin.addresses[-1], "--data", data_dir, "--no-artifacts")
    assert not any(again["changes"].values())


def copy_to_postgres(database: Path, url: str) -> None:
    """The tables of a SQLite database with their rows, as PostgreSQL tables."""
    import psycopg

    kinds = {"INTEGER": "bigint", "BIGINT": "bigint", "FLOAT": "double precision", "BOOLEAN": "boolean"}
    with (
        closing(sqlite3.connect(database)) as source,
        psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as target,
    ):
        names = [row[0] for row in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            columns = source.execute(f"PRAGMA table_info('{name}')").fetchall()
            wanted = [(column[1], kinds.get(column[2].split("(")[0].upper(), "text")) for column in columns]
            listed = ", ".join(f'"{column}" {kind}' for column, kind in wanted)
            target.execute(f'CREATE TABLE "{name}" ({listed})'.encode())
            marks = ", ".join(["%s"] * len(wanted))
            for row in source.execute(f'SELECT * FROM "{name}"'):
                values = [converted(value, kind) for value, (_, kind) in zip(row, wanted, strict=True)]
                target.execute(f'INSERT INTO "{name}" VALUES ({marks})'.encode(), values)


def converted(value: Any, kind: str) -> Any:
    if value is None:
        return None
    return {"text": str, "boolean": bool}.get(kind, lambda kept: kept)(value)


@pytest.mark.parametrize("origin", ["folder-2.22"], indirect=True)
def test_a_copied_folder_is_read_where_it_lies_now(origin: Origin, data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(origin.uri.removeprefix("file://"), tmp_path / "elsewhere")
    outcome = moved((str(tmp_path / "elsewhere"),), "--data", data_dir)
    assert outcome["verified"]
    assert next(row["source"] for row in outcome["rows"] if row["thing"] == "files") >= 12
