"""How commands reach a server: over HTTP when one runs, else in this process on the data directory."""

import os
from pathlib import Path

import click

from mlwright.app import process, settings
from mlwright.app.loading import large_import
from mlwright.kernel.client import Client, HttpTransport


def connect(server: str, data: Path | None) -> Client:
    """A client of the server at a URL; else of the one running on the data directory; else of the directory itself."""
    token = os.environ.get("MLWRIGHT_TOKEN") or os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if server:
        return Client(HttpTransport(server, token))
    directory = (data or settings.default_data_dir()).absolute()
    state = process.running(directory)
    if state is not None:
        secret = process.local_secret_path(directory)
        return Client(HttpTransport(state.url, token or (secret.read_text() if secret.exists() else "")))
    with large_import():
        from mlwright.app.local import LocalTransport  # imports the whole platform

    transport = LocalTransport(settings.load(directory))
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(transport.close)
    return Client(transport)
