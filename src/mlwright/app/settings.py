"""What `mlwright up` can be told, from options, environment and defaults."""

import ipaddress
import os
from pathlib import Path

import msgspec

from mlwright.kernel.errors import Invalid

DEFAULT_PORT = 5_000


def default_data_dir() -> Path:
    """MLWRIGHT_DATA, or ~/.mlwright."""
    return Path(os.environ.get("MLWRIGHT_DATA") or Path.home() / ".mlwright")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a server runs.

    Attributes:
        data: directory of all state.
        host, port: address to bind.
        serving_port: where endpoints answer, at the same address; 0 is the port after `port`.
        serving_grpc_port: where they answer over gRPC; 0 is nowhere.
        serving_memory_mib: that all served models together may take; 0 is as much as there is.
        database: database URL; empty for SQLite in the data directory.
        artifacts: URL of the artifact store; empty for a folder in the data directory.
        authentication: whether callers must say who they are; always true beyond loopback.
        allowed_hosts: further names this server may be called by.
        trusted_proxies: addresses and networks of reverse proxies whose X-Forwarded headers are believed.
        advisories: folder or zip with a copy of an OSV database, for gates; or None.
        mlflow_ui: folder with the static files of an MLflow installation's web UI, served at /mlflow-ui/; or None.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    serving_port: int = 0
    serving_grpc_port: int = 0
    serving_memory_mib: int = 0
    database: str = ""
    artifacts: str = ""
    authentication: bool = False
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    advisories: Path | None = None
    mlflow_ui: Path | None = None

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data.absolute() / 'mlwright.db'}"

    @property
    def shared(self) -> bool:
        """Whether other servers may use the same database: it is none of this machine's files."""
        return self.database.startswith("postgres")

    @property
    def artifacts_url(self) -> str:
        return self.artifacts or str(self.data.absolute() / "blobs")

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        return self.url_of(self.port)

    def url_of(self, port: int) -> str:
        """The URL of a port at the same address."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def save(settings: Settings) -> None:
    """Remember the settings in the data directory, for commands that run while the server does not."""
    path = settings.data / "settings.json"
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # URLs may hold passwords
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(_Saved(str(settings.data), settings.database, settings.artifacts)))
    temporary.replace(path)


def load(data: Path) -> Settings:
    """The settings that a server last ran with on this data directory, or the defaults. Raises Invalid."""
    path = data / "settings.json"
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
    except FileNotFoundError:
        return Settings(data=data.absolute())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "remove the file; the next mlwright up writes it anew, with its --database and --artifacts"
        raise Invalid(f"the saved settings cannot be read: {error}", path=str(path), hint=hint) from error
    return msgspec.structs.replace(saved.settings(), data=data.absolute())


class _Saved(msgspec.Struct):
    """Settings as JSON: paths are text."""

    data: str
    database: str = ""
    artifacts: str = ""

    def settings(self) -> Settings:
        return Settings(data=Path(self.data), database=self.database, artifacts=self.artifacts)
