"""Processes and memory of a real host: more of them under load, none when idle, and models that hang or grow."""

import asyncio
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlwright.kernel.errors import Unavailable
from mlwright.serving.host import memory, workers
from tests.unit.serving.hosting import Load, Site, site, toy

#: Takes as many MiB as x says and keeps them, where y is 1; otherwise only for a moment.
GREEDY = """
import time
import numpy

class Toy:
    def __init__(self, number):
        self.kept = [numpy.ones(number << 17)]

    def predict(self, given):
        given = numpy.asarray(given, dtype=float)
        found = [numpy.ones(int(x) << 17) for x, _ in given]
        if (given[:, 1] == 1).any():
            self.kept += found
        if (given[:, 1] == 2).any():
            time.sleep(4)
        return given.sum(axis=1)
"""


def processes(host: Site) -> list[psutil.Process]:
    return [each for each in host.host.children() if each.status() != psutil.STATUS_ZOMBIE]


def revision(host: Site, number: int = 1) -> Any:
    return host.counts()["revisions"][str(number)]


def test_more_processes_under_load(tmp_path: Path) -> None:
    scaling = {"min": 1, "max": 2, "concurrency": 1}
    with site(tmp_path, toy(tmp_path, 0, 1), scaling=scaling) as host:
        assert len(processes(host)) == 1
        load = Load(host)
        with ThreadPoolExecutor(3) as pool:
            clients = [pool.submit(load.run) for _ in range(3)]
            try:
                host.wait(lambda: len(processes(host)) == 2)
            finally:
                load.stopped = True
            for client in clients:
                client.result()
        assert set(load.seen) == {"200"}
        assert revision(host)["replicas"] == 2
        host.tell(scaling={"min": 1, "max": 1})  # at once: one is all that it may have now
        host.wait(lambda: revision(host)["replicas"] == 1)
        assert host.values([2, 3]) == [5]


def test_idle_ones_rest_and_wake(tmp_path: Path) -> None:
    resting = {"min": 0, "idleSeconds": 0.2}
    with site(tmp_path, toy(tmp_path, 0, 1), scaling=resting) as host:
        assert not revision(host)["loaded"]  # a host that starts loads nothing that may rest
        assert host.get("/v2/models/toy/ready").document["ready"]
        with ThreadPoolExecutor(8) as pool:  # all wait for the same load
            assert list(pool.map(host.values, [[2.0, 3.0]] * 8)) == [[5]] * 8
        host.wait(lambda: not revision(host)["loaded"])
        assert host.values([2, 3]) == [5]
        told = host.tell(revisions=[*host.served["revisions"], toy(tmp_path, 100, 2)], stable=2)
        assert told["endpoints"][0]["revisions"]["2"]["loaded"]  # what is new is tried
        assert revision(host, 2)["deaths"] == revision(host, 1)["deaths"] == 0
        assert host.values([2, 3]) == [105]


def test_a_dead_one_is_there_again_before_anybody_asks(tmp_path: Path) -> None:
    with site(tmp_path, toy(tmp_path, 0, 1)) as host:
        (before,) = processes(host)
        before.kill()
        host.wait(lambda: revision(host)["loaded"] and before.pid not in {each.pid for each in processes(host)})
        assert revision(host)["deaths"] == 0  # it was not answering


def test_what_hangs_is_replaced(tmp_path: Path) -> None:
    with site(tmp_path, toy(tmp_path, 0, 1), toy(tmp_path, 100, 2)) as host:
        assert host.values([2, 3], path="/v2/models/toy/versions/2/infer") == [105]
        (before,) = processes(host)
        host.tell(limits={"timeoutMs": 300})
        assert host.ask([60, 0]).status == 504
        host.wait(lambda: not before.is_running())
        host.wait(lambda: host.ask([2, 3]).status == 200)
        assert [revision(host, number)["deaths"] for number in (1, 2)] == [1, 0]


def test_a_model_that_takes_too_much_memory(tmp_path: Path) -> None:
    """A moment's need beyond the limit fails that request; what is kept beyond it costs the process."""
    limits = {"memoryMib": 64, "timeoutMs": 5_000}
    with site(tmp_path, toy(tmp_path, 1, 1, source=GREEDY), limits=limits) as host:
        assert host.values([16, 0]) == [16]
        refused = host.ask([2_000, 0])
        assert (refused.status, "Unable to allocate" in refused.document["error"]) == (500, True)
        (before,) = processes(host)
        host.ask([200, 1])
        host.wait(lambda: not before.is_running())
        slowly = host.ask([200, 2])
        assert (slowly.status, "may take" in slowly.document["error"]) == (503, True), slowly.body
        assert host.values([16, 0]) == [16]
        told = host.tell(revisions=[*host.served["revisions"], toy(tmp_path, 100, 2, source=GREEDY)], stable=2)
        assert "may take 64" in told["failures"]["default/toy/2"]


