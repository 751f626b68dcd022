"""Virtual environments for models: built by uv from what the models say they need, kept by what they were built from.

An environment is built in a folder of its own and then moved into its place, so that there is none by halves. Whoever
uses one holds a shared lock on it; garbage collection takes an exclusive one.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlwright.compute import indexes, locks, service
from mlwright.compute.spec import Environment, Limits, Lock, Outcome
from mlwright.kernel.errors import NoEnvironment

_STAMP, _USED = "mlwright.json", "mlwright.lock"
_UNFINISHED, _REMOVED = ".building-", ".removed-"
#: Longer than any build may take: what is older was left behind.
_DEAD_S = 2 * 86_400.0
_FIND = Limits(seconds=60.0)
_OLDEST_MINOR, _NEWEST_MINOR = 8, 15
_EXPORT = ("export", "--frozen", "--no-config", "--no-default-groups", "--no-emit-project", "--no-header")
_MOST_OUTPUT = 2_000
_TRIES = 3
#: Packages that are looked up again without those that could not be had.
_MOST_REFUSED = 25


class Freed(NamedTuple):
    """What garbage collection removed, or would."""

    environments: int
    bytes: int


class Lacks(NamedTuple):
    """What cannot be had.

    Attributes:
        python: a version of Python that is not installed; empty when it is.
        packages: why, by the name of the package.
    """

    python: str
    packages: dict[str, str]


class Environments:
    """The environments below a folder.

    Args:
        folder: where they are kept.
        variables: the environment in which uv runs, with its settings and pip's.
        now_s: tells Unix time in seconds, by which unused environments are judged.
    """

    def __init__(
        self, folder: Path, variables: Mapping[str, str] = os.environ, now_s: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._variables = variables
        self._now_s = now_s
        self._interpreters: dict[str, str] = {}

    @contextlib.contextmanager
    def ready(
        self,
        model: Path,
        limits: Limits,
        *,
        builds: bool = False,
        exact: bool = False,
        cancelled: service.Flag | None = None,
    ) -> Iterator[Environment]:
        """The environment for the model in a folder, kept for the length of the block. Blocks while it is built.

        Args:
            limits: of building it.
            builds: whether packages without a wheel are built, which runs their code.
            exact: whether what is named is all there is to be: what it needs in turn is not looked up.
            cancelled: when set, building ends.

        Raises NotFound when the model does not say what it needs, Invalid when it says it in a way that is refused,
        NoEnvironment when it cannot be had.
        """
        lock = self._lock(model, cancelled)
        python = self._interpreter(lock.python, cancelled)
        options = [] if builds else ["--only-binary", ":all:"]
        options += ["--no-deps"] if exact else []
        place = self._folder / _digest(lock, python, options, builds=builds)
        for _ in range(_TRIES):
            if not _is_whole(place):
                self._build(lock, python, place, limits, options, builds=builds, cancelled=cancelled)
            with _held(place, fcntl.LOCK_SH) as held:
                if held and _is_whole(place):
                    os.utime(place / _USED, (self._now_s(),) * 2)
                    found = msgspec.json.decode((place / _STAMP).read_bytes(), type=Environment)
                    yield msgspec.structs.replace(found, folder=str(place))
                    return
            if place.exists() and not _is_whole(place):  # somebody has been in there
                shutil.rmtree(_aside(place), ignore_errors=True)
        raise NoEnvironment("the environment is removed as fast as it is built")

    def lacks(
        self, folder: Path, limits: Limits, *, builds: bool = False, cancelled: service.Flag | None = None
    ) -> Lacks:
        """What cannot be had of an exact list of packages in a folder, all of it at once. Installs nothing.

        Raises NotFound and Invalid as `ready` does.
        """
        lock = locks.read(folder)
        minor = ".".join(lock.python.split(".")[:2])
        python = self._found([lock.python, minor] if lock.python else [""], cancelled)
        if python is None:
            return Lacks(lock.python, {})
        refused: dict[str, str] = {}
        wanted = {_named(line).lower(): line for line in lock.requirements}
        with tempfile.TemporaryDirectory(prefix="mlwright-lacks-") as name:
            target = Path(name, "requirements.txt")
            command = [*self._install(Path(python)), "--dry-run", "--no-deps", "--target", str(Path(name, "none"))]
            command += ["-r", str(target)] + ([] if builds else ["--only-binary", ":all:"])
            while wanted:
                target.write_text("\n".join(wanted.values()) + "\n", encoding="utf-8")
                outcome = self._uv(command, limits, cancelled)
                if outcome.succeeded:
                    break
                said = _last(outcome, limits)
                culprits = [each for each in wanted if _is_named(each, said)] if len(refused) < _MOST_REFUSED else []
                if not culprits:
                    refused["the lock"] = said
                    break
                refused |= {wanted.pop(each): said for each in culprits}
        return Lacks("", refused)

    def collect(self, unused_s: float, *, dry: bool = False) -> Freed:
        """Remove environments that nobody has used for so long, and what killed builders left behind."""
        freed = Freed(0, 0)
        for place in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            with contextlib.suppress(FileNotFoundError):  # its builder, or another collector, was faster
                size = self._collected(place, unused_s, dry=dry)
                freed = freed if size is None else Freed(freed.environments + 1, freed.bytes + size)
        return freed

    def _collected(self, place: Path, unused_s: float, *, dry: bool) -> int | None:
        """Remove one folder if nobody needs it. Returns its bytes, or None when it stays."""
        left_behind = place.name.startswith((_UNFINISHED, _REMOVED))
        with _held(place, fcntl.LOCK_EX | fcntl.LOCK_NB) if not left_behind else contextlib.nullcontext(True) as held:
            used_s = (place if left_behind else place / _USED).stat().st_mtime
            if not held or self._now_s() - used_s < (_DEAD_S if left_behind else unused_s):
                return None
            size = _bytes(place)
            if not dry:
                shutil.rmtree(_aside(place), ignore_errors=True)
            return size

    def _lock(self, model: Path, cancelled: service.Flag | None) -> Lock:
        """What the model needs; a lock of uv is written as requirements first, without asking any index."""
        if not ((model / locks.UV_LOCK).is_file() and (model / "pyproject.toml").is_file()):
            return locks.read(model)
        with tempfile.TemporaryDirectory(prefix="mlwright-lock-") as folder:
            target = Path(folder) / "requirements.txt"
            command = [*_EXPORT, "--project", str(model), "--output-file", str(target)]
            exported = self._uv(command, _FIND, cancelled)
            if not exported.succeeded:
                raise NoEnvironment(f"{locks.UV_LOCK} cannot be read: {_last(exported, _FIND)}", path=locks.UV_LOCK)
            return locks.read(model, target)

    def _build(
        self,
        lock: Lock,
        python: str,
        place: Path,
        limits: Limits,
        options: Sequence[str],
        *,
        builds: bool,
        cancelled: service.Flag | None,
    ) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=self._folder, ignore_cleanup_errors=True) as name:
            work, new = Path(name), Path(name) / "environment"
            (work / "requirements.txt").write_text("\n".join(lock.requirements) + "\n", encoding="utf-8")
            (work / "constraints.txt").write_text("\n".join(lock.constraints) + "\n", encoding="utf-8")
            made = self._uv(["venv", "--no-project", "--relocatable", "--python", python, str(new)], _FIND, cancelled)
            if not made.succeeded:
                raise NoEnvironment(f"uv could not make an environment: {_last(made, _FIND)}")
            command = [*self._install(new / "bin" / "python"), "--quiet", *options]
            command += ["-r", str(work / "requirements.txt"), "-c", str(work / "constraints.txt")]
            installed = self._uv(command, limits, cancelled)
            if not installed.succeeded:
                raise _not_installed(lock, installed, limits, builds=builds)
            _stamp(new, lock)
            with contextlib.suppress(OSError):  # somebody else was faster: theirs is as good
                new.rename(place)

    def _interpreter(self, asked: str, cancelled: service.Flag | None) -> str:
        """The Python of the asked version, else one of its minor version, else one of the nearest."""
        if asked not in self._interpreters:
            python = self._found(_candidates(asked), cancelled)
            if python is None:
                message = f"there is no Python {asked}, nor any near it"
                raise NoEnvironment(message, hint="install one: uv python install")
            self._interpreters[asked] = python
        return self._interpreters[asked]

    def _found(self, versions: Sequence[str], cancelled: service.Flag | None) -> str | None:
        """The Python of the first version that there is; any, where the version is empty."""
        for version in versions:
            asked = [version] if version else []
            found = self._uv(["python", "find", "--system", "--no-python-downloads", *asked], _FIND, cancelled)
            lines = [line for line in found.output.splitlines() if os.access(line, os.X_OK)]
            if found.succeeded and lines:
                return lines[-1]
        return None

    def _install(self, python: Path) -> list[str]:
        """The beginning of a command that installs packages for a Python."""
        command = ["pip", "install", "--python", str(python), "--no-progress"]
        return [*command, *(["--no-index"] if "UV_NO_INDEX" in indexes.variables(self._variables) else [])]

    def _uv(self, arguments: Sequence[str], limits: Limits, cancelled: service.Flag | None) -> Outcome:
        """Run uv where no project of somebody's is near."""
        from uv import find_uv_bin  # a server that builds no environment need not know

        try:
            program = find_uv_bin()
        except FileNotFoundError as error:
            raise NoEnvironment("the program uv is missing", hint="pip install uv, as mlwright does") from error
        with tempfile.TemporaryDirectory(prefix="mlwright-uv-") as folder:
            variables = {**indexes.variables(self._variables), "NO_COLOR": "1"}
            return service.run([program, *arguments], Path(folder), variables, limits, cancelled)


