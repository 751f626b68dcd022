"""Whether a run can be repeated here: everything that is missing, found before anything of it runs.

Code is checked out and changed in a scratch folder, and packages are looked up; no program of the run's is started.
"""

import os
import shutil
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from mlwright.compute.service import Flag
from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.errors import MlwrightError
from mlwright.reproduction import git, recording
from mlwright.reproduction.git import Repository
from mlwright.reproduction.spec import Missing, Record

_LOOK_UP = Limits(seconds=120.0)
#: Options of Python that take another word.
_TAKES_WORD = ("-W", "-X", "--check-hash-based-pycs")


class Lacks(Protocol):
    """What cannot be had: a version of Python, and packages with the reason."""

    @property
    def python(self) -> str: ...
    @property
    def packages(self) -> dict[str, str]: ...


class Environments(Protocol):
    """Builds virtual environments; blocks."""

    def lacks(self, folder: Path, limits: Limits, *, builds: bool = False, cancelled: Flag | None = None) -> Lacks:
        """What cannot be had of the packages that a folder lists."""

    def ready(
        self,
        model: Path,
        limits: Limits,
        *,
        builds: bool = False,
        exact: bool = False,
        cancelled: Flag | None = None,
    ) -> AbstractContextManager[Environment]:
        """The environment that a folder asks for, kept for the length of the block. Raises NoEnvironment."""


class Given(NamedTuple):
    """What the user says, in place of what the run says or does not say.

    Attributes:
        here: the folder where the user is.
        repository: folder or address; the repository around `here` when empty.
        builds: whether packages without a wheel are built, which runs their code.
    """

    here: Path
    repository: str = ""
    commit: str = ""
    command: Sequence[str] = ()
    lock: Path | None = None
    builds: bool = False


class Plan(msgspec.Struct):
    """A run that is to be repeated.

    Attributes:
        record: what it says, with what the user says.
        scratch: a folder of its own.
        code: where the code is, or is to be.
        missing: why it cannot be repeated.
        notes: what is uncertain.
        outside: data that is read where it lies: digests by path.
        checked_out: whether the code is there.
    """

    record: Record
    scratch: Path
    code: Path
    missing: list[Missing]
    notes: list[str]
    outside: dict[Path, str]
    checked_out: bool = False

    @property
    def folder(self) -> Path:
        """Where the command runs."""
        return self.code / self.record.folder

    @property
    def needs(self) -> Path:
        """The folder that lists the packages."""
        return self.scratch / "needs"


def prepare(
    record: Record,
    given: Given,
    scratch: Path,
    environments: Environments,
    variables: Mapping[str, str],
    cancelled: Flag,
) -> Plan:
    """Bring together what the run needs, and note all that is missing. Blocks.

    Args:
        scratch: an empty folder.
        variables: the user's environment.
        cancelled: when set, looking ends.
    """
    taken = _with(record, given)
    plan = Plan(taken, scratch, scratch / "code", [], [], {})
    repository = _code(plan, given)
    _data(plan, [repository.folder / taken.folder] if repository else [], given.here)
    _command(plan)
    _packages(plan, given, environments, cancelled)
    lacking = [name for name in taken.secrets if not variables.get(name)]
    for name in lacking:
        plan.missing.append(Missing("environment variable", f"{name} is not set", f"export {name}=…"))
    if taken.status == "RUNNING":
        plan.notes.append("the run says that it is still running: what it has logged so far is compared")
    return plan


def _with(record: Record, given: Given) -> Record:
    lock = given.lock.read_text(encoding="utf-8").splitlines() if given.lock else []
    lines = [line.strip() for line in lock if line.strip() and not line.strip().startswith("#")]
    changed: dict[str, object] = {}
    if given.commit:
        # The changes were made to another commit.
        changed |= {"commit": given.commit, "dirty": False, "diff": None, "untracked": []}
    if given.command:
        changed["command"] = list(given.command)
    if lines:
        changed |= {"lock": lines, "whole": True}
    return msgspec.structs.replace(record, **changed)


# --- code -----------------------------------------------------------------------------------------------------


def _code(plan: Plan, given: Given) -> Repository | None:
    """Check the code out. Returns the repository that it came from."""
    record = plan.record
    where = f"; the run names {record.origin}" if record.origin else ""
    if not git.is_commit(record.commit):
        detail = "the run does not say which commit it ran" if not record.commit else f"{record.commit!r} is no commit"
        plan.missing.append(Missing("commit", detail, "give it with --commit"))
        return None
    try:
        address = given.repository
        repository = git.fetch(address, plan.scratch / "fetched") if address else Repository.around(given.here)
    except MlwrightError as error:
        plan.missing.append(Missing("repository", error.message, "give another one with --repository"))
        return None
    if repository is None:
        detail = f"{given.here} lies in no git repository{where}"
        plan.missing.append(Missing("repository", detail, "go there, or give it with --repository"))
        return None
    if not repository.has(record.commit):
        detail = f"commit {record.commit} is not in {address or repository.folder}{where}"
        plan.missing.append(Missing("commit", detail, "fetch it there, or give another repository with --repository"))
        return repository
    try:
        repository.check_out(record.commit, plan.code)
        plan.checked_out = True
    except MlwrightError as error:
        plan.missing.append(Missing("commit", error.message))
        return repository
    _changes(plan)
    return repository


