"""What the readers of each format get: a way to look into what they find inside, and to say what is wrong."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from mlwright.security.scanning.limits import Budget
from mlwright.security.scanning.spec import Finding
from mlwright.security.scanning.streams import Source, View


class Looker(Protocol):
    """Looks into one file and all that is inside of it. `name` is the file's own, without its folder."""

    name: str
    budget: Budget

    def look(self, source: Source, member: str, depth: int, *, role: str = "") -> str:
        """Look into a part; returns its kind. Raises OverBudgetError.

        Args:
            source: its bytes.
            member: its path inside the file.
            depth: how many containers it lies in.
            role: "storage" for numbers without a form of their own, such as the tensors of PyTorch.
        """
        ...

    def keep(self, found: Finding) -> None:
        """Keep a finding. Raises OverBudgetError when there are enough."""
        ...

    def note(self, rule: str, message: str, *, member: str, offset: int = -1, target: str = "") -> None:
        """Keep a finding. Raises OverBudgetError when there are enough."""
        ...

    def seekable(self, source: Source) -> AbstractContextManager[View]:
        """The same bytes, readable anywhere: what comes out of a decompressor is put on the disk for that time.

        Raises OverBudgetError when they are too many.
        """
        ...


def below(member: str, name: str) -> str:
    """The path of an entry inside a member."""
    return f"{member}!{name}" if member else name
