"""The serving benchmark's own logic: the same question in all dialects, load by the real wrk, who may be measured."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from benchmarks import wrk
from benchmarks.load import UnexpectedAnswerError
from benchmarks.servers import HOST, Server
from benchmarks.serving_servers import Models, endpoint, host, revision
from benchmarks.serving_sites import Site, infer, infer_binary, invocation
from mlwright.serving.host import oip, plain
from mlwright.serving.host.state import Desired
from mlwright.serving.host.takes import takes_of
from tests import components

MODELS = Models(Path("/models"), Path("/python"), ["a", "b"], [[1.0, 2.5], [3.0, 4.0]], [0, 1])


def test_all_dialects_ask_the_same() -> None:
    takes = takes_of(MODELS.signature())
    questions = infer("m", MODELS, 2), infer_binary("m", MODELS, 2)
    asked = [oip.read(each.body, lowered(each.headers), takes).asked for each in questions]
    called = invocation(MODELS, 2)
    asked.append(plain.read_invocation(called.body, lowered(called.headers), takes).asked)
    assert asked[0].rows == 2
    assert asked == [asked[0]] * 3


def lowered(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


def test_a_host_can_read_what_it_is_to_serve(tmp_path: Path) -> None:
    server = host(tmp_path, "host", [endpoint("m", [revision(MODELS, "sklearn")], share=0.1)])
    (state,) = tmp_path.glob("host/state.json")
    served = msgspec.json.decode(state.read_bytes(), type=Desired).endpoints[0]
    assert (served.name, served.share, served.revisions[0].loader) == ("m", 0.1, "sklearn")
    assert server.command[:3] == ["taskset", "-c", "0"]


class Answers(BaseHTTPRequestHandler):
    """An inference server that always says 0 and 1; `/broken` fails."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        self.rfile.read(length)
        body = json.dumps({"outputs": [{"data": [0, 1]}]}).encode()
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    answering = ThreadingHTTPServer((HOST, 0), Answers)
    thread = threading.Thread(target=answering.serve_forever)
    thread.start()
    yield Server("answers", [], Path(), answering.server_address[1])
    answering.shutdown()
    answering.server_close()
    thread.join(5)


def test_only_right_answers_are_measured(server: Server) -> None:
    Site(server, MODELS, lambda rows: infer("m", MODELS, rows)).check(2)
    others = Models(MODELS.folder, MODELS.python, MODELS.columns, MODELS.rows, [1, 1])
    with pytest.raises(UnexpectedAnswerError):
        Site(server, others, lambda rows: infer("m", others, rows)).check(2)


def test_the_load_is_wrks(server: Server, tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        components.missing("wrk is not installed (Debian: `apt-get install wrk`)")
    wrk.check()
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)))
    found = wrk.drive(server, "/x", body, {"x-a": "b: c"}, connections=2, seconds=1, pause_ms=1)
    assert found.requests > 10
    assert 0 < found.p50_ms <= found.p99_ms
    with pytest.raises(UnexpectedAnswerError, match="failed"):
        wrk.drive(server, "/broken", body, {}, connections=1, seconds=1)
