"""How much a scan may take of this machine, and what is raised when a file must be refused at once."""

import time
from collections.abc import Callable

import msgspec

from mlwright.security.scanning.rules import finding
from mlwright.security.scanning.spec import Finding

MEBI = 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds for one file. Going beyond one refuses the file.

    Attributes:
        ratio: how many times larger it may become when unpacked; below `expanded_floor` nobody counts.
        expanded_floor: bytes of unpacked content that are always allowed.
        expanded_max: bytes of unpacked content that are never exceeded.
        depth: how many containers may lie in each other.
        entries: members of all containers together.
        seconds: wall-clock time.
        values: entries of a pickle's stack, and of its memo.
        findings: after so many findings a file is left: it is refused anyway.
        spool: bytes of an inner archive that are kept on the disk to look into it.
        secrets: whether keys, tokens and passwords are looked for too.
    """

    ratio: int = 200
    expanded_floor: int = 256 * MEBI
    expanded_max: int = 256 * 1024 * MEBI
    depth: int = 8
    entries: int = 200_000
    seconds: float = 900.0
    values: int = 10_000_000
    findings: int = 25
    spool: int = 16 * 1024 * MEBI
    secrets: bool = False


class RefusedError(Exception):
    """The file is to be refused, and looking further at this member makes no sense."""

    def __init__(self, rule: str, message: str, *, offset: int = -1, target: str = "", opcodes: str = "") -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.offset = offset
        self.target = target
        self.opcodes = opcodes

    def finding(self, member: str) -> Finding:
        """What the report says about it."""
        return finding(
            self.rule, self.message, member=member, offset=self.offset, target=self.target, opcodes=self.opcodes
        )


class TruncatedError(RefusedError):
    """There are fewer bytes than were announced."""


class OverBudgetError(RefusedError):
    """A limit of the whole file is reached: nothing more of it is looked at."""


class Budget:
    """What is left of the limits for one file."""

    def __init__(self, limits: Limits, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.unread = 0
        self.entries = 0
        self._clock = clock
        self._expanded = 0
        self._allowed = min(limits.expanded_max, max(limits.expanded_floor, limits.ratio * size))
        self._deadline = clock() + limits.seconds

    def check_time(self) -> None:
        """Raises OverBudgetError when the time is up."""
        if self._clock() > self._deadline:
            raise OverBudgetError("limit-time", f"not finished after {self.limits.seconds:g} seconds")

    def expand(self, count: int) -> None:
        """Take note of unpacked bytes. Raises OverBudgetError when they are too many."""
        self._expanded += count
        if self._expanded > self._allowed:
            raise OverBudgetError(
                "limit-expansion", f"more than {self._allowed:,} bytes unpacked, which is out of proportion"
            )

    def enter(self) -> None:
        """Take note of a member. Raises OverBudgetError when there are too many."""
        self.entries += 1
        if self.entries > self.limits.entries:
            raise OverBudgetError("limit-entries", f"more than {self.limits.entries:,} entries")

    def check_depth(self, depth: int) -> None:
        """Raises OverBudgetError for a member that lies too deep."""
        if depth > self.limits.depth:
            raise OverBudgetError("limit-depth", f"more than {self.limits.depth} containers in each other")