def _changes(plan: Plan) -> None:
    record, code = plan.record, Repository(plan.code)
    if record.diff:
        problem = code.apply(record.diff)
        if problem:
            detail = f"the changes do not apply to commit {record.commit[:10]}: {problem}"
            plan.missing.append(Missing("uncommitted changes", detail))
    elif record.dirty and record.diff is None:
        detail = "the run had changes that were not committed, and they were not kept, or not whole"
        plan.missing.append(Missing("uncommitted changes", detail, "give the commit that has them with --commit"))
    if record.untracked:
        named = ", ".join(record.untracked[:5]) + (" …" if len(record.untracked) > 5 else "")
        plan.notes.append(f"files that git did not know were not kept: {named}")
    if (plan.code / ".gitmodules").exists():
        plan.missing.append(Missing("submodules", "the code has git submodules, which are not fetched"))
    if not plan.folder.is_dir():
        plan.missing.append(Missing("folder", f"the code has no folder {record.folder!r}"))


# --- data -----------------------------------------------------------------------------------------------------


def _data(plan: Plan, places: Sequence[Path], here: Path) -> None:
    """Lay the data into the code where it was; what lay elsewhere is read there."""
    for path, digest in plan.record.data.items():
        if "/" not in path:
            plan.notes.append(f"nobody says where {path} lay: it is not looked at")
            continue
        problem = _lay(plan, path, digest, places, here)
        if problem:
            plan.missing.append(Missing("data", problem, "bring back the file that the run read"))


def _lay(plan: Plan, path: str, digest: str, places: Sequence[Path], here: Path) -> str:
    """Make one file available. Returns why that cannot be done; empty when it is."""
    place = Path(urllib.parse.unquote(path.removeprefix("file://")) if path.startswith("file://") else path)
    if place.is_absolute():
        found = _digest(place)
        plan.outside[place] = digest
        return _problem(path, digest, found)
    target = plan.folder / place
    if not Path(os.path.normpath(target)).is_relative_to(plan.code):
        return f"{path} lies outside of the repository"
    tried = ""
    for candidate in (target, *(folder / place for folder in (*places, here))):
        found = _digest(candidate)
        if found == digest:
            if candidate != target and plan.checked_out:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(candidate, target)
            return ""
        tried = tried or found
    return _problem(path, digest, tried)


def _digest(path: Path) -> str:
    try:
        return recording.digest_of(path) if path.is_file() else ""
    except OSError:
        return ""


def _problem(path: str, digest: str, found: str) -> str:
    if not found:
        return f"{path} is not there"
    return "" if found == digest else f"{path} has changed: it was {digest}, and is {found}"


def changed_outside(plan: Plan) -> list[str]:
    """Data that is not any more what it was when it was checked."""
    return [str(path) for path, digest in plan.outside.items() if _digest(path) != digest]


# --- command and packages -------------------------------------------------------------------------------------


def _command(plan: Plan) -> None:
    record = plan.record
    if not record.command:
        known = (
            f"MLflow knows the script {record.script}, and not its arguments" if record.script else "nothing says it"
        )
        hint = f"give it: --command 'python {record.script}'" if record.script else "give it with --command"
        plan.missing.append(Missing("command", f"the run does not say how it was started: {known}", hint))
        return
    if not plan.checked_out:
        return
    script = script_of(record.command)
    if script and not (plan.folder / script).exists():
        plan.missing.append(Missing("command", f"the code has no file {script}, which the command runs"))
    if record.command[0].startswith(".") and not (plan.folder / record.command[0]).exists():
        plan.missing.append(Missing("command", f"the code has no program {record.command[0]}"))


def script_of(command: Sequence[str]) -> str:
    """The file that a command has Python run; empty when it is none, or it is a module."""
    if not recording.is_python(command[0]):
        return ""
    words = iter(command[1:])
    for word in words:
        if word in _TAKES_WORD:
            next(words, None)
        elif word.startswith("-"):
            if word[1:2] in {"c", "m"} or word == "-":
                return ""
        else:
            return word
    return ""


def _packages(plan: Plan, given: Given, environments: Environments, cancelled: Flag) -> None:
    record = plan.record
    for package in record.local:
        if not package.in_repository:
            detail = f"{package.name}=={package.version} was installed from the folder {package.path}"
            plan.missing.append(Missing("package", detail, "install a released version, and record the run again"))
    if not record.lock:
        hint = "give one with --lock: one package a line, such as name==1.0"
        plan.missing.append(Missing("lock", "the run does not say which packages it had", hint))
        return
    if not record.whole:
        plan.notes.append("only what the logged model needs is known: versions of what that needs in turn may differ")
    if not record.python:
        plan.notes.append("the run does not say which Python it had: the one that is found is used")
    plan.needs.mkdir()
    (plan.needs / "requirements.txt").write_text("\n".join(record.lock) + "\n", encoding="utf-8")
    if record.python:
        (plan.needs / "python_env.yaml").write_text(f"python: '{record.python}'\n", encoding="utf-8")
    try:
        lacks = environments.lacks(plan.needs, _LOOK_UP, builds=given.builds, cancelled=cancelled)
    except MlwrightError as error:
        plan.missing.append(Missing("lock", error.message, error.hint))
        return
    if lacks.python:
        minor = ".".join(lacks.python.split(".")[:2])
        detail = f"Python {lacks.python} is not installed, nor another {minor}"
        plan.missing.append(Missing("interpreter", detail, f"install it: uv python install {minor}"))
    for line, why in lacks.packages.items():
        hint = "it may come as source only: --allow-builds" if "wheels" in why and not given.builds else ""
        plan.missing.append(Missing("package", f"{line}: {_reason(why)}", hint))


def _reason(said: str) -> str:
    """uv's reason without the frame around it."""
    return said.partition("Because ")[2].partition(", we can conclude")[0].partition(" and you require")[0] or said
