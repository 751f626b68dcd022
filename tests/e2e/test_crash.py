"""What must survive: kill -9 under load, a full disk, a read-only directory, a damaged database, a second server."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.servers import HOST, free_port
from tests.e2e.harness import (
    API,
    ARTIFACTS,
    Answer,
    Client,
    check_ledgers,
    components_required,
    kill,
    logged,
    mounted,
    new_server,
    run_cli,
    running,
    verify_audit,
    writing,
)

KILLS = 30 if components_required() else 5
SEED = 20_13
PAGE_BYTES = 4096


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.crash
def test_kill_9_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Eight writers; the process tree is killed at random moments, and nothing acknowledged is lost.

    How long a restart takes (at most 2 s on a quiet machine) is printed, and only bounded against hanging: other tests
    run at the same time.
    """
    dice = random.Random(SEED)
    server = new_server(tmp_path)
    server.start()
    restarts: list[float] = []
    with writing(server.port, writers=8, seed=SEED) as writers:
        try:
            for _ in range(KILLS):
                time.sleep(dice.uniform(0.02, 0.6))
                kill(server)
                restarts.append(server.start())
            time.sleep(0.3)
        except BaseException:
            server.stop()
            raise
    ledgers = [writer.ledger for writer in writers]
    client = Client(server.port)
    try:
        assert [answer for ledger in ledgers for answer in ledger.refused] == []
        assert sum(ledger.acknowledged for ledger in ledgers) > 20 * KILLS, "the writers hardly wrote"
        assert check_ledgers(client, ledgers) > 0
    finally:
        client.close()
        server.stop()
    verify_audit(server)
    print(f"ready again after {statistics.median(restarts):.2f} s (median), {max(restarts):.2f} s (longest)")
    assert max(restarts) <= 30.0, restarts


@pytest.mark.crash
def test_kill_9_of_an_upload_leaves_no_half_artifact(tmp_path: Path) -> None:
    server = new_server(tmp_path)
    server.start()
    path, small = f"{ARTIFACTS}/0/run/artifacts/model.bin", f"{ARTIFACTS}/0/run/artifacts/MLmodel"
    whole = os.urandom(200_000)
    client = Client(server.port)
    try:
        assert client.request("PUT", path, whole).status == 200
        assert client.request("PUT", small, b"small").status == 200
        with socket.create_connection((HOST, server.port)) as half:
            half.sendall(f"PUT {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10000000\r\n\r\n".encode())
            half.sendall(os.urandom(1_000_000))
            kill(server)
        client.close()
        server.start()
        assert client.get(path).body == whole
        assert client.get(small).body == b"small"
    finally:
        client.close()
        server.stop()


def register_until_killed(port: int, model: dict[str, str], registered: list[int]) -> None:
    """Register one version after the other; the numbers of those that were acknowledged go to `registered`."""
    client = Client(port)
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            answer = client.ok("POST", f"{API}/model-versions/create", model)
            registered.append(int(answer["model_version"]["version"]))
    client.close()


@pytest.mark.crash
def test_kill_9_while_registering_leaves_no_half_version(tmp_path: Path) -> None:
    """Each version is there with all its files and facts, or not at all; none that was acknowledged is missing."""
    dice = random.Random(SEED)
    server = new_server(tmp_path)
    server.start()
    client, registered = Client(server.port), list[int]()
    run_id = client.new_run()
    source = f"0/{run_id}/artifacts/model"
    names = ["MLmodel", *(f"part-{number:02d}" for number in range(40))]
    for name in names:
        assert client.request("PUT", f"{ARTIFACTS}/{source}/{name}", b"flavors: {}" + name.encode()).status == 200
    client.ok("POST", f"{API}/registered-models/create", {"name": "m"})
    model = {"name": "m", "source": f"mlflow-artifacts:/{source}", "run_id": run_id}
    try:
        for _ in range(KILLS):
            writers = [
                threading.Thread(target=register_until_killed, args=(server.port, model, registered)) for _ in range(3)
            ]
            for writer in writers:
                writer.start()
            time.sleep(dice.uniform(0.05, 0.4))
            kill(server)
            for writer in writers:
                writer.join()
            server.start()
        client.close()
        page = client.ok("GET", f"{API}/model-versions/search?max_results=100000")["model_versions"]
        assert len(registered) > KILLS
        assert set(registered) <= {int(each["version"]) for each in page}
        digest = client.ok("GET", "/v1/models/m/versions/1")["digest"]
        for each in page:
            found = client.ok("GET", f"/v1/models/m/versions/{each['version']}")
            listed = client.ok("GET", f"/api/2.0/mlflow-artifacts/artifacts?path={found['storage'].partition('/')[2]}")
            assert [file["path"] for file in listed["files"]] == names
            assert (found["files"], found["digest"]) == (len(names), digest)
    finally:
        client.close()
        server.stop()
    verify_audit(server)


# --- disk full ---


def big_batch(run_id: str, number: int) -> dict[str, object]:
    """A batch of about 500 kB, new each time."""
    params = [{"key": f"p{number}-{index}", "value": f"{number:05d}" * 1000} for index in range(100)]
    return {"run_id": run_id, "params": params}


def assert_storage_full(answer: Answer) -> None:
    assert answer.status == 507, (answer.status, answer.body[:300])
    assert answer.error_code, answer.body[:300]
    message = answer.json["message"].lower()
    assert any(word in message for word in ("disk", "space", "storage")), message
    assert "traceback" not in message