def _candidates(asked: str) -> list[str]:
    """Versions of Python to look for, the best first; ours, where none is asked for."""
    version = asked or f"{sys.version_info.major}.{sys.version_info.minor}"
    major, minor, *patch = version.split(".")
    nearest = sorted(range(_OLDEST_MINOR, _NEWEST_MINOR + 1), key=lambda each: (abs(each - int(minor)), -each))
    return [version] * bool(patch) + [f"{major}.{each}" for each in nearest]


def _digest(lock: Lock, python: str, options: Sequence[str], *, builds: bool) -> str:
    parts = (lock, str(Path(python).resolve()), sysconfig.get_platform(), builds, options)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _stamp(folder: Path, lock: Lock) -> None:
    """Write down what the environment is. It is the last thing that is written."""
    configured = re.search(
        r"^version_info = (\d+\.\d+\.\d+)", (folder / "pyvenv.cfg").read_text(encoding="utf-8"), re.M
    )
    names = (path.name.removesuffix(".dist-info") for path in folder.glob("lib/python*/site-packages/*.dist-info"))
    packages = sorted(name.replace("-", "==", 1) for name in names)
    made = Environment("", configured[1] if configured else "", lock.python, packages, lock.unavailable)
    (folder / _USED).touch()
    (folder / _STAMP).write_bytes(msgspec.json.encode(made))


