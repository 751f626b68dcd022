"""`mlwright up`."""

import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

import click

from mlwright.app import process
from mlwright.app.commands.options import data_option, this_program
from mlwright.app.loading import large_import
from mlwright.app.settings import DEFAULT_PORT, Settings
from mlwright.kernel.errors import Invalid, Unavailable

_START_S = 30.0


@click.command()
@data_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65_535), help="Port to bind.")
@click.option(
    "--serving-port",
    default=0,
    type=click.IntRange(0, 65_535),
    help="Port where endpoints answer (default: the one after --port).",
)
@click.option(
    "--serving-grpc-port",
    default=0,
    type=click.IntRange(0, 65_535),
    help="Port where endpoints answer over gRPC too (default: none).",
)
@click.option(
    "--serving-memory",
    default=0,
    type=click.IntRange(0),
    metavar="MIB",
    help="Memory of all served models together; those that are asked least make room (default: no limit).",
)
@click.option("--database", default="", help="Database URL (default: SQLite in the data directory).")
@click.option(
    "--artifacts", default="", help="Artifact store URL (default: a folder in the data directory, with SQLite only)."
)
@click.option("--auth", is_flag=True, help="Ask every caller who it is; needed beyond this machine.")
@click.option("--allowed-host", multiple=True, help="Another name of this server. May be repeated.")
@click.option(
    "--trusted-proxy",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a reverse proxy, to believe its X-Forwarded headers. May be repeated.",
)
@click.option(
    "--advisories",
    type=click.Path(path_type=Path, exists=True),
    help="Copy of an OSV database, a folder or zip of its JSON files, for gates about vulnerable distributions.",
)
@click.option(
    "--mlflow-ui",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Static files of an MLflow installation, to serve its web UI at /mlflow-ui/.",
)
@click.option("--detach", "-d", is_flag=True, help="Return when the platform is ready and leave it running.")
def up(
    data: Path,
    host: str,
    port: int,
    serving_port: int,
    serving_grpc_port: int,
    serving_memory: int,
    database: str,
    artifacts: str,
    auth: bool,
    allowed_host: tuple[str, ...],
    trusted_proxy: tuple[str, ...],
    advisories: Path | None,
    mlflow_ui: Path | None,
    detach: bool,
) -> None:
    """Start the platform on this machine. Ctrl-C stops it."""
    settings = Settings(
        data=data.absolute(),
        host=host,
        port=port,
        serving_port=serving_port,
        serving_grpc_port=serving_grpc_port,
        serving_memory_mib=serving_memory,
        database=database,
        artifacts=artifacts,
        authentication=auth,
        allowed_hosts=allowed_host,
        trusted_proxies=trusted_proxy,
        advisories=advisories.absolute() if advisories else None,
        mlflow_ui=mlflow_ui,
    )
    if detach:
        _check(settings)
        _detach(data)
        return
    with large_import():
        from mlwright.app.server import serve  # imports the whole platform

    _check(settings)
    try:
        serve(
            settings, lambda url: click.echo(f"mlwright is ready at {url}   (data: {settings.data}, stop with Ctrl-C)")
        )
    except Unavailable as error:
        if not database or error.path:
            raise
        raise Unavailable(error.message, path="--database", hint=error.hint) from error


def _check(settings: Settings) -> None:
    """Raise Invalid for options that do not go together, before anything is touched."""
    if settings.trusted_proxies:
        from mlwright.app import proxy  # imports the web framework

        proxy.networks(settings.trusted_proxies)
    if settings.trusted_proxies and not settings.authentication:
        raise Invalid(
            "through a proxy other machines reach this server, and authentication is off",
            path="--trusted-proxy",
            hint="create a user with: mlwright users create NAME --admin   and start with --auth",
        )
    if settings.serving_grpc_port and find_spec("grpc") is None:
        raise Invalid("gRPC needs more packages", path="--serving-grpc-port", hint="pip install 'mlwright[grpc]'")
    if settings.shared and not settings.artifacts:
        raise Invalid(
            "other servers may share this database, and would not find files in the data directory of this one",
            path="--artifacts",
            hint="say where files go, for several servers: --artifacts s3://BUCKET/PREFIX"
            f"   or for this one alone: --artifacts {quote(settings.artifacts_url)}",
        )


def _detach(data: Path) -> None:
    arguments = [argument for argument in sys.argv[1:] if argument not in {"-d", "--detach"}]
    log = data / "logs" / "up.log"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "mlwright", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        state = process.running(data)
        if state is not None and state.pid == child.pid:
            stop = f"{this_program()} down --data {quote(str(data))}"
            click.echo(f"mlwright is ready at {state.url}   (process {state.pid}, stop with: {stop})")
            return
        if child.poll() is not None:
            click.echo(log.read_text(), err=True, nl=False)
            sys.exit(child.returncode)
        time.sleep(0.02)
    raise Unavailable(f"the server was not ready within {_START_S:.0f} s", hint=f"see {log}")