def fill_until_refused(client: Client, run_id: str) -> tuple[int, Answer]:
    """Log batches until one is refused: the number acknowledged and the refusal."""
    for number in range(500):
        answer = client.post(f"{API}/runs/log-batch", big_batch(run_id, number))
        if answer.status != 200:
            return number, answer
    raise AssertionError("the small disk never filled up")


@pytest.mark.crash
def test_a_full_disk_is_said_and_recovered_from_without_restart(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "tmpfs", "size=72m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * (32 << 20))
        server = new_server(disk)
        with running(server) as client:
            run_id = client.new_run()
            logged, refusal = fill_until_refused(client, run_id)
            assert logged > 0
            assert_storage_full(refusal)
            assert client.get("/health").status == 200
            params = client.ok("GET", f"{API}/runs/get?run_id={run_id}")["run"]["data"]["params"]
            assert len(params) == logged * 100, "a refused batch is partly there, or an accepted one is not"
            assert_storage_full(client.request("PUT", f"{ARTIFACTS}/0/{run_id}/artifacts/big", b"x" * (30 << 20)))
            ballast.unlink()
            body = big_batch(run_id, 1000)
            assert wait_for(lambda: client.post(f"{API}/runs/log-batch", body).status == 200), "no recovery"
            assert client.request("PUT", f"{ARTIFACTS}/0/{run_id}/artifacts/small", b"there").status == 200
            assert client.get(f"{ARTIFACTS}/0/{run_id}/artifacts/big").status == 404
            kill(server)
            client.close()
            server.start()
            params = client.ok("GET", f"{API}/runs/get?run_id={run_id}")["run"]["data"]["params"]
            assert len(params) == (logged + 1) * 100
            assert client.get(f"{ARTIFACTS}/0/{run_id}/artifacts/small").body == b"there"
        verify_audit(server)


# --- read-only directory ---


def test_a_read_only_directory_is_refused_with_the_reason(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        with mounted(tmp_path / "disk", "tmpfs", "size=64m") as disk:
            server = new_server(disk)
            with running(server) as client:
                run_id = client.new_run()
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            assert_refused_as_read_only(server.data)
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            with running(server) as client:
                assert client.get(f"{API}/runs/get?run_id={run_id}").status == 200
        return
    folder = tmp_path / "data"
    folder.mkdir(mode=0o555)
    assert_refused_as_read_only(folder)


def assert_refused_as_read_only(data: Path) -> None:
    done = run_cli("up", "--data", data, "--port", str(free_port()))
    assert done.returncode not in (0, None), done.stdout
    text = done.stderr
    assert "Traceback" not in text, text
    assert str(data) in text, text
    assert any(word in text.lower() for word in ("read-only", "not writable", "cannot write", "permission")), text
    assert "hint:" in text, text


# --- damaged database ---


def test_doctor_names_a_damaged_database(tmp_path: Path) -> None:
    server = new_server(tmp_path)
    with running(server) as client:
        run_id = client.new_run()
        for number in range(4):
            client.ok("POST", f"{API}/runs/log-batch", big_batch(run_id, number))
    healthy = run_cli("doctor", "--data", server.data)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    database = server.data / "mlwright.db"
    flip_pages(database)
    done = run_cli("doctor", "--data", server.data)
    text = done.stdout + done.stderr
    assert done.returncode != 0, text
    assert "mlwright.db" in text or "database" in text.lower(), text
    assert any(word in text.lower() for word in ("damaged", "corrupt", "malformed", "integrity")), text
    assert "Traceback" not in text, text


def flip_pages(database: Path) -> None:
    """Overwrite the heads of some pages in the middle of the file, as a bad disk would."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")  # else the log would hide the damage
    pages = database.stat().st_size // PAGE_BYTES
    assert pages > 100
    with database.open("r+b") as file:
        for page in range(pages // 4, pages * 3 // 4, pages // 10):
            file.seek(page * PAGE_BYTES)
            file.write(b"\x5a" * 64)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        try:
            verdict = connection.execute("pragma integrity_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            verdict = str(error)
    assert verdict != "ok", "the test did not damage anything"


# --- two servers ---


def test_a_second_server_on_one_directory_is_refused(tmp_path: Path) -> None:
    server = new_server(tmp_path)
    with running(server) as client:
        done = run_cli("up", "--data", server.data, "--port", str(free_port()), timeout_s=30)
        assert done.returncode == 5, (done.returncode, done.stdout, done.stderr)
        assert done.stderr.startswith("error: "), done.stderr
        assert str(server.data) in done.stderr
        assert "hint:" in done.stderr
        assert "Traceback" not in done.stderr
        assert client.get("/health").body == b"OK"
        assert client.new_run()


def test_a_directory_is_free_again_after_kill_9(tmp_path: Path) -> None:
    """A lock that outlives its process would make every crash a support case."""
    server = new_server(tmp_path)
    server.start()
    kill(server)
    with running(server) as client:
        assert client.get("/health").body == b"OK"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_stop_finishes_and_exits_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    server = new_server(tmp_path)
    server.start()
    process = server.process
    assert process is not None
    try:
        with contextlib.closing(Client(server.port)) as client:
            run_id = client.new_run()
        process.send_signal(number)
        assert process.wait(15) in (0, -number, 128 + number), server.tail()
        assert "Traceback" not in logged(server)
    finally:
        server.stop()
    with running(server) as client:
        assert client.get(f"{API}/runs/get?run_id={run_id}").status == 200
