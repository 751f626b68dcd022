"""Packs the prediction log: `python -m mlwright.serving.packing FOLDER`. Run by a serving host now and then.

What hosts wrote down is sorted by endpoint and day into complete files; lines of JSON become Parquet once pyarrow is
there; what is too old, or too much, is removed. Killed anywhere, the next run does the same again: files have the same
names.
"""

import contextlib
import fcntl
import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import msgspec

from mlwright.kernel.clock import SystemClock
from mlwright.serving import segments
from mlwright.serving.host import spool
from mlwright.serving.host.spool import Entry
from mlwright.serving.host.state import Desired
from mlwright.serving.predictions import day_of, days, files, folder_of
from mlwright.serving.spec import Logging

_POLITE = 15


def pack(folder: Path, policies: Mapping[str, Logging], today: date) -> None:
    """Do all that there is to do. Raises OSError.

    Args:
        policies: how long is kept what, by endpoint.
    """
    spools = folder / spool.FOLDER
    spools.mkdir(parents=True, exist_ok=True)
    with (spools / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody else is at it
            return
        for path in sorted(spools.glob(f"*{spool.SUFFIX}")):
            _pack_spool(folder, path)
        for path in spools.glob(f"*{spool.NEW}"):
            if _nobody_has(path):
                path.unlink(missing_ok=True)
        for endpoint in (path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")):
            _convert(endpoint)
            _forget(endpoint, policies.get(endpoint.name, Logging()), today)


def _pack_spool(folder: Path, path: Path) -> None:
    if not _nobody_has(path):
        return
    found: dict[tuple[str, date], list[Entry]] = defaultdict(list)
    for entry in spool.entries(path):
        found[entry.endpoint, day_of(entry.time_ms)].append(entry)
    for (endpoint, day), some in found.items():
        segments.write(folder_of(folder, endpoint, day), path.stem, some)
    path.unlink()


def _nobody_has(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _convert(endpoint: Path) -> None:
    """Make Parquet of what was written without it."""
    if not segments.has_parquet():
        return
    for _, folder in days(endpoint):
        for path in files(folder):
            if path.name.endswith(segments.LINES):
                segments.write(folder, segments.stem_of(path), list(segments.read(path)))


def _forget(endpoint: Path, policy: Logging, today: date) -> None:
    left = policy.keep_mib << 20
    oldest = today - timedelta(days=policy.keep_days)
    for day, folder in reversed(days(endpoint)):
        for path in folder.glob(".*"):  # of a program that was killed: no other one is at it
            path.unlink()
        for path in reversed(files(folder)):
            left -= path.stat().st_size
            if left < 0 or day < oldest:
                path.unlink()
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def _be_polite() -> None:
    """Take only what nobody else wants of the processors: packing takes longer than many a prediction."""
    os.nice(_POLITE)
    with contextlib.suppress(AttributeError, OSError):  # Linux only, and not everywhere there
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> None:
    """See the module."""
    _be_polite()
    os.umask(0o077)  # what people asked is nobody else's business
    folder = Path(sys.argv[1])
    policies: dict[str, Logging] = {}
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        desired = msgspec.json.decode((folder.parent / "state.json").read_bytes(), type=Desired)
        policies = {each.name: each.logging for each in desired.endpoints}
    pack(folder, policies, day_of(SystemClock().now_ms()))


if __name__ == "__main__":
    main()
