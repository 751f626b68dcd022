"""Starting, waiting for and stopping a server, with small stand-in programs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from examples.flights import server
from examples.flights.errors import DemoError

HEALTHY = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"OK")
    def log_message(self, *words): pass
assert sys.argv[1:3] == ["up", "--data"] and sys.argv[4] == "--port", sys.argv
http.server.HTTPServer(("127.0.0.1", int(sys.argv[5])), Answer).serve_forever()
"""


def program(folder: Path, text: str) -> Path:
    """An executable Python script."""
    path = folder / "mlwright"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


def test_started_server_is_waited_for_and_stopped(tmp_path: Path) -> None:
    running = server.launch(program(tmp_path, HEALTHY), tmp_path / "data")
    try:
        server.wait_until_ready(running)
        assert server.healthy(running.url)
    finally:
        running.stop()
    assert running.process is not None
    assert running.process.poll() is not None
    assert not server.healthy(running.url)
    running.stop()  # a second stop is nothing


def test_a_server_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    bad = program(tmp_path, "import sys; print('the data directory is in use'); sys.exit(3)")
    running = server.launch(bad, tmp_path / "data")
    with pytest.raises(DemoError, match="ended; the end of its log:\n    the data directory is in use") as caught:
        server.wait_until_ready(running)
    assert f"{tmp_path / 'mlwright'} down --data {tmp_path / 'data'}" in caught.value.hint


def test_commands_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = program(tmp_path, "")
    running = server.Server("http://127.0.0.1:1", None, tmp_path / "the data", own)
    monkeypatch.setenv("PATH", "/nowhere")
    assert running.command("down") == f"{own} down --data '{tmp_path}/the data'"
    monkeypatch.chdir(tmp_path)
    assert running.command("down") == "./mlwright down --data 'the data'"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert running.command("down") == "mlwright down --data 'the data'"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    running = server.launch(program(tmp_path, "import time; time.sleep(60)"), tmp_path / "data")
    try:
        with pytest.raises(DemoError, match=r"not ready after 0\.2 s"):
            server.wait_until_ready(running, seconds=0.2)
    finally:
        running.stop()


def test_a_server_that_ignores_the_request_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    running = server.launch(program(tmp_path, stubborn), tmp_path / "data")
    ready = threading.Event()
    while not server.log_file(tmp_path / "data").read_text():
        ready.wait(0.01)
    monkeypatch.setattr(server, "STOP_SECONDS", 0.2)
    running.stop()
    assert running.process is not None
    assert running.process.poll() == -9


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers every GET with the parametrised text; yields its URL."""
    text: bytes = request.param

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


@pytest.mark.parametrize("answering", [b"OK"], indirect=True)
def test_connect_to_a_running_server(answering: str) -> None:
    found = server.connect(answering)
    assert found.process is None
    found.stop()  # not ours
    assert server.healthy(answering)


@pytest.mark.parametrize("answering", [b"<html>a page</html>"], indirect=True)
def test_experiment_page_is_ours_where_there_is_one(answering: str) -> None:
    assert server.experiment_page(answering, "7") == f"{answering}/experiments/7"


def test_experiment_page_is_that_of_mlflow_otherwise() -> None:
    assert server.experiment_page("http://127.0.0.1:1", "7") == "http://127.0.0.1:1/#/experiments/7"


@pytest.mark.parametrize("answering", [b"<html>something else</html>"], indirect=True)
def test_connect_refuses_what_is_no_tracking_server(answering: str) -> None:
    with pytest.raises(DemoError, match="no tracking server answers"):
        server.connect(answering)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "file:///etc"])
def test_connect_explains_an_unreachable_server(url: str) -> None:
    with pytest.raises(DemoError) as caught:
        server.connect(url)
    assert "mlwright up" in caught.value.hint


def test_program_is_found_by_name_first_then_in_the_project(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    own = program(tmp_path / ".venv" / "bin", HEALTHY)
    assert server.find_program(tmp_path, {}) == own
    named = program(tmp_path, HEALTHY)
    assert server.find_program(tmp_path, {"MLWRIGHT_BIN": str(named)}) == named


def test_a_wrong_name_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="is not a program"):
        server.find_program(tmp_path, {"MLWRIGHT_BIN": str(tmp_path / "none")})


def test_no_program_at_all_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(DemoError, match="not installed"):
        server.find_program(tmp_path, {"PATH": str(tmp_path)})
