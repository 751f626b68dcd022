"""Programs run within limits: whatever they do, they end, nobody stays, and it is known why."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.compute.service import Program, run
from mlwright.compute.spec import Ending, Limits, Outcome

ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
QUICK = Limits(seconds=2, memory_bytes=200 << 20, processes=20)


def python(folder: Path, program: str, limits: Limits = QUICK) -> Outcome:
    return run([sys.executable, "-c", program], folder, ENVIRONMENT, limits)


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    """After each test, nothing runs that did not run before."""
    before = {process.pid for process in psutil.process_iter()}
    yield
    mark = str(os.getpid())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = [each for each in psutil.process_iter(["environ"]) if each.pid not in before and _ours(each, mark)]
        if not left:
            return
        time.sleep(0.05)
    raise AssertionError(left)


@pytest.fixture(autouse=True)
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests start can be told from what others do."""
    monkeypatch.setitem(ENVIRONMENT, "STARTED_BY", str(os.getpid()))


def _ours(process: psutil.Process, mark: str) -> bool:
    return bool((process.info["environ"] or {}).get("STARTED_BY") == mark)


def test_a_program_that_ends(tmp_path: Path) -> None:
    found = python(tmp_path, "import sys, os; print('out', os.getcwd()); print('err', file=sys.stderr)")
    assert found.succeeded
    assert sorted(found.output.split()) == sorted(["out", str(tmp_path), "err"])
    assert found.output_bytes == len(found.output)


_SLEEP = "; import time; time.sleep(60)"
_DAEMONS = """
import os, time
for _ in range(30):
    if not os.fork():
        os.setsid()
        time.sleep(60)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("program", "ending", "status"),
    [
        ("raise SystemExit(3)", Ending.EXITED, 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", Ending.KILLED, 137),
        ("import os; os._exit(137)", Ending.EXITED, 137),
        ("pass" + _SLEEP, Ending.TIMEOUT, None),
        ("import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]" + _SLEEP, Ending.TIMEOUT, None),
        ("x = bytearray(1 << 30); x[::4096] = b'1' * len(x[::4096])" + _SLEEP, Ending.MEMORY, None),
        ("import os\nwhile True: os.fork()", Ending.PROCESSES, None),
        pytest.param(
            "import os\nwhile True:\n    if not os.fork(): os.setsid()",
            Ending.PROCESSES,
            None,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs a process namespace, or takes minutes"),
        ),
        (_DAEMONS, Ending.PROCESSES, None),
    ],
)
def test_a_program_that_does_not(tmp_path: Path, program: str, ending: Ending, status: int | None) -> None:
    found = python(tmp_path, program)
    assert (found.ending, found.status) == (ending, status)
    assert not found.succeeded
    assert found.explain(QUICK)


def test_a_daemon_does_not_get_away(tmp_path: Path) -> None:
    program = """
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        for number in range(3): os.close(number)
        time.sleep(60)
    os._exit(0)
