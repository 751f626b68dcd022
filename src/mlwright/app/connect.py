"""How commands reach a server: over HTTP when one runs, else in this process on the data directory or a database."""

import os
from pathlib import Path

import click
from msgspec import structs

from mlwright.app import process, settings
from mlwright.app.loading import large_import
from mlwright.kernel.client import Client, HttpTransport
from mlwright.kernel.errors import Invalid, Unavailable
from mlwright.security.cli import named_database


def address(server: str, data: Path | None) -> str:
    """The URL of the server that programs of the user's are to log to. Raises Unavailable when none runs."""
    if server:
        return server
    state = process.running((data or settings.default_data_dir()).absolute())
    if state is None:
        raise Unavailable("no server runs that could be logged to", hint="start one: mlwright up, or name it: --server")
    return state.url


def connect(server: str, data: Path | None) -> Client:
    """A client of the server at a URL; else of the one running on the data directory; else of the directory itself.

    A database named on the command line is opened here, by whoever may: the data directory is then only the lock.
    Raises Invalid when a server is named too.
    """
    database = named_database()
    if database and server:
        raise Invalid(
            "a database is worked on in this process, not by a server",
            path="--database",
            hint="leave out --server and MLWRIGHT_SERVER, or --database",
        )
    token = os.environ.get("MLWRIGHT_TOKEN") or os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if server:
        return Client(HttpTransport(server, token))
    directory = (data or settings.default_data_dir()).absolute()
    state = None if database else process.running(directory)
    if state is not None:
        secret = process.local_secret_path(directory)
        return Client(HttpTransport(state.url, token or (secret.read_text() if secret.exists() else "")))
    with large_import():
        from mlwright.app.local import LocalTransport  # imports the whole platform

    found = settings.load(directory)
    transport = LocalTransport(structs.replace(found, database=database) if database else found)
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(transport.close)
    return Client(transport, alone=True)
