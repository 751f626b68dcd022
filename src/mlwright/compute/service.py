"""Running a program and everything it starts within limits, see README.md."""

import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mlwright.compute.spec import Ending, Limits, Outcome

_SHIM = Path(__file__).with_name("shim.py")
_LISTEN_S = 0.1


class Flag(Protocol):
    """Something that is set once, such as a threading.Event."""

    def is_set(self) -> bool: ...


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    limits: Limits | None = None,
    cancelled: Flag | None = None,
) -> Outcome:
    """Run a program to its end. Blocks.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        environment: all of its variables; nothing of ours gets there by itself.
        limits: what it may use.
        cancelled: when set, the program is killed.
    """
    request = {
        **msgspec.to_builtins(limits or Limits()),
        "command": list(command),
        "folder": str(folder),
        "environment": dict(environment),
    }
    asked = msgspec.json.encode(request) + b"\n"
    command = [sys.executable, "-I", "-S", str(_SHIM)]
    # Leaving the block closes the pipes, and so ends the program, whatever happened here.
    # A process group of its own: Ctrl-C is for the caller, which decides what becomes of the program.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0) as shim:
        report = _report(shim, asked, cancelled)
    try:
        return msgspec.json.decode(report, type=Outcome)
    except msgspec.DecodeError:
        status = shim.returncode
        return Outcome(Ending.KILLED, 128 - status if status < 0 else status, problem="its shim ended without a report")


def _report(shim: "subprocess.Popen[bytes]", asked: bytes, cancelled: Flag | None) -> bytes:
    asking, answering = shim.stdin, shim.stdout
    assert asking is not None
    assert answering is not None
    parts: list[bytes] = []
    try:
        asking.write(asked)
        while True:
            if cancelled is not None and cancelled.is_set():
                asking.close()
            if select.select([answering], [], [], _LISTEN_S)[0]:
                data = answering.read(1 << 16)
                if not data:
                    return b"".join(parts)
                parts.append(data)
    except BrokenPipeError:  # the shim has been killed
        return b""


class Program:
    """A program that runs beside its caller, within limits. Leaving its block ends it.

    Args:
        command, folder, environment, limits, cancelled: as of `run`.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        limits: Limits,
        cancelled: Flag | None = None,
    ) -> None:
        self._stopped = threading.Event()
        self._cancelled = cancelled
        self._outcome: Outcome | None = None
        self._error: Exception | None = None
        arguments = (command, folder, environment, limits, self)
        self._thread = threading.Thread(target=self._run, args=arguments, name="mlwright-program", daemon=True)

    def __enter__(self) -> "Program":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def is_set(self) -> bool:
        """Whether it is to end."""
        return self._stopped.is_set() or (self._cancelled is not None and self._cancelled.is_set())

    def stop(self) -> Outcome:
        """End it, if it runs, and tell how it ended: cancelled, when it was still running. Raises what `run` raises."""
        self._stopped.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._outcome is not None
        return self._outcome

    def _run(self, *arguments: Any) -> None:
        try:
            self._outcome = run(*arguments)
        except Exception as error:  # the boundary of a thread: it is raised again in that of the caller
            self._error = error
