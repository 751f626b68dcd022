"""The doctor on directories healthy, missing, read-only and damaged."""

import os
import socket
import sqlite3
from pathlib import Path

import pytest

from mlwright.app import doctor, process
from mlwright.app.doctor import Check, Health
from mlwright.app.process import ServerLock, ServerState
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from tests.components import free_port


def check(name: str, data: Path, **changes: object) -> Check:
    """The one finding of a name."""
    settings = Settings(data=data, **({"port": free_port()} | changes))  # type: ignore[arg-type]
    (found,) = [each for each in doctor.run(settings) if each.name == name]
    return found


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    """The data directory of a server that ran."""
    platform = Platform(Settings(data=tmp_path))
    platform.close()
    return tmp_path


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


def test_a_healthy_directory_has_no_problems(healthy: Path) -> None:
    before = listing(healthy)
    found = doctor.run(Settings(data=healthy, port=free_port()))
    assert {each.name for each in found} == {"python", "sqlite", "clock", "data", "disk", "port", "files", "database"}
    assert [each for each in found if each.health is not Health.OK and each.name != "disk"] == []
    assert all(each.fix == "" for each in found if each.health is Health.OK)
    assert "sound" in check("database", healthy).detail
    assert listing(healthy) == before


def test_a_missing_directory_is_only_a_warning(tmp_path: Path) -> None:
    found = check("data", tmp_path / "none")
    assert (found.health, found.fix) == (Health.WARNING, "it is made by: mlwright up")
    assert check("database", tmp_path / "none").detail == "none yet"
    assert not (tmp_path / "none").exists()


def test_a_read_only_directory_is_an_error(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    found = check("data", healthy)
    assert found.health is Health.ERROR
    assert str(healthy) in found.fix
    assert check("database", healthy).health is Health.OK


@pytest.mark.parametrize("filler", [b"\xff", b"\x0d", b"\0", b"\x05", None])
def test_a_damaged_page_is_named(healthy: Path, filler: bytes | None) -> None:
    path = healthy / "mlwright.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size) if filler is None else filler * size)
    found = check("database", healthy)
    assert found.health is Health.ERROR
    assert f"page {page}" in found.detail
    assert "backup" in found.fix


@pytest.mark.parametrize("content", [b"no database", b"", os.urandom(8192)])
def test_a_file_that_is_no_database(healthy: Path, content: bytes) -> None:
    for file in healthy.glob("mlwright.db*"):
        file.unlink()
    (healthy / "mlwright.db").write_bytes(content)
    found = check("database", healthy)
    assert found.health is (Health.ERROR if content else Health.OK)


def test_a_port_in_use_is_a_warning_with_another_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        found = check("port", tmp_path, port=port)
    assert (found.health, found.fix) == (Health.WARNING, f"choose another with: mlwright up --port {port + 1}")


def test_a_running_server_is_named(healthy: Path) -> None:
    lock = ServerLock(healthy)
    lock.announce(ServerState(os.getpid(), "http://127.0.0.1:1", 1, "0"))
    assert process.running(healthy) is not None
    assert "http://127.0.0.1:1" in check("server", healthy).detail
    lock.release()


def test_a_clock_of_the_past_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    past = time.gmtime(0)
    monkeypatch.setattr(time, "gmtime", lambda: past)
    found = check("clock", tmp_path)
    assert (found.health, "1970" in found.detail) == (Health.ERROR, True)


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert check("disk", tmp_path).health is Health.WARNING


@pytest.mark.component
def test_postgresql_is_asked(postgres_url: str, tmp_path: Path) -> None:
    found = check("database", tmp_path, database=postgres_url)
    assert found.health is Health.OK
    assert "PostgreSQL 1" in found.detail


def test_a_postgresql_that_is_not_there(tmp_path: Path) -> None:
    found = check("database", tmp_path, database="postgresql://nobody@127.0.0.1:9/x")
    assert found.health is Health.ERROR
    assert found.fix


def test_an_unknown_database_url(tmp_path: Path) -> None:
    found = check("database", tmp_path, database="mysql://x/y")
    assert (found.health, bool(found.fix)) == (Health.ERROR, True)


@pytest.mark.parametrize(
    ("database", "artifacts", "health", "detail"),
    [
        ("", "", Health.OK, "/blobs"),
        ("sqlite:////x.db", "/big/files", Health.OK, "/big/files"),
        ("postgresql://db/x", "s3://bucket/x", Health.OK, "s3://bucket/x"),
        ("postgres://db/x", "/big/files", Health.OK, "/big/files, for this server alone"),
        ("postgresql://db/x", "file:///big/files", Health.OK, "file:///big/files, for this server alone"),
        ("postgresql://db/x", "", Health.WARNING, "/blobs: other servers on the database would not find them"),
    ],
)
def test_where_files_go(tmp_path: Path, database: str, artifacts: str, health: Health, detail: str) -> None:
    (found,) = doctor._files(Settings(data=tmp_path, database=database, artifacts=artifacts))
    assert (found.health, found.detail.removeprefix(str(tmp_path))) == (health, detail)
    assert bool(found.fix) is (health is Health.WARNING)
