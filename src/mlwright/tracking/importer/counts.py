"""What a move counts, and what it tells while it goes on."""

from typing import Protocol

import msgspec

#: In the order they are shown.
THINGS = ("experiments", "runs", "params", "tags", "points", "datasets", "models", "files", "bytes")


class Counts(msgspec.Struct):
    """How many of each thing. `datasets` are inputs of runs, `points` are of run metrics, each counted once."""

    experiments: int = 0
    runs: int = 0
    params: int = 0
    tags: int = 0
    points: int = 0
    datasets: int = 0
    models: int = 0
    files: int = 0
    bytes: int = 0

    def add(self, **more: int) -> None:
        """Add to the named counts."""
        for name, count in more.items():
            setattr(self, name, getattr(self, name) + count)


class Row(msgspec.Struct, frozen=True):
    """One line of the final comparison."""

    thing: str
    source: int
    imported: int
    equal: bool


class Place(msgspec.Struct, frozen=True):
    """Where an experiment went; no id when it would be created."""

    source_id: str
    name: str
    experiment_id: int | None


class Outcome(msgspec.Struct, frozen=True):
    """How a move ended.

    Attributes:
        verified: whether everything of the source is here, by counts and digests.
        changes: experiments, runs, models, points and files that were new or different.
        differing: ids of runs and models that are not equal.
    """

    verified: bool
    changes: Counts
    rows: list[Row]
    experiments: list[Place]
    differing: list[str]


class Progress(Protocol):
    """Is told how a move goes on."""

    def experiment(self, name: str, number: int, total: int) -> None:
        """The move of an experiment begins; it is the `number`th of `total`."""
        ...

    def counted(self, source: Counts) -> None:
        """So much of the source was read so far."""
        ...
