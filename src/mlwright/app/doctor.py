"""The checks behind `mlwright doctor`: each says what it looked at, how it is, and what to do."""

import os
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import Enum
from pathlib import Path

import msgspec

from mlwright.app import process
from mlwright.app.settings import Settings

_LOW_BYTES = 1 << 30
_EARLIEST_YEAR = 2025
_OLDEST_SQLITE = (3, 35, 0)


class Health(Enum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Check(msgspec.Struct, frozen=True):
    """One finding. `fix` is empty when all is well."""

    name: str
    health: Health
    detail: str
    fix: str = ""


def run(settings: Settings) -> list[Check]:
    """All checks on one data directory. None of them changes anything."""
    checks: list[Callable[[Settings], Iterator[Check]]] = [
        _versions,
        _clock,
        _directory,
        _disk,
        _port,
        _files,
        _database,
    ]
    return [found for check in checks for found in check(settings)]


def _versions(settings: Settings) -> Iterator[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", Health.OK, python)
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        fix = "use a Python with SQLite 3.35 or newer"
        yield Check("sqlite", Health.ERROR, sqlite3.sqlite_version, fix)
    else:
        yield Check("sqlite", Health.OK, sqlite3.sqlite_version)


def _clock(settings: Settings) -> Iterator[Check]:
    now = time.gmtime()
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year < _EARLIEST_YEAR:
        yield Check("clock", Health.ERROR, f"it says {text}", "set the clock, for example: timedatectl set-ntp true")
    else:
        yield Check("clock", Health.OK, text)


def _directory(settings: Settings) -> Iterator[Check]:
    data = settings.data
    if not data.exists():
        yield Check("data", Health.WARNING, f"{data} does not exist yet", "it is made by: mlwright up")
    elif not os.access(data, os.W_OK) or _read_only(data):
        yield Check("data", Health.ERROR, f"{data} cannot be written", f"check its owner and mount: ls -ld {data}")
    else:
        yield Check("data", Health.OK, str(data))


def _read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _disk(settings: Settings) -> Iterator[Check]:
    folder = next(each for each in (settings.data, *settings.data.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / (1 << 30):.1f} GiB free"
    if free < _LOW_BYTES:
        yield Check("disk", Health.WARNING, text, "free some space, or remove what is deleted with: mlwright gc")
    else:
        yield Check("disk", Health.OK, text)


def _port(settings: Settings) -> Iterator[Check]:
    state = process.running(settings.data)
    if state is not None:
        yield Check("server", Health.OK, f"runs at {state.url} (process {state.pid})")
        return
    with socket.socket() as probe:
        probe.settimeout(0.5)
        taken = probe.connect_ex((settings.host, settings.port)) == 0
    if taken:
        fix = f"choose another with: mlwright up --port {settings.port + 1}"
        yield Check("port", Health.WARNING, f"{settings.port} is used by another program", fix)
    else:
        yield Check("port", Health.OK, f"{settings.port} is free")


def _files(settings: Settings) -> Iterator[Check]:
    store = settings.artifacts_url
    elsewhere = "://" in store and not store.startswith("file://")
    if not settings.shared or elsewhere:
        yield Check("files", Health.OK, store)
    elif settings.artifacts:
        yield Check("files", Health.OK, f"{store}, for this server alone")
    else:
        fix = "say where they go: mlwright up --artifacts s3://BUCKET/PREFIX"
        yield Check("files", Health.WARNING, f"{store}: other servers on the database would not find them", fix)


def _database(settings: Settings) -> Iterator[Check]:
    if settings.database and not settings.database.startswith("sqlite"):
        yield from _other_database(settings)
        return
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    if not path.exists():
        yield Check("database", Health.OK, "none yet")
        return
    fix = "stop the server, keep a copy, and restore a backup"
    problems = _problems(path)
    if problems == ["ok"]:
        yield Check("database", Health.OK, f"{path}: sound, {path.stat().st_size / (1 << 20):.1f} MiB")
    else:
        detail = "; ".join(problems).replace("\n", " ")
        yield Check("database", Health.ERROR, f"{path} is damaged: {detail[:500]}", fix)


def _problems(path: Path) -> list[str]:
    """What SQLite finds wrong with a file; "ok" when nothing."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{_way_in(path)}", uri=True)) as connection:
            try:
                return [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
            except sqlite3.DatabaseError as error:  # it gave up, without saying where
                return [str(error), *_damaged_tables(connection)]
    except sqlite3.Error as error:
        return [str(error)]


def _damaged_tables(connection: sqlite3.Connection) -> list[str]:
    """The tables that cannot be checked, each with its first page."""
    found = []
    tables = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
    for name, page in tables.fetchall():
        try:
            connection.execute(f'PRAGMA integrity_check("{name}")').fetchall()
        except sqlite3.DatabaseError:
            found.append(f"table {name} or an index of it cannot be read (begins at page {page})")
    return found


def _way_in(path: Path) -> str:
    """How to open the file without making others beside it, which a read-only folder would not let us anyway."""
    log = path.with_name(f"{path.name}-wal")
    return "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"


def _other_database(settings: Settings) -> Iterator[Check]:
    from mlwright.kernel.engine import open_engine  # imports a driver
    from mlwright.kernel.errors import MlwrightError

    try:
        found = open_engine(settings.database_url).statistics()
    except MlwrightError as error:
        yield Check("database", Health.ERROR, error.message, error.hint)
        return
    yield Check("database", Health.OK, f"{found['version']}, {found['location']}, {found['bytes'] / (1 << 20):.1f} MiB")
