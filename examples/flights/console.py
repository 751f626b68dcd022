"""Plain progress lines and a stopwatch per phase."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO


@dataclass
class Console:
    """Numbered progress lines on one stream; `seconds` holds the duration of every finished phase.

    Lines may come from more than one thread (the data is read while libraries are imported).
    """

    phases: int
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    seconds: dict[str, float] = field(default_factory=dict)
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Announce a phase, time it, and remember the time even when it fails."""
        self.number += 1
        self.line(f"[{self.number:>2}/{self.phases}] {name} ...")
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 2)

    def note(self, text: str) -> None:
        """One indented line below the current phase."""
        self.line(f"        {text}")

    def line(self, text: str = "") -> None:
        """One whole line, flushed, so that progress is seen through pipes too."""
        with self.lock:
            print(text, file=self.stream, flush=True)
