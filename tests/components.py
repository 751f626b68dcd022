"""Real outside components for tests: MLflow, PostgreSQL, moto (S3), model-signing, Docker and Chromium.

A test that needs one is skipped with the reason when it is not installed, and fails instead when
`MLWRIGHT_REQUIRE_COMPONENTS=1` (as in `.ci/run`). Processes are stopped by id, with their children.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from tools.peers import PEERS, is_ready, peers_root

# Read before any test changes HOME.
_PEERS_ROOT = peers_root()
_START_SECONDS = 180.0
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing(reason: str) -> NoReturn:
    """Skip the test because a component is not installed, or fail it where all components are required."""
    if os.environ.get("MLWRIGHT_REQUIRE_COMPONENTS") == "1":
        pytest.fail(f"required component missing: {reason}", pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait until `ready` returns True. Raises RuntimeError with the log's end if the process or time ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    state = f"ended with {process.returncode}" if process.poll() is not None else f"not ready after {seconds:.0f} s"
    raise RuntimeError(f"{process.args!r} {state}:\n{tail}")


def answers(port: int, path: str = "/") -> bool:
    """True when an HTTP server on the port answers the path with anything below 500."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[bytes] | subprocess.Popen[str], *, grace_seconds: float = 5.0) -> None:
    """End a process and all of its children: asked first, killed after the grace time."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=grace_seconds)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=grace_seconds)
    process.wait(timeout=grace_seconds)


@contextlib.contextmanager
def served(command: Sequence[str | Path], log: Path, port: int, path: str, env: dict[str, str]) -> Iterator[str]:
    """Run an HTTP server for the length of the block; yields its URL once it answers."""
    with log.open("wb") as out:
        process = subprocess.Popen([str(part) for part in command], env=env, stdout=out, stderr=out)
        try:
            wait_until(lambda: answers(port, path), process, log, _START_SECONDS)
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(process)


# --- MLflow ---

#: Lets servers tell webhooks on this machine, at once.
LOCAL_WEBHOOKS = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",
}


def peer_python(name: str) -> Path:
    """Return the interpreter of a peer environment (tools/peers.py), or skip."""
    peer = next((peer for peer in PEERS if peer.name == name), None)
    if peer is None:
        raise LookupError(f"no peer is called {name!r}; there are {[peer.name for peer in PEERS]}")
    if is_ready(peer, _PEERS_ROOT):
        return _PEERS_ROOT / name / "bin" / "python"
    if peer.optional:
        pytest.skip(f"{OPTIONAL}{name} cannot be had from the package index")
    missing(f"{name} is not installed (`make peers`)")


def mlflow_python(version: str) -> Path:
    """Return an interpreter that can import this MLflow ("3.17.2", "2.22" or "3.18"), or skip."""
    return peer_python(f"mlflow-{version}")


def mlflow_environment(**extra: str) -> dict[str, str]:
    """Return the environment for MLflow processes: no telemetry, no background jobs, no proxy, no colour."""
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"PYTHONUNBUFFERED": "1", "GIT_PYTHON_REFRESH": "quiet"}
    # To list a model's requirements the client loads it in one more process, for seconds; it need not wait for that.
    environment |= {"MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "0"}
    return environment | extra


@contextlib.contextmanager
def mlflow_server(version: str, folder: Path, *options: str) -> Iterator[str]:
    """Run a real MLflow server (one worker, SQLite, proxied artifacts) in a folder; yields its URL."""
    python = mlflow_python(version)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command: list[str | Path] = [
        python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", folder / "artifacts", *options,
    ]  # fmt: skip
    with served(command, folder / "server.log", port, "/health", mlflow_environment(**LOCAL_WEBHOOKS)) as url:
        yield url


@pytest.fixture(scope="session")
def mlflow_reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one MLflow 3.17.2 server for the whole session: the reference that we must agree with."""
    with mlflow_server("3.17.2", tmp_path_factory.mktemp("mlflow-reference")) as url:
        yield url


# --- PostgreSQL ---


@dataclass(frozen=True)
class PostgresCluster:
    """A running private cluster: its binaries, its socket folder, its port and the user who owns it."""

    binaries: Path
    folder: Path
    port: int
    user: str | None

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database in this cluster."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the client programs against the cluster. Raises CalledProcessError with its output."""
        command: list[str | Path] = [
            self.binaries / program,
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "postgres",
            *arguments,
        ]
        subprocess.run(command, check=True, capture_output=True, env={"PGCONNECT_TIMEOUT": "10"})


def postgres_binaries() -> Path:
    """Return the folder with initdb and postgres (the newest Debian one, or what PATH has), or skip."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if versions:
        return versions[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        missing("PostgreSQL is not installed (Debian: `apt-get install postgresql`)")
    return Path(on_path).parent


def unprivileged_user() -> str | None:
    """Return the user to run PostgreSQL as: it refuses root. None when we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


