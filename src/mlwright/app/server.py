"""The control plane's network side: binds the address, runs until told to stop, then drains."""

import gc
import logging
import logging.handlers
import os
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvicorn

import mlwright
from mlwright.app import proxy
from mlwright.app.guard import Authenticator, Guard
from mlwright.app.process import ServerLock, ServerState, local_secret_path
from mlwright.app.settings import Settings, save
from mlwright.app.wiring import Platform
from mlwright.kernel.clock import SystemClock
from mlwright.kernel.errors import Conflict, Invalid
from mlwright.kernel.protocol import Protocol

_LOG_BYTES = 10 << 20
_LOG_FILES = 5
_DRAIN_S = 10
_HOW_TO_AUTHENTICATE = "create a user with: mlwright users create NAME --admin   and start with --auth"


class _Uvicorn(uvicorn.Server):
    """uvicorn, telling us when it accepts connections and when it begins to stop."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run the platform until SIGTERM or SIGINT.

    Args:
        settings: how it runs.
        announce: told the URL once requests are answered.

    Raises Invalid for an unsafe address, Conflict when the directory or the port is in use, Unavailable.
    """
    if not settings.loopback and not settings.authentication:
        raise Invalid(
            f"{settings.host} can be reached from other machines, and authentication is off",
            path="--host",
            hint=_HOW_TO_AUTHENTICATE,
        )
    lock = ServerLock(settings.data)
    try:
        listening = _bind(settings)
        settings = msgspec.structs.replace(settings, port=listening.getsockname()[1])  # port 0 means any free one
        _log_to(settings.data / "logs" / "server.log")
        _raise_file_limit()
        platform = Platform(settings)
        save(settings)  # only what could be opened: commands without a server use it from now on
        platform.engine.reserve_log()
        try:
            if settings.authentication and not platform.has_admin():
                raise Invalid(
                    "nobody could log in: there is no administrator", path="--auth", hint=_HOW_TO_AUTHENTICATE
                )
            _run(platform, listening, lock, announce)
        finally:
            platform.close()
    finally:
        lock.release()


def _run(platform: Platform, listening: socket.socket, lock: ServerLock, announce: Callable[[str], None]) -> None:
    settings = platform.settings
    secret = _local_secret(settings.data)
    authenticate: Authenticator | None = platform.authentication(secret) if settings.authentication else None

    def ready() -> None:
        state = ServerState(os.getpid(), settings.url, SystemClock().now_ms(), mlwright.__version__)
        lock.announce(state)
        announce(settings.url)

    config = uvicorn.Config(
        proxy.behind(Guard(platform.router(), settings, authenticate), settings.trusted_proxies),
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    signal.signal(signal.SIGTERM, _leave)  # uvicorn drains, and then raises it once more
    platform.database.listen()
    platform.gates.start()
    platform.webhooks.start()
    platform.serving.start()
    gc.freeze()  # what the start made stays: a full collection of it would hold up all answers
    _Uvicorn(config, ready, platform.database.changes.close).run([listening])


def _leave(*_: object) -> None:
    """End by way of what has to be closed: the serving host, for one, is a process of its own."""
    raise SystemExit(0)


def _local_secret(data: Path) -> str:
    """A token for whoever can read the data directory: its owner's commands need no password."""
    path = local_secret_path(data)
    secret = secrets.token_urlsafe(32)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
    return secret


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise Conflict(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}",
            path="--port",
            hint="choose another port with --port, or see who uses it with: mlwright doctor",
        ) from error
    listening.listen(2048)
    return listening


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _raise_file_limit() -> None:
    """Each connection is an open file; the usual soft limit of 1,024 is too low for a team's clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    sys.setswitchinterval(0.001)
