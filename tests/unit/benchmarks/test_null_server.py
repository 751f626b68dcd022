"""The server that does nothing: it answers each request once, whatever pieces the request comes in."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.load import call_json, drive, get, post
from benchmarks.servers import HOST, Server, null_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = null_server(tmp_path)
    server.start()
    yield server
    server.stop()


def test_it_knows_one_run_and_acknowledges_everything(server: Server) -> None:
    assert "run" in call_json(server.port, "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "0"})
    assert call_json(server.port, "POST", "/api/2.0/mlflow/runs/log-metric", {"key": "m"}) == {}
    assert drive(server.port, [iter([get("/a"), post("/b", b"x" * 100_000), get("/c")])], 5).requests == 3


def test_a_body_in_pieces_is_answered_once(server: Server) -> None:
    request = post("/upload", b"0123456789")
    with socket.create_connection((HOST, server.port), timeout=5) as link:
        for piece in (request[:30], request[30:-4], request[-4:] + get("/next")):
            link.sendall(piece)
        received = b""
        while received.count(b"200 OK") < 2:
            received += link.recv(65536)
    assert received.count(b"HTTP/1.1") == 2
