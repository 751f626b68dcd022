"""Runs one program within limits: `python -I shim.py`, its request on standard input, its report on standard output.

Only the standard library: it starts in a few milliseconds, and is run by its path, without mlwright.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

_LOOK_S = 0.05
_KEPT_BYTES = 128 << 10  # of the beginning, and of the end, of the output
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 1 << 14, 1 << 18
_libc = ctypes.CDLL(None)
_READS = 64
#: After a look at the disk, it is not looked at for so many times as long as that took.
_REST = 10
#: Of anything on disk: empty files use it up, too.
_LEAST_BYTES = 4096
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Output:
    """The beginning and the end of what is printed.

    Args:
        descriptor: of the pipe that it comes from.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._first = b""
        self._last = b""
        self.size = 0
        self.open = True

    def read(self) -> None:
        """Take what is there, and at most a few megabytes, so that the limits are looked at."""
        for _ in range(_READS):
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                self.open = False
                return
            self.size += len(data)
            room = _KEPT_BYTES - len(self._first)
            self._first += data[:room]
            self._last = (self._last + data[max(room, 0) :])[-_KEPT_BYTES:]

    def text(self) -> str:
        """What is kept, with a line about what is not."""
        left_out = self.size - len(self._first) - len(self._last)
        between = f"\n[... {left_out:,} bytes left out ...]\n".encode() if left_out else b""
        return (self._first + between + self._last).decode(errors="replace")


class Folder:
    """What is written below a folder; looked at seldom where that takes long.

    Args:
        path: of the folder.
        most: bytes that may be added to what is there now; 0 is without limit.
    """

    def __init__(self, path: str, most: int) -> None:
        self._path = path
        self._most = most
        self._before = self._used(1 << 62) if most else 0
        self._next = 0.0

    def is_full(self) -> bool:
        """Whether more has been written than may be, as far as is known."""
        started = time.monotonic()
        if not self._most or started < self._next:
            return False
        used = self._used(self._before + self._most)
        ended = time.monotonic()
        self._next = ended + max(_LOOK_S, _REST * (ended - started))
        return used - self._before > self._most

    def _used(self, enough: int) -> int:
        """Bytes on disk of all that lies below the folder, or more than enough of them."""
        used, left = 0, [self._path]
        while left and used <= enough:
            for entry in entries(left.pop()):
                with contextlib.suppress(OSError):  # it has just been removed
                    used += max(entry.stat(follow_symlinks=False).st_blocks * 512, _LEAST_BYTES)
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
        return used


def entries(folder: str) -> "list[os.DirEntry[str]]":
    """What lies in a folder, also in one that was closed to hide it; nothing when it has just been removed."""
    for _ in range(2):
        try:
            with os.scandir(folder) as found:
                return list(found)
        except PermissionError:
            with contextlib.suppress(OSError):
                os.chmod(folder, 0o700)  # noqa: PTH101 - as above
        except OSError:
            break
    return []


class Tree(NamedTuple):
    """What runs below this process.

    Attributes:
        memory: resident bytes of each process, by its id.
        groups: process groups that they belong to.
        orphans: processes that have ended and that nobody else will collect.
    """

    memory: dict[int, int]
    groups: set[int]
    orphans: list[int]


def look() -> Tree:
    """The processes below this one, now."""
    parents: dict[int, int] = {}
    memory: dict[int, int] = {}
    groups: dict[int, int] = {}
    ended: list[int] = []
    me = os.getpid()
    for name in filter(str.isdigit, (entry.name for entry in os.scandir("/proc"))):
        try:
            # Not by pathlib, whose import takes as long as all others together.
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                state, parent, group, *fields = file.read().rpartition(")")[2].split()
        except OSError:  # it has just been collected
            continue
        if state not in "ZX":
            parents[int(name)], groups[int(name)] = int(parent), int(group)
            memory[int(name)] = int(fields[18]) * _PAGE
        elif int(parent) == me:
            ended.append(int(name))
    known, new = {me}, {me}
    while new:
        new = {pid for pid, parent in parents.items() if parent in known and pid not in known}
        known |= new
    below = known - {me}
    return Tree({pid: memory[pid] for pid in below}, {groups[pid] for pid in below} - {os.getpgrp()}, ended)


