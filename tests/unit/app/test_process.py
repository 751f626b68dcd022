"""One server per data directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mlwright.app import process
from mlwright.app.process import ServerLock, ServerState
from mlwright.kernel.errors import Conflict, Unavailable

STATE = ServerState(1, "http://127.0.0.1:1", 2, "0.1.0")
HOLD = """
import sys, time, os
from pathlib import Path
from mlwright.app.process import ServerLock, ServerState
lock = ServerLock(Path(sys.argv[1]))
lock.announce(ServerState(os.getpid(), "http://127.0.0.1:1", 2, "0.1.0"))
print("held", flush=True)
time.sleep(60)
"""


def held(data: Path) -> "subprocess.Popen[bytes]":
    """A process that holds the directory."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, data], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


def end(child: "subprocess.Popen[bytes]", how: int = signal.SIGKILL) -> None:
    child.send_signal(how)
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def test_a_directory_nobody_holds(tmp_path: Path) -> None:
    assert process.running(tmp_path) is None
    assert process.running(tmp_path / "none") is None
    assert process.stop(tmp_path, 1)


def test_the_second_server_is_refused_with_the_place_of_the_first(tmp_path: Path) -> None:
    lock = ServerLock(tmp_path)
    lock.announce(STATE)
    with pytest.raises(
        Conflict, match=r"another mlwright server uses .* at http://127.0.0.1:1 \(process 1\)"
    ) as caught:
        ServerLock(tmp_path)
    assert f"mlwright down --data {tmp_path}" in caught.value.hint
    assert process.running(tmp_path) == STATE
    lock.release()
    assert process.running(tmp_path) is None
    ServerLock(tmp_path).release()


def test_a_server_that_has_not_announced_itself_yet_holds_too(tmp_path: Path) -> None:
    lock = ServerLock(tmp_path)
    with pytest.raises(Conflict, match="another mlwright server"):
        ServerLock(tmp_path)
    assert process.running(tmp_path) is None
    lock.release()


def test_a_killed_server_lets_go(tmp_path: Path) -> None:
    child = held(tmp_path)
    state = process.running(tmp_path)
    assert state is not None
    assert state.pid == child.pid
    end(child)
    assert process.running(tmp_path) is None
    assert (tmp_path / "run" / "server.json").exists()
    ServerLock(tmp_path).release()


def test_stop_waits_for_the_end(tmp_path: Path) -> None:
    child = held(tmp_path)
    assert process.stop(tmp_path, 10)
    assert process.running(tmp_path) is None
    assert child.wait() == -signal.SIGTERM
    end(child)


def test_stop_says_when_a_server_does_not_leave(tmp_path: Path) -> None:
    child = held(tmp_path)
    os.kill(child.pid, signal.SIGSTOP)
    while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
        os.sched_yield()  # SIGTERM must not overtake SIGSTOP
    assert not process.stop(tmp_path, 0.2)
    end(child)


def test_a_damaged_state_file_is_no_server_to_talk_to(tmp_path: Path) -> None:
    lock = ServerLock(tmp_path)
    (tmp_path / "run" / "server.json").write_text("{")
    assert process.running(tmp_path) is None
    lock.release()


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written") as caught:
        ServerLock(tmp_path / "file")
    assert "--data" in caught.value.hint


def test_the_command_to_stop_a_server_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "with spaces"
    lock = ServerLock(folder)
    try:
        with pytest.raises(Conflict) as caught:
            ServerLock(folder)
    finally:
        lock.release()
    assert f"mlwright down --data '{folder}' " in (caught.value.hint or "")


def test_a_new_data_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    data = tmp_path / "some" / "data"
    ServerLock(data).release()
    assert data.stat().st_mode & 0o777 == 0o700
    data.chmod(0o750)
    ServerLock(data).release()
    assert data.stat().st_mode & 0o777 == 0o750, "what its owner decided stays"
