"""What every test gets: no network but loopback, no telemetry, a clean environment, real components."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from pathlib import Path

import pytest

pytest_plugins = ["tests.components"]

# Shells start background jobs with SIGINT ignored, and child processes would inherit that: Ctrl-C could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Set before any test module is imported: peers read them at import, and child processes inherit them.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "1"
# What uv has downloaded for its user need not come again for each home that tests have.
os.environ.setdefault("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
for _name in [name for name in os.environ if name.startswith(("MLFLOW_TRACKING_", "MLWRIGHT_TOKEN", "MLWRIGHT_URL"))]:
    del os.environ[_name]


def _is_local(host: object) -> bool:
    """True for loopback addresses, the wildcard (used to bind) and the name localhost."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_outside_network(event: str, args: tuple[object, ...]) -> None:
    """Audit hook: fail any attempt to resolve or reach a host that is not this machine.

    An audit hook sees every Python socket, also where a library kept its own reference to the class.
    """
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if not _is_local(host):
        raise RuntimeError(f"tests may only use loopback addresses, not {host!r}")


sys.addaudithook(_refuse_outside_network)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the test a home of its own, so that nothing of the user's settings or data can leak in."""
    if "MLWRIGHT_TEST_HOME" not in os.environ:
        os.environ["MLWRIGHT_TEST_HOME"] = str(tmp_path_factory.mktemp("home"))
    monkeypatch.setenv("HOME", os.environ["MLWRIGHT_TEST_HOME"])
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory for a server or a command under test."""
    path = tmp_path / "data"
    path.mkdir()
    return path