def collect(orphans: list[int], program: int) -> None:
    """Collect those that ended, but not the program itself: its status is asked for elsewhere."""
    for pid in orphans:
        if pid != program:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end_all(first: int) -> None:
    """Kill everything below this process. Whole groups at once: no new member escapes that, as it would otherwise."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)  # in a namespace, all others end with it
    while True:
        tree = look()
        collect(tree.orphans, first)
        if not tree.memory:
            return
        for group in tree.groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for pid in tree.memory:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# --- between us and the program: the first process of its namespace -----------------------------------------------


def prepare(file_bytes: int = 0) -> None:
    """In a process before it begins: it does not outlive its parent, and leaves no image of its memory behind.

    Args:
        file_bytes: no file that it writes may be larger; 0 is without limit.
    """
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def enter_namespace() -> bool:
    """Whether processes started from now on have process ids of their own, and a /proc that shows these.

    When the first of them ends, the kernel ends all others at once, however fast they multiply. That needs the right
    to it, which containers and ordinary users may not have.
    """
    probe = os.fork()
    if not probe:  # in a child, because there is no way back from it
        os._exit(1 if _libc.unshare(_CLONE_NEWPID) or _status_of(own_proc) else 0)
    if os.waitpid(probe, 0)[1]:
        return False
    return bool(_libc.unshare(_CLONE_NEWPID) == 0)


def own_proc() -> int:
    """Show this process and those below it the /proc of their namespace. Returns 0, or something else on failure."""
    failed = _libc.unshare(_CLONE_NEWNS) or _libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    return int(failed or _libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None))


def _status_of(work: Callable[[], int]) -> int:
    """The outcome of `work` in a child."""
    child = os.fork()
    if not child:
        os._exit(1 if work() else 0)
    return os.waitpid(child, 0)[1]


def first_process(request: Mapping[str, Any], output: int, told: int, *, alone: bool) -> NoReturn:
    """Start the program, tell its status through the pipe `told`, and end. Collects orphans meanwhile."""
    prepare()
    if alone:
        own_proc()
    try:
        program = subprocess.Popen(
            request["command"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=request["folder"],
            env=request["environment"],
            start_new_session=True,
            preexec_fn=lambda: prepare(request["disk_bytes"]),  # noqa: PLW1509 - there are no threads here
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        os.write(told, json.dumps({"problem": str(error)}).encode())
        os._exit(0)
    os.close(output)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program.pid:
            os.write(told, json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode())
            os._exit(0)


# --- the whole ----------------------------------------------------------------------------------------------------


def begin(request: Mapping[str, Any], output: int, told: int) -> int:
    """Start the first process. Returns its id."""
    alone = enter_namespace()
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    first = os.fork()
    if not first:
        first_process(request, output, told, alone=alone)
    os.close(output)
    os.close(told)
    return first


def broken(request: Mapping[str, Any], tree: Tree, folder: Folder, seconds: float, first: int) -> str:
    """Which limit has been passed; empty when none."""
    others = [memory for pid, memory in tree.memory.items() if pid != first]
    if seconds > request["seconds"]:
        return "timeout"
    if len(others) > request["processes"]:
        return "processes"
    if sum(others) > request["memory_bytes"]:
        return "memory"
    return "disk" if folder.is_full() else ""


def run(request: Mapping[str, Any]) -> dict[str, object]:
    """Run the program to its end, or to ours."""
    with contextlib.suppress(PermissionError):  # thousands of runaway processes must not keep us from ending them
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    (reading, writing), (told, telling) = os.pipe(), os.pipe()
    folder = Folder(request["folder"], request["disk_bytes"])
    started = time.monotonic()
    first = begin(request, writing, telling)
    output, peak, ending, looked_at, said = Output(reading), 0, "", 0.0, b""
    while not ending and not said:
        listened = [0, told, reading] if output.open else [0, told]
        readable, _, _ = select.select(listened, [], [], _LOOK_S)
        output.read()
        if told in readable:
            said = os.read(told, 1 << 16) or b"{}"
        elif 0 in readable:  # standard input ends: nobody waits for the outcome any more
            ending = "cancelled"
        elif time.monotonic() - looked_at >= _LOOK_S:
            looked_at = time.monotonic()
            tree = look()
            collect(tree.orphans, first)
            peak = max(peak, sum(memory for pid, memory in tree.memory.items() if pid != first))
            ending = broken(request, tree, folder, looked_at - started, first)
        if output.size > request["printed_bytes"]:
            ending = ending or "printed"
    end_all(first)
    output.read()
    used = {"output_bytes": output.size, "seconds": time.monotonic() - started, "peak_memory_bytes": peak}
    return {**_ending(ending, json.loads(said or b"{}")), **used, "output": output.text()}


def _ending(ending: str, said: Mapping[str, Any]) -> dict[str, object]:
    """Why it ended: for a reason of ours, or as the first process said, which says nothing when it was killed."""
    if ending:
        return {"ending": ending}
    if "problem" in said:
        return {"ending": "not started", "problem": said["problem"]}
    status = said.get("status", -signal.SIGKILL)
    return {"ending": "killed", "status": 128 - status} if status < 0 else {"ending": "exited", "status": status}


if __name__ == "__main__":
    with open(0, "rb", buffering=0, closefd=False) as line:
        asked = json.loads(line.readline())
    print(json.dumps(run(asked)))
