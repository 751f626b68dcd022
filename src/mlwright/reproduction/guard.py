"""Cleans up after a reproduction that was killed: a process of its own, which listens for the end of the other.

Its standard input brings the scratch folder, then the task in JSON when there is one, then "done" when all is well.
If it ends before, the scratch folder is removed, and the runs that were left are marked as killed. The program itself
is ended by its shim (see compute).
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import msgspec

from mlwright.kernel.client import Client, HttpTransport
from mlwright.reproduction import rerun
from mlwright.reproduction.execution import Execution
from mlwright.reproduction.rerun import Server
from mlwright.reproduction.spec import Outcome, Record

#: The shim needs a moment to end the program, which may be starting a run just now.
_WAIT_S = 1.0
_DONE = b"done\n"
INTERRUPTED = "it was interrupted"


class Task(msgspec.Struct, frozen=True):
    """Runs that are to be marked."""

    server: Server
    execution: str
    started_ms: int
    record: Record
    experiment_id: int


class Guard:
    """The guard of a scratch folder. Leaving its block, in whatever way, ends it without work."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def __enter__(self) -> "Guard":
        command = [sys.executable, "-P", "-m", "mlwright.reproduction.guard"]
        # A session of its own: what the user types is not for it.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd="/")
        self._tell(os.fsencode(self._scratch))
        return self

    def watch(self, task: Task) -> None:
        """Have the runs of a task marked, too."""
        self._tell(msgspec.json.encode(task))

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate(_DONE)


def settle(client: Client, execution: Execution, record: Record, experiment_id: int) -> str:
    """Mark what an interrupted execution left. Returns the run that stands for it."""
    execution.end("KILLED")
    runs = execution.runs()
    found = rerun.counterpart(record, [], runs)
    run_id = str(found["run_id"]) if found else ""
    if not run_id:
        run_id = rerun.make_run(client, record, experiment_id, execution.id, "KILLED")
    body = {"run_id": run_id, "outcome": Outcome.CANNOT.value, "reason": INTERRUPTED}
    client.post(f"/v1/runs/{record.run_id}/reproductions", body)
    return run_id


def main() -> None:
    """Wait for the end."""
    scratch, *lines = sys.stdin.buffer.readlines()
    if _DONE in lines:
        return
    time.sleep(_WAIT_S)
    try:
        for line in lines:
            task = msgspec.json.decode(line, type=Task)
            client = Client(HttpTransport(task.server.url, task.server.token))
            execution = Execution(client, task.execution, task.started_ms)
            settle(client, execution, task.record, task.experiment_id)
    finally:
        rerun.remove(Path(os.fsdecode(scratch.rstrip(b"\n"))))


if __name__ == "__main__":
    main()
