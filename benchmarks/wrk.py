"""Load by wrk (https://github.com/wg/wrk), on a core of its own: `apt-get install wrk` on Debian and Ubuntu.

Python as a client needs as much of a core as the servers that are measured here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.load import Load, UnexpectedAnswerError
from benchmarks.servers import Server

SCRIPT = Path(__file__).with_name("wrk.lua")
#: Core of the load; servers that it measures are pinned to `SERVER_CORE`.
LOAD_CORE, SERVER_CORE = 1, 0


def check() -> None:
    """Raises RuntimeError where wrk is missing, or there is only one core."""
    missing = [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    if missing:
        raise RuntimeError(f"{' and '.join(missing)} not found: apt-get install wrk util-linux")
    if not {LOAD_CORE, SERVER_CORE} <= os.sched_getaffinity(0):
        raise RuntimeError("two cores are needed: one for the server, one for the load")


def pinned(*command: str | Path, core: int = SERVER_CORE) -> list[str]:
    """A command that runs, with all of its children, on one core."""
    return ["taskset", "-c", str(core), *map(str, command)]


def drive(
    server: Server,
    path: str,
    body: Path,
    headers: Mapping[str, str],
    *,
    connections: int,
    seconds: float,
    pause_ms: int = 0,
) -> Load:
    """Post a file again and again, each connection its next request when it has the answer to the one before.

    Args:
        pause_ms: that each connection makes before a request.

    Raises UnexpectedAnswerError when an answer is no 2xx, or fails.
    """
    command: list[str | Path] = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(round(seconds), 1)}s",
        "--latency",
        "-s",
        SCRIPT,
        server.url + path,
    ]
    told = subprocess.run(
        pinned(*command, core=LOAD_CORE),
        env={
            **os.environ,
            "WRK_BODY": str(body),
            "WRK_HEADERS": "".join(f"{name}: {value}\n" for name, value in headers.items()),
            "WRK_PAUSE_MS": str(pause_ms),
        },
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = json.loads(told.splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise UnexpectedAnswerError(f"{found['failed']} of {found['requests']} requests to {server.name} failed")
    return Load(found["requests"], found["seconds"], found["p50_ms"], found["p99_ms"])
