"""The words of running programs."""

import signal
from enum import StrEnum
from pathlib import Path

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What a program and everything it starts may use together.

    Attributes:
        seconds: wall-clock time.
        memory_bytes: resident memory; shared pages count once per process.
        processes: at a time, threads not counted.
        printed_bytes: standard output and error together.
        disk_bytes: what is written below its folder, and the size of any file wherever it lies; 0 is without limit.
    """

    seconds: float = 300.0
    memory_bytes: int = 2 << 30
    processes: int = 64
    printed_bytes: int = 64 << 20
    disk_bytes: int = 0


class Ending(StrEnum):
    """Why a program is not running any more."""

    EXITED = "exited"
    KILLED = "killed"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    PROCESSES = "processes"
    PRINTED = "printed"
    DISK = "disk"
    CANCELLED = "cancelled"
    NOT_STARTED = "not started"


class Outcome(msgspec.Struct, frozen=True):
    """How a program ran.

    Attributes:
        ending: why it ended.
        status: its exit status; of one that a signal killed, 128 and the signal's number; None if we killed it.
        output: what it printed, standard output and error together; the middle is left out when it is long.
        output_bytes: how much it printed.
        seconds: how long it ran.
        peak_memory_bytes: most resident memory of the whole tree that was seen.
        problem: why it could not be started.
    """

    ending: Ending
    status: int | None = None
    output: str = ""
    output_bytes: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    problem: str = ""

    @property
    def succeeded(self) -> bool:
        """It ended by itself and said that all is well."""
        return self.ending is Ending.EXITED and self.status == 0

    def explain(self, limits: Limits) -> str:
        """Why it did not succeed, in words."""
        match self.ending:
            case Ending.EXITED:
                return f"it ended with exit status {self.status}"
            case Ending.KILLED if self.status == 128 + signal.SIGXFSZ:
                return f"it wrote a file larger than {limits.disk_bytes / (1 << 20):,.0f} MiB"
            case Ending.KILLED:
                return f"signal {(self.status or 128) - 128} killed it (exit status {self.status})"
            case Ending.TIMEOUT:
                return f"it took longer than {limits.seconds:g} s"
            case Ending.MEMORY:
                return f"it used more than {limits.memory_bytes / (1 << 20):,.0f} MiB of memory"
            case Ending.PROCESSES:
                return f"it started more than {limits.processes} processes"
            case Ending.PRINTED:
                return f"it printed more than {limits.printed_bytes / (1 << 20):,.0f} MiB"
            case Ending.DISK:
                return f"it wrote more than {limits.disk_bytes / (1 << 20):,.0f} MiB into its folder"
            case Ending.CANCELLED:
                return "it was cancelled"
            case Ending.NOT_STARTED:
                return f"it could not be started: {self.problem}"


class Lock(msgspec.Struct, frozen=True):
    """What a model needs to run, as its files say.

    Attributes:
        source: the file that says so.
        requirements: packages, one a line, in pip's words.
        constraints: bounds on packages that need not be there.
        python: version of Python; empty when nothing says.
        unavailable: what only conda has, and no Python package index.
    """

    source: str
    requirements: list[str]
    constraints: list[str] = []
    python: str = ""
    unavailable: list[str] = []


class Environment(msgspec.Struct, frozen=True):
    """A virtual environment that was built from a lock.

    Attributes:
        folder: where it is.
        python: version of its Python, such as "3.11.7".
        asked: the version of Python that the lock asks for; empty when it asks for none.
        packages: what is installed, as `name==version`.
        unavailable: what the lock asks for and nobody can install.
    """

    folder: str
    python: str
    asked: str
    packages: list[str]
    unavailable: list[str] = []

    @property
    def interpreter(self) -> Path:
        """The program that runs Python in it."""
        return Path(self.folder) / "bin" / "python"

    @property
    def is_as_asked(self) -> bool:
        """Whether its Python is of the minor version that was asked for: patches do not change what runs."""
        return not self.asked or self.asked.split(".")[:2] == self.python.split(".")[:2]
