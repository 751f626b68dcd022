"""Start a platform for the demo and stop it again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from examples.flights.errors import DemoError

START_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
LOG_LINES = 12


@dataclass(frozen=True)
class Server:
    """A running platform; `process`, `data` and `program` are None when somebody else started it."""

    url: str
    process: subprocess.Popen[bytes] | None = None
    data: Path | None = None
    program: Path | None = None

    def command(self, verb: str) -> str:
        """A command for this server's data directory, to be pasted into the shell that runs the demo."""
        if self.program is None or self.data is None:
            return f"mlwright {verb}"
        found = shutil.which(self.program.name)
        by_name = found is not None and Path(found).samefile(self.program)
        program = self.program.name if by_name else _called(self.program)
        return f"{quote(program)} {verb} --data {quote(_from_here(self.data))}"

    def stop(self) -> None:
        """Stop a server of ours (SIGTERM, and SIGKILL after STOP_SECONDS); leave others alone."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def healthy(url: str, timeout: float = 2.0) -> bool:
    """Whether GET /health answers OK."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=timeout) as answer:
            return bool(answer.status == 200 and answer.read(16).strip() == b"OK")
    except (OSError, ValueError):
        return False


def experiment_page(url: str, experiment_id: str) -> str:
    """The address of an experiment's page: ours when the server has it, else the one of MLflow's own pages."""
    page = f"{url}/experiments/{experiment_id}"
    try:
        with urllib.request.urlopen(page, timeout=5.0) as answer:
            return page if answer.status == 200 else f"{url}/#/experiments/{experiment_id}"
    except OSError:
        return f"{url}/#/experiments/{experiment_id}"


def connect(url: str) -> Server:
    """A server that already runs. Raises DemoError when it does not answer."""
    if not healthy(url, timeout=10.0):
        raise DemoError(f"no tracking server answers at {url}/health", "start one (mlwright up) or leave out --url")
    return Server(url)


def find_program(repository: Path, environment: Mapping[str, str]) -> Path:
    """The `mlwright` program: MLWRIGHT_BIN, the project's environment, this interpreter's folder, or the PATH."""
    named = environment.get("MLWRIGHT_BIN")
    if named is not None:
        program = Path(named)
        if not os.access(program, os.X_OK):
            raise DemoError(f"MLWRIGHT_BIN={named} is not a program", "point it to .venv/bin/mlwright, or unset it")
        return program
    places = [repository / ".venv" / "bin" / "mlwright", Path(sys.executable).parent / "mlwright"]
    on_path = shutil.which("mlwright", path=environment.get("PATH"))
    places += [Path(on_path)] if on_path else []
    for place in places:
        if os.access(place, os.X_OK):
            return place
    raise DemoError("the mlwright program is not installed", "run `make demo`, or set MLWRIGHT_BIN or --url")


def launch(program: Path, data: Path, port: int | None = None) -> Server:
    """Start `mlwright up` on a free loopback port, without waiting for it (see `wait_until_ready`).

    It gets its own session, so that Ctrl-C reaches the demo first and the run in progress can still be closed.
    """
    data.mkdir(parents=True, exist_ok=True)
    chosen = port or free_port()
    with log_file(data).open("wb") as log:
        process = subprocess.Popen(
            [str(program), "up", "--data", str(data), "--port", str(chosen)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return Server(f"http://127.0.0.1:{chosen}", process, data, program)


def wait_until_ready(server: Server, seconds: float = START_SECONDS) -> None:
    """Wait for the health check. Raises DemoError, with the end of the server's log, when it does not come up."""
    until = time.monotonic() + seconds
    while not healthy(server.url):
        ended = server.process is not None and server.process.poll() is not None
        if ended or time.monotonic() > until:
            state = "ended" if ended else f"is not ready after {seconds:g} s"
            hint = f"{server.command('doctor')}, or `{server.command('down')}` if one still runs there"
            raise DemoError(f"the server {state}{_tail(server)}", hint)
        time.sleep(POLL_SECONDS)


def _called(program: Path) -> str:
    """How the shell calls a program that is not on its PATH: with a slash in its name."""
    text = _from_here(program)
    return text if "/" in text else f"./{text}"


def _from_here(path: Path) -> str:
    """A path as short as it can be from the folder that the shell is in."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def log_file(data: Path) -> Path:
    """Where the output of a server that the demo started goes: beside its data directory."""
    return data.parent / f"{data.name}.server.log"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _tail(server: Server) -> str:
    if server.data is None:
        return ""
    lines = log_file(server.data).read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return "; the end of its log:\n" + "\n".join(f"    {line}" for line in lines) if lines else ""
