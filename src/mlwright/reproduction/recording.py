"""What a run needs to be repeated, read before its command starts: code, packages, settings, and digests of data."""

import hashlib
import json
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.reproduction import describe, git, spec
from mlwright.reproduction.git import Repository

_SECONDS = 120
_PIECE_BYTES = 1 << 20


class Recording(NamedTuple):
    """`tags` for runs; `files` are texts by name, for their artifact folder `environment/`."""

    tags: dict[str, str]
    files: dict[str, str]

    def with_data(self, data: Mapping[str, str]) -> "Recording":
        """The same with further digests of data, by path."""
        document = json.loads(self.files[spec.DOCUMENT])
        document["data"] = {**data, **document["data"]}
        return Recording(self.tags, {**self.files, spec.DOCUMENT: _text(document)})


class Asked(NamedTuple):
    """What is to be recorded.

    Attributes:
        command: program and arguments.
        folder: where it runs.
        data: files and folders that it reads.
        settings: environment variables that it gets, with their values.
        secrets: names of environment variables that it needs; their values are not kept.
    """

    command: Sequence[str]
    folder: Path
    data: Sequence[Path] = ()
    settings: Mapping[str, str] = {}
    secrets: Sequence[str] = ()


def record(asked: Asked, path: str | None = None) -> Recording:
    """Describe a command that is about to run. Blocks.

    Args:
        path: where programs are looked for; the variable PATH when not given.

    Raises NotFound when there is no such program or data file.
    """
    python = interpreter(asked.command, path)
    found = installed(python)
    repository = Repository.around(asked.folder)
    document: dict[str, Any] = {
        "python": found["python"],
        "platform": found["platform"],
        "command": shlex.join(_named(asked.command)),
        "git": None,
        "data": {name: digest for each in asked.data for name, digest in digests(each, asked.folder).items()},
        "settings": dict(asked.settings),
        "secrets": list(asked.secrets),
        "local": _local(found["packages"], repository),
    }
    tags = {spec.PYTHON_TAG: str(found["version"]), spec.PLATFORM_TAG: platform.platform()}
    tags[spec.COMMAND_TAG] = document["command"]
    files = {spec.LOCK: _lock(found["packages"])}
    if repository is not None and repository.commit:
        diff, untracked = repository.changes()
        dirty = bool(diff or untracked)
        if len(diff) > git.MOST_DIFF_BYTES:
            raise Invalid(f"the changes that are not committed are {len(diff) >> 20} MiB", hint="commit them first")
        files[spec.DIFF] = "".join(f"# untracked: {name}\n" for name in untracked) + diff
        tags |= {spec.COMMIT_TAG: repository.commit, spec.DIRTY_TAG: "true" if dirty else "false"}
        folder = asked.folder.resolve().relative_to(repository.folder.resolve()).as_posix()
        document["git"] = {
            "commit": repository.commit, "dirty": dirty, "folder": folder, "origin": repository.origin,
        }  # fmt: skip
    return Recording(tags, {**files, spec.DOCUMENT: _text(document)})


def interpreter(command: Sequence[str], path: str | None = None) -> str:
    """The Python whose packages count: the program itself where that is Python, else the one beside it, or on PATH.

    Raises NotFound when there is no such program.
    """
    program = shutil.which(command[0], path=path)
    if program is None:
        raise NotFound(f"there is no program {command[0]!r}", path="COMMAND")
    if is_python(program):
        return program
    beside = [str(Path(program).with_name(name)) for name in ("python", "python3")]
    for candidate in (*beside, "python", "python3"):
        found = shutil.which(candidate, path=path)
        if found:
            return found
    return sys.executable


def is_python(program: str) -> bool:
    """Whether a program is Python, by its name."""
    return Path(program).name.rstrip("0123456789.") in {"python", "pypy"}


def installed(python: str) -> dict[str, Any]:
    """Version, platform and packages of a Python, in its own words. Raises NotFound when it does not answer."""
    command = [python, str(Path(describe.__file__))]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS, cwd="/")
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise NotFound(f"{python} does not tell which packages it has: {error}", path="COMMAND") from error
    return found


def digests(path: Path, folder: Path) -> dict[str, str]:
    """Digests of a file, or of all files in a folder, by their paths from `folder`. Raises NotFound.

    A path always has a slash: in older records, one without is the name of a file that may lie anywhere.
    """
    place = folder / path
    if not place.exists():
        raise NotFound(f"there is no data {path}", path="--input")
    files = sorted(each for each in place.rglob("*") if each.is_file()) if place.is_dir() else [place]
    paths = {(path / each.relative_to(place)).as_posix(): each for each in files}
    return {name if "/" in name else f"./{name}": digest_of(each) for name, each in paths.items()}


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, as it is written in records. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found.update(piece)
    return f"sha256:{found.hexdigest()}"


def _named(command: Sequence[str]) -> list[str]:
    """The command with its program by name: where it lies is a matter of this machine."""
    first = command[0]
    return [Path(first).name if first.startswith("/") or is_python(first) else first, *command[1:]]


def _lock(packages: Sequence[Mapping[str, Any]]) -> str:
    """One line per package; those that came from a folder are no matter of an index."""
    return "".join(f"{each['name']}=={each['version']}\n" for each in packages if _folder_of(each) is None)


def _local(packages: Sequence[Mapping[str, Any]], repository: Repository | None) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for each in packages:
        folder = _folder_of(each)
        if folder is not None:
            root = repository.folder.resolve() if repository else None
            inside = root is not None and folder.is_relative_to(root)
            path = folder.relative_to(root).as_posix() if root is not None and inside else str(folder)
            found.append({**{name: each[name] for name in ("name", "version")}, "path": path, "in_repository": inside})
    return found


def _folder_of(package: Mapping[str, Any]) -> Path | None:
    """The folder that a package was installed from (PEP 610); None for others."""
    origin = package.get("origin")
    if not isinstance(origin, dict) or "dir_info" not in origin:
        return None
    return Path(unquote(urlsplit(str(origin.get("url", ""))).path)).resolve()


def _text(document: Mapping[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
