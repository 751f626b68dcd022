"""A host without its keeper is in nobody's way."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from mlwright.serving.host.state import Desired
from mlwright.serving.host_process import HostProcess


def orphaned(folder: Path) -> psutil.Process:
    """The host, once its keeper has been killed."""
    keeper = psutil.Process(json.loads((folder / "keeper.json").read_bytes())["pid"])
    (host,) = keeper.children()
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.wait(10)
    return host


def has_ended(process: psutil.Process) -> bool:
    """Also where nobody takes its end down."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# Keepers outlive who started them.
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_host_whose_keeper_was_killed_makes_room_for_another_one(tmp_path: Path) -> None:
    folder, log = tmp_path / "serving", tmp_path / "log"
    first = HostProcess(folder, log, "127.0.0.1", 0)
    first.start()
    port, orphan = first.port, orphaned(folder)
    assert (first.is_running, orphan.is_running()) == (False, True)
    second = HostProcess(folder, log, "127.0.0.1", port)
    second.start()
    try:
        assert has_ended(orphan)
        assert second.serve(Desired(1, []))["generation"] == 1
        orphan = orphaned(folder)
    finally:
        second.stop()
    assert has_ended(orphan)
