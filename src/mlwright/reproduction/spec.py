"""The words of reproduction. Times are Unix milliseconds."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

#: Tags of runs. `EXECUTION_TAG` is the same on all runs that one execution of a command started.
VERDICT_TAG = "mlwright.reproduction.verdict"
EXECUTION_TAG, COMMAND_TAG = "mlwright.execution", "mlwright.command"
COMMIT_TAG, DIRTY_TAG = "mlwright.git.commit", "mlwright.git.dirty"
PYTHON_TAG, PLATFORM_TAG = "mlwright.python", "mlwright.platform"
#: Files of runs: what was recorded, and what a reproduction found.
FOLDER, REPORTS = "environment", "reproduction"
LOCK, DOCUMENT, DIFF = "requirements.lock.txt", "environment.json", "dirty.diff"


class Outcome(StrEnum):
    """What became of a reproduction; `READY` when nothing is missing and nothing was run."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    CANNOT = "cannot"
    READY = "ready"


class Likeness(StrEnum):
    """How two values of the same thing compare.

    `APART`: they are of a kind that differs by nature, such as times, and do not count.
    """

    SAME = "same"
    WITHIN = "within"
    DIFFERS = "differs"
    APART = "apart"


class LocalPackage(msgspec.Struct, frozen=True):
    """A package that was installed from a folder. `path` is relative to the repository; "" when it was elsewhere."""

    name: str
    version: str
    path: str = ""
    in_repository: bool = False


class Record(msgspec.Struct, frozen=True):
    """What a run says about how it came about.

    Attributes:
        command: program and arguments; empty when nothing says it.
        script: what MLflow knows of the command: the name of the script.
        folder: where it ran, relative to the root of the repository.
        commit: empty when nothing says it.
        origin: the address of the repository, for people.
        dirty: whether there were changes that are not in the commit.
        diff: these changes; None when they were not kept.
        untracked: files that git did not know, and that are not in `diff`.
        lock: packages, one a line.
        whole: whether the lock lists everything, or only what is needed directly.
        python: version of Python; empty when nothing says it.
        data: digests of data files, by path.
        settings: environment variables and their values.
        secrets: names of environment variables that it needs, too.
    """

    run_id: str
    name: str
    experiment_id: int
    status: str
    command: list[str] = []
    script: str = ""
    folder: str = ""
    commit: str = ""
    origin: str = ""
    dirty: bool = False
    diff: str | None = None
    untracked: list[str] = []
    lock: list[str] = []
    whole: bool = True
    local: list[LocalPackage] = []
    python: str = ""
    data: dict[str, str] = {}
    settings: dict[str, str] = {}
    secrets: list[str] = []


class Missing(msgspec.Struct, frozen=True):
    """Something that a reproduction needs and does not have, and what helps."""

    what: str
    detail: str
    hint: str = ""


class Likened(msgspec.Struct, frozen=True):
    """One thing of the original beside the same of its reproduction; None for what is not there."""

    kind: str
    name: str
    before: float | str | None
    after: float | str | None
    likeness: Likeness
    note: str = ""


class Report(msgspec.Struct, frozen=True):
    """A reproduction.

    Attributes:
        reproduction: the run that it became; empty when nothing was run.
        missing: why it cannot be reproduced.
        notes: what is uncertain about it.
        likened: every comparison.
    """

    run_id: str
    name: str
    outcome: Outcome
    reason: str
    reproduction: str = ""
    experiment_id: int = 0
    command: list[str] = []
    commit: str = ""
    python: str = ""
    packages: int = 0
    seconds: float = 0.0
    missing: list[Missing] = []
    notes: list[str] = []
    likened: list[Likened] = []


class Tolerance(NamedTuple):
    """How far a metric may be from the original: the larger of both bounds."""

    absolute: float = 0.0
    relative: float = 0.0


class Reproduction(msgspec.Struct, frozen=True):
    """A run that repeats another one, with its outcome; empty while it is not known."""

    run_id: str
    name: str
    status: str
    start_ms: int
    outcome: str