def test_a_limit_above_what_the_kernel_can_be_told() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        memory.limit(process.pid, 2**70)
        soft, _ = resource.prlimit(process.pid, resource.RLIMIT_DATA)
        process.kill()
    assert soft in {sys.maxsize, resource.RLIM_INFINITY}


def test_a_version_with_a_defect_of_ours_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    """Not a failure that anybody has thought of: here, a path that cannot be one."""
    good = toy(tmp_path, 1, 1)
    with site(tmp_path, good) as host:
        assert host.values([2, 3]) == [6]
        host.others = [{**host.served, "name": "odd", "revisions": [{**good, "python": "\0"}]}]
        told = host.tell()
        assert (list(told["failures"]), host.values([2, 3])) == (["default/odd/1"], [6])


SLOW = """
import time

class Toy:
    def __init__(self, number):
        self.seconds = number

    def __setstate__(self, state):
        time.sleep(state["seconds"])

    def predict(self, given):
        return given
"""


def test_only_so_many_wait_for_a_load(tmp_path: Path) -> None:
    scaling = {"min": 0, "idleSeconds": 300}
    slow = toy(tmp_path, 1, 1, source=SLOW)
    with site(tmp_path, slow, scaling=scaling, limits={"queue": 2}) as host, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(host.ask, [[2.0, 3.0]] * 6))
    assert sorted(answer.status for answer in answers) == [200, 200, 429, 429, 429, 429]


def test_a_model_that_takes_for_ever_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up on, and dropped should it come after all; its neighbours do not notice."""
    monkeypatch.setattr(workers, "_LOAD_S", 0.5)
    slow, quick = (toy(tmp_path, seconds, version, source=SLOW) for seconds, version in ((1, 1), (0, 2)))

    def request(found: dict[str, Any]) -> dict[str, Any]:
        known = {"generic": {}, "columns": {}, "inputs": [], "table": False}
        return {**{name: found[name] for name in ("folder", "loader", "options")}, **known}

    async def play() -> None:
        worker = await workers.Worker.start(Path(sys.executable), lambda _: None, {}, 2)
        try:
            await worker.load("quick", request(quick), b"", 1 << 30)
            with pytest.raises(Unavailable, match=r"not loaded after 0\.5 s"):
                await worker.load("slow", request(slow), b"", 1 << 30)
            assert not worker.is_loading
            await asyncio.sleep(1)  # it comes
            await worker.load("other", request(quick), b"", 1 << 30)
            assert (sorted(worker.models), worker.alive) == (["other", "quick"], True)
        finally:
            worker.kill()
            await asyncio.to_thread(worker.process.wait)

    asyncio.run(play())


def test_only_those_in_use_are_loaded(tmp_path: Path) -> None:
    """Thirty models of 20 MiB each, of which the host may hold some at a time."""
    shared = toy(tmp_path, 20, 1, source=GREEDY)

    def configure(host: Site) -> None:
        host.others = [
            {**host.served, "name": f"toy-{number}", "scaling": {"min": number % 2, "idleSeconds": 300}}
            for number in range(30)
        ]
        host.limits = {"memory_mib": 220}

    with site(tmp_path, shared, configure=configure) as host:
        began = time.monotonic()
        for number in range(30):
            assert host.values([1, 0], path=f"/v2/models/toy-{number}/infer") == [1]
        assert time.monotonic() - began < 60
        host.wait(lambda: host.document()["memory_bytes"] < 220 << 20)
        document = host.document()
        loaded = [each["name"] for each in document["endpoints"] if each["revisions"]["1"]["loaded"]]
        assert 1 < len(loaded) < 12
        assert document["evictions"] > 15
        assert host.values([1, 0], path="/v2/models/toy-29/infer") == [1]
        with ThreadPoolExecutor(8) as pool:
            paths = [f"/v2/models/toy-{number}/infer" for number in range(8)]
            assert list(pool.map(lambda path: host.values([1, 0], path=path), paths)) == [[1]] * 8
        assert len(processes(host)) == 1
