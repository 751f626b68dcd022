"""The serving host of this machine, as the control plane sees it: started, found again, told what to serve, asked."""

import contextlib
import http.client
import json
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from mlwright.kernel.errors import Unavailable
from mlwright.serving import programs
from mlwright.serving.host import sockets
from mlwright.serving.host.state import Desired, Served

_log = logging.getLogger(__name__)

_KEEPER = Path(programs.__file__ or "").parent / "host_keeper.py"
_START_S = 30.0
_ASK_S = 10.0
#: A state is answered when all of it is loaded, or cannot be.
_LOAD_S = 600.0
_STOP_S = 75.0
_LOOK_S = 0.01
_LOG_BYTES = 20 << 20
#: Linux' `struct ucred`: process, user, group.
_CREDENTIALS = struct.Struct("iII")


class HostProcess:
    """A keeper and the host that it keeps. They go on when the control plane dies, and are found by the next one.

    Args:
        folder: where the host's state and socket lie; nobody else uses it.
        log: file that it writes to.
        address, port: where clients find it.
        grpc_port: where they find it over gRPC; 0 is nowhere.
    """

    def __init__(self, folder: Path, log: Path, address: str, port: int, grpc_port: int = 0) -> None:
        self._folder = folder
        self._log = log
        self._address = address
        self._port = port
        self._grpc_port = grpc_port

    @property
    def port(self) -> int:
        """Where clients find it, also before it has been started."""
        found = self._kept()
        return found["port"] if found else self._port

    @property
    def is_running(self) -> bool:
        """Whether there is a keeper, who will see to a host."""
        return self._kept() is not None

    def start(self) -> None:
        """Start it, unless it runs. Raises Unavailable when it does not come up."""
        if self.is_running:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        _shorten(self._log)
        self._end_orphan()
        (self._folder / "control.sock").unlink(missing_ok=True)
        host = [sys.executable, "-m", "mlwright.serving.host.main", str(self._folder)]
        ports = [str(self._port), *([str(self._grpc_port)] if self._grpc_port else [])]
        command = [sys.executable, "-I", str(_KEEPER), str(self._folder), self._address, *ports, "--", *host]
        with self._log.open("ab") as log:
            keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if keeper.poll() is not None:
                raise Unavailable(
                    f"the serving host cannot be started on {self._address}:{self._port}: {_last_line(self._log)}",
                    hint="is the port in use? choose another one with: mlwright up --serving-port PORT",
                )
            with contextlib.suppress(Unavailable):
                self.counts()
                return
            time.sleep(_LOOK_S)
        raise Unavailable(f"the serving host does not answer; see {self._log}")

    def serve(self, desired: Desired) -> dict[str, Any]:
        """Have it serve this; its counts, once all of it is loaded or cannot be. Raises Unavailable."""
        return self._ask("PUT", "/state", msgspec.json.encode(desired), _LOAD_S)

    def counts(self) -> dict[str, Any]:
        """What it has counted. Raises Unavailable."""
        return self._ask("GET", "/counts", None, _ASK_S)

    def ask(self, name: str, body: bytes) -> tuple[int, str]:
        """Ask an endpoint, as somebody who may; the status and the text of the answer. Raises Unavailable."""
        connection = _Connection(self._folder / "control.sock", _ASK_S)
        try:
            connection.request("POST", f"/ask/{name}", body, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the serving host does not answer: {error}") from error
        finally:
            connection.close()

    def last(self) -> dict[str, Served]:
        """What it was last told to serve, by name."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            desired = msgspec.json.decode((self._folder / "state.json").read_bytes(), type=Desired)
            return {each.name: each for each in desired.endpoints}
        return {}

    def replace(self) -> None:
        """Start a new host beside the old one, which then ends. No request fails."""
        found = self._kept()
        if found is not None:
            os.kill(found["pid"], signal.SIGHUP)

    def stop(self) -> bool:
        """Answer what was asked, and end. Returns False where there was nothing to end."""
        found = self._kept()
        if found is None:
            return self._end_orphan()
        with contextlib.suppress(ProcessLookupError):
            os.kill(found["pid"], signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while self._kept() is not None and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):  # it may be that of an earlier control plane
                os.waitpid(found["pid"], os.WNOHANG)
            time.sleep(_LOOK_S)
        return True

    def _kept(self) -> dict[str, int] | None:
        """The keeper's process and port; None when there is none."""
        try:
            found: dict[str, int] = json.loads((self._folder / "keeper.json").read_bytes())
            words = Path(f"/proc/{found['pid']}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return found if str(_KEEPER).encode() in words and str(self._folder).encode() in words else None

    def _end_orphan(self) -> bool:
        """A host whose keeper was killed goes on, and has the port: it answers what it was asked, and ends.

        Returns False where there is none.
        """
        try:
            with sockets.connected(self._folder / "control.sock", _ASK_S) as connection:
                answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid = _CREDENTIALS.unpack(answer)[0]  # of who listens
            orphan = os.pidfd_open(pid)
        except OSError:
            return False
        _log.warning("serving: the host's keeper has died: the host (process %s) makes room for another one", pid)
        try:
            signal.pidfd_send_signal(orphan, signal.SIGTERM)
            if not select.select([orphan], [], [], _STOP_S)[0]:
                signal.pidfd_send_signal(orphan, signal.SIGKILL)
        except ProcessLookupError:  # it has ended by itself
            return True
        finally:
            os.close(orphan)
        return True

    def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> dict[str, Any]:
        connection = _Connection(self._folder / "control.sock", timeout_s)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            found: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"the serving host does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise Unavailable(f"the serving host refuses its state: {found.get('error')}")
        return found


def end_left_alone(folder: Path) -> bool:
    """End the host in a folder that goes on without a control plane. Returns False when there is none."""
    return HostProcess(folder, folder, "", 0).stop()


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("host", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = sockets.connected(self._path, self.timeout)


def _shorten(log: Path) -> None:
    """Keep what was written before, once it is long, beside."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".1.log"))


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-4_096:].decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it says nothing"
