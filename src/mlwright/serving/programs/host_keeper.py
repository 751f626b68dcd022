"""Keeps a serving host running: `python -I host_keeper.py FOLDER ADDRESS PORT [GRPC_PORT] -- COMMAND…`.

Owns the listening sockets and hands them to the host it starts, so that clients who connect while a host dies, starts
or is replaced wait in a socket's queue instead of being refused. Standard library only: it is small and has nothing to
change, and so need not be replaced itself.

SIGHUP: start a new host, and end the old one once the new one is ready. SIGTERM: end. FOLDER/keeper.json says its
process and ports.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_READY_S = 120.0
_GIVE_UP_S = 60.0
_PAUSES_S = (0.0, 0.0, 0.5, 1.0, 2.0, 5.0)
#: A host that ran so long is not one that cannot start.
_SETTLED_S = 30.0


class Keeper:
    """Args:
    listening: handed to each host, by the names of its options.
    command: starts one; `--listen FD --ready FD` and, with a port for it, `--grpc FD` are added.
    """

    def __init__(self, listening: dict[str, socket.socket], command: list[str]) -> None:
        self._listening = listening
        self._command = command
        self._host: subprocess.Popen[bytes] | None = None
        self._asked_to_end = False
        self._asked_to_replace = False
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)

    def end(self, *_: object) -> None:
        self._asked_to_end = True

    def replace(self, *_: object) -> None:
        self._asked_to_replace = True

    def run(self) -> None:
        """Until asked to end."""
        signal.signal(signal.SIGTERM, self.end)
        signal.signal(signal.SIGINT, self.end)
        signal.signal(signal.SIGHUP, self.replace)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken)
        failures, started_s = 0, 0.0
        while not self._asked_to_end:
            self._collect()
            if self._host is None or self._host.poll() is not None:
                failures = 0 if time.monotonic() - started_s > _SETTLED_S else failures + 1
                self._sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                started_s = time.monotonic()
                self._host, _ = self._start()
            elif self._asked_to_replace:
                self._asked_to_replace = False
                self._replace()
            else:
                self._sleep(3_600.0)
        if self._host is not None:
            self._stop(self._host)

    def _start(self) -> tuple[subprocess.Popen[bytes], bool]:
        """A new host, and whether it became ready."""
        ready, theirs = os.pipe()
        handed = {"--ready": theirs, **{option: each.fileno() for option, each in self._listening.items()}}
        command = self._command + [word for option, number in handed.items() for word in (option, str(number))]
        host = subprocess.Popen(
            command, pass_fds=list(handed.values()), stdin=subprocess.DEVNULL, start_new_session=True
        )
        os.close(theirs)
        until = time.monotonic() + _READY_S
        try:
            while not self._asked_to_end and host.poll() is None and time.monotonic() < until:
                if select.select([ready, self._wake], [], [], 0.5)[0] and self._is_ready(ready):
                    return host, True
            return host, False
        finally:
            os.close(ready)

    def _is_ready(self, ready: int) -> bool:
        self._forget_signals()
        return bool(select.select([ready], [], [], 0)[0] and os.read(ready, 1))

    def _replace(self) -> None:
        """Start another host, and end the one before once it can be spared. One that does not start changes nothing."""
        before = self._host
        new, is_ready = self._start()
        if is_ready:
            self._host = new
            if before is not None:
                self._stop(before)
        else:
            self._kill(new)

    def _stop(self, host: subprocess.Popen[bytes]) -> None:
        host.terminate()
        try:
            host.wait(_GIVE_UP_S)
        except subprocess.TimeoutExpired:
            self._kill(host)

    def _kill(self, host: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            host.kill()
        host.wait()

    def _collect(self) -> None:
        """End for good what a host left behind: as the first process of a container, orphans are ours."""
        with contextlib.suppress(ChildProcessError):
            while True:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None or (self._host is not None and ended.si_pid == self._host.pid):
                    return
                os.waitpid(ended.si_pid, 0)

    def _sleep(self, seconds: float) -> None:
        """Until a signal comes, such as that of a host that has ended."""
        if seconds and not self._asked_to_end:
            select.select([self._wake], [], [], seconds)
        self._forget_signals()

    def _forget_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4_096)


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((address, port))
    found.listen(4_096)
    found.set_inheritable(True)
    return found


def main() -> None:
    """See the module."""
    end = sys.argv.index("--")
    folder, address, *ports = sys.argv[1:end]
    options = dict(zip(("--listen", "--grpc"), ports, strict=False))
    listening = {option: _listen(address, int(port)) for option, port in options.items()}
    named = {"--listen": "port", "--grpc": "grpc_port"}
    told = {"pid": os.getpid(), **{named[option]: each.getsockname()[1] for option, each in listening.items()}}
    written = Path(folder, "keeper.new")
    written.write_text(json.dumps(told), encoding="utf-8")
    written.replace(Path(folder, "keeper.json"))
    Keeper(listening, sys.argv[end + 1 :]).run()


if __name__ == "__main__":
    main()
