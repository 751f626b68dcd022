"""Process trees: found whole, weighed, and ended without leaving anything."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.servers import Server, alive, cpu_s, free_port, process_tree, pss_bytes

# Serves /health from a child in another session, so that only ancestry links it to its parent.
TREE = """
import subprocess, sys
code = '''
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"OK")
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
'''
subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], start_new_session=True).wait()
"""


def state(pid: int) -> str:
    """The kernel's letter for what the process does; T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    port = free_port()
    return Server("tree", [sys.executable, "-c", TREE, str(port)], tmp_path / "data", port)


def test_a_server_is_started_weighed_and_ended_with_its_children(server: Server) -> None:
    took = server.start()
    members = server.pids()
    try:
        assert took > 0
        assert len(members) == 2
        assert server.pss_bytes() > 2**20
        assert server.cpu_s() > 0
    finally:
        server.stop()
    assert not any(alive(pid) for pid in members)
    assert server.pids() == []


def wait_until(holds: Callable[[], bool]) -> None:
    """Signals arrive a moment after they were sent."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_paused_server_does_nothing_until_it_goes_on(server: Server) -> None:
    server.start()
    try:
        members = server.pids()
        server.pause()
        wait_until(lambda: {state(pid) for pid in members} == {"T"})
        server.resume()
        assert "T" not in {state(pid) for pid in members}
        assert server.answers()
    finally:
        server.stop()


def test_a_paused_server_can_be_stopped(server: Server) -> None:
    server.start()
    members = server.pids()
    server.pause()
    server.stop()
    assert not any(alive(pid) for pid in members)


def test_pausing_what_does_not_run_does_nothing(server: Server) -> None:
    server.pause()
    server.resume()
    assert not server.paused


def test_a_killed_server_leaves_nothing_and_starts_again(server: Server) -> None:
    server.start()
    members = server.pids()
    server.kill()
    assert not any(alive(pid) for pid in members)
    try:
        assert server.start() > 0
    finally:
        server.stop()


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    server = Server("broken", command, tmp_path / "data", free_port())
    with pytest.raises(RuntimeError, match="no such option"):
        server.start()
    server.stop()


def test_free_ports_can_be_bound() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_a_process_that_is_gone_weighs_nothing() -> None:
    gone = 2**22 - 1
    assert not alive(gone)
    assert pss_bytes(gone) == 0
    assert cpu_s(gone) == 0
    assert process_tree(gone) == []


def test_settle_returns_soon_for_an_idle_server(server: Server) -> None:
    server.start()
    try:
        begin = time.monotonic()
        server.settle()
        assert time.monotonic() - begin < 10
    finally:
        server.stop()
