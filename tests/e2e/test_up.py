"""`mlwright up`, `status`, `down` as a user runs them."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from tests.components import answers, free_port


def mlwright(*arguments: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mlwright", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
    )


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def test_up_twice_status_and_down(data: str) -> None:
    port = str(free_port())
    first = mlwright("up", "-d", "--data", data, "--port", port)
    try:
        assert (first.returncode, "is ready at" in first.stdout) == (0, True), first.stderr
        status = mlwright("status", "--data", data, "-o", "json")
        assert (status.returncode, '"running": true' in status.stdout) == (0, True)
        second = mlwright("up", "--data", data, "--port", str(free_port()))
        assert second.returncode == 5
        assert "another mlwright server uses" in second.stderr
        assert f"http://127.0.0.1:{port}" in second.stderr
        assert "hint: stop it with: mlwright down" in second.stderr
        elsewhere = mlwright("up", "--data", f"{data}2", "--port", port)
        assert elsewhere.returncode == 5
        assert f"cannot listen on 127.0.0.1 port {port}" in elsewhere.stderr
        assert mlwright("projects", "create", "vision", "--data", data).returncode == 0
        assert "vision" in mlwright("get", "project", "--data", data).stdout
        assert "vision" in mlwright("get", "project", "--server", f"http://127.0.0.1:{port}").stdout
        assert (Path(data) / "run" / "local.token").stat().st_mode & 0o777 == 0o600
        assert Path(data).stat().st_mode & 0o777 == 0o700
    finally:
        down = mlwright("down", "--data", data)
    assert (down.returncode, "mlwright stopped" in down.stdout) == (0, True)
    assert mlwright("down", "--data", data).stdout == "mlwright is not running\n"
    assert mlwright("status", "--data", data).returncode == 1
    assert "vision" in mlwright("get", "project", "--data", data).stdout
    assert not answers(int(port))


def test_other_machines_are_not_let_in_without_authentication(data: str) -> None:
    open_door = mlwright("up", "--host", "0.0.0.0", "--data", data, "--port", "0")
    assert open_door.returncode == 2
    assert "authentication is off" in open_door.stderr
    no_admin = mlwright("up", "--host", "0.0.0.0", "--auth", "--data", data, "--port", "0")
    assert no_admin.returncode == 2
    assert "there is no administrator" in no_admin.stderr
    assert "mlwright users create NAME --admin" in no_admin.stderr
    for failed in (open_door, no_admin):
        assert "Traceback" not in failed.stderr


def test_ctrl_c_ends_it(data: str) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlwright", "up", "--data", data, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"ready at http://127.0.0.1:{port}" in process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 130  # as a shell reports an interrupted command


def test_a_database_from_the_future_ends_with_5(data: str) -> None:
    Platform(Settings(data=Path(data))).close()
    connection = sqlite3.connect(Path(data) / "mlwright.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for command in (["projects", "list"], ["up", "--port", "0"]):
        done = mlwright(*command, "--data", data)
        assert done.returncode == 5
        assert "made by a newer mlwright" in done.stderr


def test_files_beside_a_database_of_several_servers_are_somebodys_decision(data: str) -> None:
    done = mlwright("up", "--database", "postgresql://nobody@127.0.0.1:9/x", "--data", data, "--port", "0")
    assert done.returncode == 2
    assert "would not find files" in done.stderr
    assert f"--artifacts {data}/blobs" in done.stderr
    assert not Path(data).exists()
    decided = mlwright(
        "up", "--database", "postgresql://nobody@127.0.0.1:9/x", "--data", data, "--port", "0",
        "--artifacts", f"{data}/blobs",
    )  # fmt: skip
    assert "PostgreSQL" in decided.stderr
