"""PostgreSQL goes away under load and comes back: nothing acknowledged is lost and the server recovers by itself."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import end_all
from tests.components import free_port, postgres_server
from tests.e2e.harness import API, Client, check_ledgers, components_required, new_server, writing

ROUNDS = 4 if components_required() else 2
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")


@pytest.fixture
def cluster_home() -> Iterator[Path]:
    # Not below pytest's folder: the unprivileged owner of the cluster could not enter it.
    folder = Path(tempfile.mkdtemp(prefix="mlw-pg-restart-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def recovers(port: int, seconds: float) -> bool:
    """Whether a write is acknowledged within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client = Client(port, timeout_s=seconds)
        try:
            answer = client.post(f"{API}/runs/create", {"experiment_id": "0", "start_time": 1})
            if answer.status == 200:
                return True
        except (OSError, http.client.HTTPException):
            return False  # the control plane itself must not go away
        finally:
            client.close()
        time.sleep(0.05)
    return False


def crash(home: Path) -> None:
    """Immediate shutdown: every backend quits at once, and the next start has to recover from the log."""
    postmaster = int((home / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    end_all([postmaster], signal.SIGQUIT, grace_s=10)


@pytest.mark.component
@pytest.mark.crash
def test_restarts_of_postgresql_under_load_lose_nothing_acknowledged(tmp_path: Path, cluster_home: Path) -> None:
    """Eight writers go on while PostgreSQL is stopped, and every other time crashed, and started again."""
    port = free_port()
    with postgres_server(*DURABLE, port=port, folder=cluster_home) as cluster:
        cluster.run("createdb", "mlwright")
        server = new_server(tmp_path, "--database", cluster.url("mlwright"), "--artifacts", str(tmp_path / "files"))
        server.start()
    try:
        with writing(server.port, writers=8, seed=7) as writers:
            for number in range(ROUNDS):
                with postgres_server(*DURABLE, port=port, folder=cluster_home):
                    assert recovers(server.port, 15), server.tail()
                    time.sleep(0.5)
                    if number % 2:
                        crash(cluster_home)
                time.sleep(0.3)
        ledgers = [writer.ledger for writer in writers]
        assert [answer for ledger in ledgers for answer in ledger.refused] == []
        with postgres_server(*DURABLE, port=port, folder=cluster_home):
            assert recovers(server.port, 15), server.tail()
            with contextlib.closing(Client(server.port)) as client:
                assert check_ledgers(client, ledgers) > 20 * ROUNDS
    finally:
        server.stop()
