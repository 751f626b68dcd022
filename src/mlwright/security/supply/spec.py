"""The words of the supply chain."""

from enum import IntEnum

import msgspec


class Pinned(msgspec.Struct, frozen=True, order=True):
    """A distribution that a model needs, with the only version that will do. `name` is in PyPI's normal form."""

    name: str
    version: str
    source: str


class Unpinned(msgspec.Struct, frozen=True, order=True):
    """A requirement that leaves open what will be installed, or cannot be read."""

    name: str
    requirement: str
    source: str


class Needs(msgspec.Struct, frozen=True):
    """What the files of a model say that it needs, each once."""

    pinned: list[Pinned]
    unpinned: list[Unpinned]
    sources: list[str]


class Danger(IntEnum):
    """How bad an advisory is; one that does not say counts as the worst."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4
    UNKNOWN = 5


class Match(msgspec.Struct, frozen=True):
    """An advisory that is about a pinned distribution.

    Attributes:
        aliases: other names of the same, such as CVE-2025-1234.
        fixed: versions in which it is gone; empty when there is none.
    """

    distribution: Pinned
    id: str
    aliases: list[str]
    summary: str
    danger: Danger
    fixed: list[str]