@contextlib.contextmanager
def postgres_server(*options: str, port: int | None = None, folder: Path | None = None) -> Iterator[PostgresCluster]:
    """Run a private PostgreSQL without log-in on loopback; the folder is kept only when given.

    `options` are settings like "fsync=on". By default durability is off: ordinary tests do not cut the power.
    """
    binaries = postgres_binaries()
    user = unprivileged_user()
    # Not below pytest's folder: that is closed to other users, and too long a path for a socket.
    home = folder or Path(tempfile.mkdtemp(prefix="mlw-pg-"))
    data = home / "data"
    port = port or free_port()
    environment = {"PATH": f"{binaries}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    settings = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60", *options]
    try:
        if user is not None:
            shutil.chown(home, user)
        if not data.exists():
            initdb: list[str | Path] = [
                binaries / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ]
            subprocess.run(initdb, check=True, capture_output=True, user=user, env=environment, cwd="/")
        command = [
            binaries / "postgres",
            "-D",
            data,
            "-k",
            home,
            "-p",
            str(port),
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        for setting in settings:
            command += ["-c", setting]
        cluster = PostgresCluster(binaries, home, port, user)
        log = home / "server.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(part) for part in command], stdout=out, stderr=out, user=user, env=environment, cwd="/"
            )
            try:
                wait_until(lambda: _postgres_answers(cluster), process, log, _START_SECONDS)
                yield cluster
            finally:
                stop(process)
    finally:
        if folder is None:
            shutil.rmtree(home, ignore_errors=True)


def _postgres_answers(cluster: PostgresCluster) -> bool:
    command: list[str | Path] = [
        cluster.binaries / "pg_isready",
        "-q",
        "-h",
        "127.0.0.1",
        "-p",
        str(cluster.port),
    ]
    return subprocess.run(command, check=False).returncode == 0


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """One private PostgreSQL for the session (one for each xdist worker)."""
    with postgres_server() as cluster:
        yield cluster


@pytest.fixture
def postgres_url(postgres_cluster: PostgresCluster) -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty PostgreSQL database that only this test has."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres_cluster.run("createdb", name)
    try:
        yield postgres_cluster.url(name)
    finally:
        postgres_cluster.run("dropdb", "--force", name)


# --- S3 ---


@dataclass(frozen=True)
class S3Endpoint:
    """An S3 service with a bucket in it. Keys are those that moto accepts."""

    url: str
    bucket: str
    region: str = "us-east-1"
    access_key: str = "testing"
    secret_key: str = "testing"


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one moto server (an S3 in memory) for the session."""
    python = peer_python("moto")
    port = free_port()
    command: list[str | Path] = [python.parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
    log = tmp_path_factory.mktemp("moto") / "server.log"
    with served(command, log, port, "/moto-api/data.json", dict(os.environ)) as url:
        yield url


@pytest.fixture
def moto_s3(moto_url: str) -> S3Endpoint:
    """An S3 endpoint with a new, empty bucket that only this test has."""
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    connection = http.client.HTTPConnection(moto_url.removeprefix("http://"), timeout=10)
    try:
        connection.request("PUT", f"/{bucket}")
        assert connection.getresponse().status == 200, "moto did not create the bucket"
    finally:
        connection.close()
    return S3Endpoint(moto_url, bucket)


# --- model signing ---


@pytest.fixture(scope="session")
def model_signing() -> Path:
    """The command of OpenSSF's reference implementation of model signing."""
    return peer_python("model-signing").parent / "model_signing"


# --- Docker ---


@contextlib.contextmanager
def docker_daemon() -> Iterator[str]:
    """A Docker daemon of its own, without a network; yields the value of DOCKER_HOST."""
    if shutil.which("docker") is None or shutil.which("dockerd") is None:
        missing("Docker is not installed (Debian: `apt-get install docker.io`)")
    if os.geteuid() != 0:
        missing("a Docker daemon can be started by root only")
    home = Path(tempfile.mkdtemp(prefix="mlw-dock-"))  # not below pytest's folder: too long a path for a socket
    log, host = home / "log", f"unix://{home / 'socket'}"
    command: list[str | Path] = [
        "dockerd", "--storage-driver=overlay2", "--iptables=false", "--bridge=none", "--host", host,
        "--data-root", home / "data", "--exec-root", home / "exec", "--pidfile", home / "pid",
    ]  # fmt: skip

    def ready() -> bool:
        asked = ["docker", "--host", host, "version"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    with log.open("wb") as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=out)
        try:
            wait_until(ready, process, log, _START_SECONDS)
            yield host
        finally:
            stop(process, grace_seconds=20)
            subprocess.run(["umount", home / "exec" / "netns" / "default"], capture_output=True, check=False)
            shutil.rmtree(home, ignore_errors=True)


# --- Chromium ---


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The system's Chromium, to be started by Playwright with `executable_path` and `--no-sandbox`."""
    found = next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    if found is None:
        missing("Chromium is not installed (Debian: `apt-get install chromium fonts-noto-cjk`)")
    return Path(found)


# --- nothing skipped ---

#: Begins the reason of a skip that is right even where all components are required.
OPTIONAL = "optional: "


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skipped report into a failed one where all components are required (in place)."""
    if os.environ.get("MLWRIGHT_REQUIRE_COMPONENTS") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(OPTIONAL):
        report.outcome = "failed"
        report.longrepr = f"skipped, and nothing may be skipped here: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where all components are required, a skipped test is a failed one."""
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected."""
    report = yield
    fail_if_skipped(report)
    return report
