"""The fixtures of real components start them, hand out clean ones, and leave nothing running."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import psutil
import psycopg
import pytest

from tests import components


def test_outside_addresses_are_refused() -> None:
    with pytest.raises(RuntimeError, match="loopback"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(RuntimeError, match="loopback"):
        socket.getaddrinfo("example.invalid", 80)


def test_a_missing_component_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLWRIGHT_REQUIRE_COMPONENTS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        components.missing("no such thing")
    monkeypatch.setenv("MLWRIGHT_REQUIRE_COMPONENTS", "1")
    with pytest.raises(pytest.fail.Exception, match="required component missing: no such thing"):
        components.missing("no such thing")


@pytest.mark.parametrize(
    ("required", "reason", "outcome"),
    [("1", "no Ray here", "failed"), ("1", "optional: no Ray here", "skipped"), ("0", "no Ray here", "skipped")],
)
def test_where_components_are_required_a_skip_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, required: str, reason: str, outcome: str
) -> None:
    monkeypatch.setenv("MLWRIGHT_REQUIRE_COMPONENTS", required)
    where = ("test_x.py", 1, f"Skipped: {reason}")
    report = pytest.TestReport("x", ("test_x.py", 1, "x"), {}, "skipped", where, "call")
    components.fail_if_skipped(report)
    assert report.outcome == outcome


def test_an_unknown_peer_is_an_error() -> None:
    with pytest.raises(LookupError, match="mlflow-9"):
        components.mlflow_python("9")


def test_stop_ends_children_that_ignore_the_request(tmp_path: Path) -> None:
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    child = f"{ignore}; print('up', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    family = psutil.Process(process.pid).children(recursive=True)
    components.stop(process, grace_seconds=0.3)
    process.stdout.close()
    assert len(family) == 1
    # A zombie has ended too: the process that should collect it is not ours.
    assert not family[0].is_running() or family[0].status() == psutil.STATUS_ZOMBIE


def test_a_server_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]
    served = components.served(command, tmp_path / "log", components.free_port(), "/", {})
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3.*no room"), served:
        pass


@pytest.mark.component
def test_postgres_databases_are_empty_and_private(postgres_url: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        found = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
        assert found == (0,)
        connection.execute("create table only_here (x int)")


@pytest.mark.component
def test_postgres_keeps_its_folder_when_given() -> None:
    folder = Path(tempfile.mkdtemp(prefix="mlw-pg-"))
    try:
        with components.postgres_server("fsync=on", folder=folder) as cluster:
            cluster.run("createdb", "kept")
        with (
            components.postgres_server(folder=folder) as cluster,
            psycopg.connect(cluster.url("kept").replace("+psycopg", "")) as connection,
        ):
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        shutil.rmtree(folder)


@pytest.mark.component
def test_moto_gives_a_bucket(moto_s3: components.S3Endpoint) -> None:
    connection = http.client.HTTPConnection(moto_s3.url.removeprefix("http://"), timeout=10)
    connection.request("GET", f"/{moto_s3.bucket}")
    assert b"ListBucketResult" in connection.getresponse().read()
    connection.close()


@pytest.mark.component
def test_mlflow_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    with (
        components.mlflow_server("3.17.2", tmp_path / "server") as url,
        urllib.request.urlopen(f"{url}/version") as answer,
    ):
        assert answer.read() == b"3.17.2"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/version")


@pytest.mark.component
@pytest.mark.parametrize("version", ["3.17.2", "2.22", "3.18"])
def test_mlflow_interpreters_have_their_version(version: str) -> None:
    python = components.mlflow_python(version)
    code = "from importlib.metadata import version; print(version('mlflow'))"
    found = subprocess.run([python, "-c", code], text=True, capture_output=True, check=True).stdout
    assert found.startswith(version)


@pytest.mark.component
def test_chromium_starts(chromium_path: Path) -> None:
    found = subprocess.run([chromium_path, "--version"], text=True, capture_output=True, check=True)
    assert found.stdout.startswith(("Chromium", "Google Chrome"))
