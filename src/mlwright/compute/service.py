"""Running a program and everything it starts within limits, see README.md."""

import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mlwright.compute.spec import Ending, Limits, Outcome

_SHIM = Path(__file__).with_name("shim.py")
_LISTEN_S = 0.1


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    limits: Limits | None = None,
    cancelled: threading.Event | None = None,
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
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as shim:
        report = _report(shim, asked, cancelled)
    try:
        return msgspec.json.decode(report, type=Outcome)
    except msgspec.DecodeError:
        status = shim.returncode
        return Outcome(Ending.KILLED, 128 - status if status < 0 else status, problem="its shim ended without a report")


def _report(shim: "subprocess.Popen[bytes]", asked: bytes, cancelled: threading.Event | None) -> bytes:
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