"""
    assert python(tmp_path, program).succeeded


def test_process_ids_agree_with_proc(tmp_path: Path) -> None:
    program = "import os; print(os.getpid(), os.readlink('/proc/self'), open(f'/proc/{os.getpid()}/comm').read())"
    mine, said, name = python(tmp_path, program).output.split()
    assert mine == said
    assert name.startswith("python")


def test_a_gigabyte_of_output_is_no_trouble(tmp_path: Path) -> None:
    limits = Limits(seconds=60, memory_bytes=200 << 20, processes=20, printed_bytes=2 << 30)
    found = python(tmp_path, "import os\nfor _ in range(1024): os.write(1, b'x' * (1 << 20))\nprint('end')", limits)
    assert found.succeeded
    assert found.output_bytes == (1 << 30) + 4
    assert len(found.output) < 300_000
    assert "bytes left out" in found.output
    assert found.output.endswith("end\n")


def test_printing_without_end_is_ended(tmp_path: Path) -> None:
    found = python(tmp_path, "import os\nwhile True: os.write(1, b'x' * (1 << 20))", Limits(printed_bytes=8 << 20))
    assert found.ending is Ending.PRINTED
    assert found.explain(Limits()) == "it printed more than 64 MiB"
    assert len(found.output) < 300_000


_MANY = "import itertools\nfor n in itertools.count(): open(f'{n}', 'w').write('x' * %d)"
_HIDDEN = "import os; os.mkdir('a'); os.chdir('a'); os.chmod('.', 0)\n" if os.geteuid() == 0 else ""


@pytest.mark.parametrize(
    "program",
    [
        _MANY % (1 << 20),
        _MANY % 0,
        f"import os; os.mkdir('a'); os.chdir('a')\n{_MANY % (1 << 20)}",
        _HIDDEN + _MANY % (1 << 20),
        f"import os\nif os.fork(): os.wait()\n{_MANY % (1 << 20)}",
    ],
)
def test_writing_without_end_is_ended(tmp_path: Path, program: str) -> None:
    limits = Limits(seconds=30, disk_bytes=16 << 20)
    (tmp_path / "before").write_bytes(bytes(20 << 20))
    found = python(tmp_path, program, limits)
    assert found.ending is Ending.DISK
    assert found.explain(limits) == "it wrote more than 16 MiB into its folder"


def test_one_large_file_is_ended_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    limits = Limits(seconds=30, disk_bytes=16 << 20)
    sparse = run(["truncate", "-s", "50G", "../sparse"], tmp_path / "folder", ENVIRONMENT, limits)
    assert not sparse.succeeded
    assert sparse.explain(limits) == "it wrote a file larger than 16 MiB"
    found = python(tmp_path / "folder", "open('../x', 'wb').write(bytes(20 << 20))", limits)
    assert found.status == 1
    assert "File too large" in found.output
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.is_file()) <= 16 << 20
    assert python(tmp_path / "folder", "open('../x', 'wb').write(bytes(15 << 20))", limits).succeeded
    assert python(tmp_path / "folder", "open('x', 'wb').write(bytes(30 << 20))", Limits()).succeeded


def test_closing_its_output_hides_nothing(tmp_path: Path) -> None:
    found = python(tmp_path, "import os, time; os.close(1); os.close(2); time.sleep(60)")
    assert found.ending is Ending.TIMEOUT


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    found = run(["/no/such/program"], tmp_path, ENVIRONMENT, QUICK)
    assert found.ending is Ending.NOT_STARTED
    assert "No such file" in found.explain(QUICK)
    assert run([sys.executable], tmp_path / "nowhere", ENVIRONMENT, QUICK).ending is Ending.NOT_STARTED


def test_only_the_given_variables_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s")
    assert python(tmp_path, "import os; raise SystemExit('SECRET' in os.environ)").succeeded


def test_cancelling_ends_it(tmp_path: Path) -> None:
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    found = run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, ENVIRONMENT, Limits(), cancelled)
    assert found.ending is Ending.CANCELLED
    assert found.seconds < 30


@pytest.mark.crash
def test_when_the_caller_is_killed_the_program_ends(tmp_path: Path) -> None:
    caller = f"""
from pathlib import Path
from mlwright.compute.service import Program, run
run(["{sys.executable}", "-c", "import os, time; os.fork(); open('up', 'w').close(); time.sleep(60)"],
    Path("{tmp_path}"), {ENVIRONMENT!r})
"""
    process = subprocess.Popen([sys.executable, "-c", caller])
    deadline = time.monotonic() + 20
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "up").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()  # and `nobody_stays` looks whether the rest went too


@given(status=st.integers(0, 255), text=st.text(max_size=200))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_status_and_output_arrive_as_they_were(tmp_path: Path, status: int, text: str) -> None:
    found = python(tmp_path, f"import os; os.write(1, {text.encode('utf-8', 'replace')!r}); os._exit({status})")
    assert (found.ending, found.status) == (Ending.EXITED, status)
    assert found.output == text.encode("utf-8", "replace").decode()
    assert found.succeeded == (status == 0)


# --- beside its caller --------------------------------------------------------------------------------------------


def test_a_program_beside_its_caller_ends_with_the_block(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"open('there', 'w'){_SLEEP}"]
    with Program(command, tmp_path, ENVIRONMENT, Limits(seconds=30)) as program:
        while not (tmp_path / "there").exists():
            time.sleep(0.01)
        assert program.is_running
        found = program.stop()
    assert found.ending is Ending.CANCELLED
    assert not program.is_running


def test_it_tells_why_it_ended_before(tmp_path: Path) -> None:
    with Program([sys.executable, "-c", "raise SystemExit(7)"], tmp_path, ENVIRONMENT, QUICK) as program:
        while program.is_running:
            time.sleep(0.01)
        assert program.stop().status == 7


def test_it_ends_when_the_caller_is_cancelled(tmp_path: Path) -> None:
    cancelled = threading.Event()
    with Program([sys.executable, "-c", f"pass{_SLEEP}"], tmp_path, ENVIRONMENT, Limits(30), cancelled) as program:
        cancelled.set()
        while program.is_running:
            time.sleep(0.01)


def test_what_starting_raises_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_processes(*_: object, **__: object) -> None:
        raise OSError("no processes left")

    monkeypatch.setattr("mlwright.compute.service.subprocess.Popen", no_processes)
    with Program(["true"], tmp_path, ENVIRONMENT, QUICK) as program, pytest.raises(OSError, match="no processes left"):
        program.stop()
