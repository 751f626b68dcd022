"""Identifiers as a dependency, so that tests can make them repeatable."""

import os
import random
from typing import Protocol


class Ids(Protocol):
    """Makes identifiers that never repeat."""

    def hex32(self) -> str:
        """32 hexadecimal digits (128 random bits)."""
        ...


class RandomIds:
    """Identifiers from the operating system's randomness."""

    def hex32(self) -> str:
        return os.urandom(16).hex()


class SeededIds:
    """A repeatable sequence of identifiers: for tests."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose, guards nothing

    def hex32(self) -> str:
        return self._random.randbytes(16).hex()
