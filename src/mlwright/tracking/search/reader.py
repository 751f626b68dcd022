"""What a search of tracking needs of a transaction."""

from typing import Protocol

from mlwright.tracking.service import waiting


class Reader(waiting.Reader, Protocol):
    """A transaction that only reads."""

    @property
    def dialect(self) -> str: ...
