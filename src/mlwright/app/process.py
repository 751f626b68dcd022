"""One server per data directory: the lock, and how commands find and stop the server.

The lock is held by the operating system for the life of the process, so that `kill -9` frees it. The state file beside
it says where the server listens; it counts only while the lock is held.
"""

import fcntl
import os
import signal
import time
from pathlib import Path
from shlex import quote
from typing import IO

import msgspec

from mlwright.kernel.errors import Conflict, Unavailable

_POLL_S = 0.05


class ServerState(msgspec.Struct, frozen=True):
    """Where a running server is."""

    pid: int
    url: str
    started_ms: int
    version: str


def run_dir(data: Path) -> Path:
    return data / "run"


def local_secret_path(data: Path) -> Path:
    """The file with the token of the data directory's owner, readable by nobody else."""
    return run_dir(data) / "local.token"


class ServerLock:
    """Held while a server owns the data directory.

    Raises Conflict when another process holds it, Unavailable when the directory cannot be written.
    """

    def __init__(self, data: Path) -> None:
        self._state_path = run_dir(data) / "server.json"
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)  # the database holds what roles keep apart
            run_dir(data).mkdir(exist_ok=True)
            self._file: IO[str] = (run_dir(data) / "server.lock").open("a+")
        except OSError as error:
            raise Unavailable(
                f"the data directory {data} cannot be written: {error.strerror}",
                path=str(data),
                hint="check its owner and permissions, or choose another with --data",
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise _in_use(data) from error

    def announce(self, state: ServerState) -> None:
        """Tell commands where the server is."""
        temporary = self._state_path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(state))
        temporary.replace(self._state_path)

    def release(self) -> None:
        self._state_path.unlink(missing_ok=True)
        self._file.close()


def _in_use(data: Path) -> Conflict:
    state = running(data)
    where = f" at {state.url} (process {state.pid})" if state else ""
    return Conflict(
        f"another mlwright server uses {data}{where}",
        path=str(data),
        hint=f"stop it with: mlwright down --data {quote(str(data))}   or choose another directory with --data",
    )


def running(data: Path) -> ServerState | None:
    """The server that holds the data directory now, or None."""
    lock = run_dir(data) / "server.lock"
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except (BlockingIOError, PermissionError):
        pass
    try:
        return msgspec.json.decode((run_dir(data) / "server.json").read_bytes(), type=ServerState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def stop(data: Path, timeout_s: float) -> bool:
    """Ask the server to finish its work and leave. Returns False when it still runs after `timeout_s`."""
    state = running(data)
    if state is None:
        return True
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while running(data) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
