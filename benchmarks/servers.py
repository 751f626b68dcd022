"""Start, stop and weigh the two servers that the tracking benchmark compares.

Every server runs in a session of its own, so that its whole process tree can be found (by session id, and by
ancestry for children that open another session), weighed (PSS) and ended without touching anything else.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
SETTLE_TIMEOUT_S = 40.0
#: What a paused server catches up on before it is measured: timers that fell due, connections that timed out.
RESUME_S = 0.2
#: Both servers may keep their byte code, as installed programs do. Where the caller forbids that, or the installer did
#: not compile, each start would compile hundreds of modules again. (Empty means unset.)
KEEP_BYTE_CODE = {"PYTHONDONTWRITEBYTECODE": ""}


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def peer_python(version: str = "3.17.2") -> Path:
    """The interpreter of the venv that holds that mlflow (`MLWRIGHT_PEERS` names the folder of venvs)."""
    root = Path(os.environ.get("MLWRIGHT_PEERS", "~/.cache/mlwright/peers")).expanduser()
    return root / f"mlflow-{version}" / "bin" / "python"


@dataclass
class Server:
    """A server process tree on a free loopback port; `start` returns when `health` has answered."""

    name: str
    command: list[str]
    data: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    health: str = "/health"
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        return self.data.parent / f"{self.name}-{self.port}.log"

    def spawn(self) -> None:
        """Start the process and return at once."""
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def start(self) -> float:
        """Start, wait for the first answer of `health`, and return the seconds that took."""
        begin = time.perf_counter()
        self.spawn()
        try:
            self._wait_for_answer(begin + START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise
        return time.perf_counter() - begin

    def _wait_for_answer(self, deadline: float) -> None:
        while not self.answers():
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{self.name} did not answer within {START_TIMEOUT_S:.0f} s: {self.tail()}")
            time.sleep(0.002)

    def answers(self) -> bool:
        """Whether `health` answers 200 now."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Ask the tree to end, then end what is left of it by process id."""
        if self.process is None:
            return
        members = process_tree(self.process.pid)
        self.process.terminate()
        self._go_on()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for number in (signal.SIGTERM, signal.SIGKILL):
            end_all(members, number)
        self.process = None

    def kill(self) -> None:
        """End the whole tree at once, without a word of warning (`kill -9`)."""
        if self.process is None:
            return
        members = self.pids()
        end_all(members, signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.paused = False

    def pause(self) -> None:
        """Let no process of the tree run until `resume`; those that listen keep their sockets."""
        stopped: set[int] = set()
        while self.process is not None and (more := [pid for pid in self.pids() if pid not in stopped]):
            send_all(more, signal.SIGSTOP)  # parents first, and again until nobody has forked meanwhile
            stopped.update(more)
        self.paused = bool(stopped)

    def resume(self) -> None:
        """Go on after `pause`, and return when the server answers again."""
        if not self.paused:
            return
        self._go_on()
        self._wait_for_answer(time.perf_counter() + START_TIMEOUT_S)
        time.sleep(RESUME_S)

    def _go_on(self) -> None:
        if self.paused:
            send_all(self.pids()[::-1], signal.SIGCONT)  # children first: a supervisor must find them answering
            self.paused = False

    def pids(self) -> list[int]:
        return process_tree(self.process.pid) if self.process is not None else []

    def pss_bytes(self) -> int:
        """Proportional set size of all processes of the tree now."""
        return sum(pss_bytes(pid) for pid in self.pids())

    def cpu_s(self) -> float:
        """CPU seconds that the processes of the tree have used so far."""
        return sum(cpu_s(pid) for pid in self.pids())

    def settle(self) -> None:
        """Wait until the tree uses under a tenth of a core: workers and job runners may go on starting."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            before = self.cpu_s()
            time.sleep(1)
            if self.cpu_s() - before < 0.1:
                return

    def tail(self, lines: int = 20) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def mlflow_server(root: Path, python: Path, workers: int = 4) -> Server:
    """`mlflow server` on SQLite with local artifacts under `root`; not started."""
    data, port = root / "mlflow", free_port()
    command = [str(python.parent / "mlflow"), "server"]
    command += ["--backend-store-uri", f"sqlite:///{data / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(data / "artifacts")]
    command += ["--host", HOST, "--port", str(port), "--workers", str(workers)]
    return Server("mlflow", command, data, port, {"MLFLOW_DISABLE_TELEMETRY": "true", **KEEP_BYTE_CODE})


def mlwright_command() -> list[str]:
    """How to run the command line of the mlwright that this interpreter has."""
    script = Path(sys.executable).parent / "mlwright"
    return [str(script)] if script.exists() else [sys.executable, "-m", "mlwright"]


def mlwright_server(root: Path, extra: Sequence[str] = ()) -> Server:
    """`mlwright up` on a fresh data directory under `root`; not started."""
    data, port = root / "mlwright", free_port()
    command = [*mlwright_command(), "up", "--data", str(data), "--host", HOST, "--port", str(port), *extra]
    return Server("mlwright", command, data, port, dict(KEEP_BYTE_CODE))


def null_server(root: Path) -> Server:
    """The server that does nothing, to measure the client's own limit; not started."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("null_server.py")), str(port)]
    return Server("null", command, root / "null", port)


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def send_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that still live."""
    for pid in filter(alive, pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end_all(pids: Sequence[int], number: signal.Signals, grace_s: float = 2.0) -> None:
    """Send a signal to those of the processes that still live, and wait a little for them to end."""
    send_all(pids, number)
    deadline = time.monotonic() + grace_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)


def process_tree(root: int) -> list[int]:
    """`root`, its descendants and all members of its session, by process id; the living only."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid, state, parent, session = int(entry.name), fields[0], int(fields[1]), int(fields[3])
        if state == "Z":
            continue
        parents[pid] = parent
        if pid == root or session == root:
            found.add(pid)
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return sorted(found)


def pss_bytes(pid: int) -> int:
    """Proportional set size of one process; 0 when it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of one process; 0 when it has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
