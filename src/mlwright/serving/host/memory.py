"""What processes take of the machine's memory, and what they may."""

import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import NamedTuple

_GPU = Path("/dev/nvidiactl")
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Address space that is reserved without being used.
_SLACK = 512 << 20


class Memory(NamedTuple):
    """Of a process, in bytes.

    Attributes:
        private: that nobody else has: what would be free if it ended.
        data: that it has reserved for itself; the kernel limits this.
    """

    private: int
    data: int


def of_process(pid: int) -> Memory:
    """Zero for a process that is gone. Costs some 20 µs."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
    except OSError:
        return Memory(0, 0)
    resident, shared, data = int(fields[1]), int(fields[2]), int(fields[5])
    return Memory((resident - shared) * _PAGE, data * _PAGE)


def give_way(pid: int) -> None:
    """Where the machine has no memory left, the kernel ends this process rather than others."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_bytes(b"500")


def limit(pid: int, more: int) -> None:
    """From now on it may reserve so many bytes more: what asks for more fails, as `MemoryError` in Python.

    Not where there is a GPU: its drivers reserve many times of what they use.
    """
    if _GPU.exists():
        return
    most = of_process(pid).data + max(more, 0) + _SLACK
    with contextlib.suppress(ProcessLookupError, PermissionError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        ceiling = sys.maxsize if hard == resource.RLIM_INFINITY else hard
        resource.prlimit(pid, resource.RLIMIT_DATA, (min(most, ceiling), hard))