def _not_installed(lock: Lock, outcome: Outcome, limits: Limits, *, builds: bool) -> NoEnvironment:
    """Which requirement it is, and why, as far as uv says."""
    said = _last(outcome, limits)
    names = (_named(line) for line in lock.requirements)
    culprit = next((name for name in names if re.search(rf"\b{re.escape(name)}\b", said, re.I)), "")
    about = f"{lock.source}: {culprit} cannot be installed" if culprit else f"{lock.source} cannot be installed"
    unbuilt = not builds and "no usable wheels" in said
    hint = "only wheels are installed; allow sourceDistributions, which runs code of the package" if unbuilt else ""
    return NoEnvironment(f"{about}: {said}", path=lock.source, hint=hint)


def _named(requirement: str) -> str:
    """The name that a requirement begins with."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _is_named(name: str, said: str) -> bool:
    """Whether uv's words are about this package: "x was not found", "no version of x==1", "x==1 has no wheels"."""
    spelled = re.sub(r"[-_.]+", "[-_.]+", name)
    return re.search(rf"(?<![\w.-]){spelled}(?=\s|==|\[)", said, re.I) is not None


def _last(outcome: Outcome, limits: Limits) -> str:
    """Why it did not end well: in the words of the program if it had any."""
    said = " ".join(outcome.output.rpartition("error: ")[2][-_MOST_OUTPUT:].split())
    return said if outcome.status and said else f"{outcome.explain(limits)} {said}".strip()


def _is_whole(place: Path) -> bool:
    return (place / _STAMP).is_file() and (place / _USED).is_file()


@contextlib.contextmanager
def _held(place: Path, how: int) -> Iterator[bool]:
    """Hold the lock of an environment; False when it is gone, or somebody else holds it."""
    try:
        descriptor = os.open(place / _USED, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, how)
        held = os.fstat(descriptor).st_ino == (place / _USED).stat().st_ino
    except OSError:
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)


def _aside(place: Path) -> Path:
    """Give a folder a name under which nobody looks for it, at once."""
    target = place.with_name(f"{_REMOVED}{place.name.removeprefix(_REMOVED)}")
    return place.rename(target)


def _bytes(folder: Path) -> int:
    """Bytes that only this folder takes: files that the cache of uv has too are not counted."""
    found = (path.lstat() for path in folder.rglob("*"))
    return sum(each.st_blocks * 512 for each in found if each.st_nlink == 1)
