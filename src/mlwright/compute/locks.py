"""Reads what a model needs from the files in its folder: those of MLflow, and PEP 751's pylock.toml.

Whoever logged the model wrote these files. Only names of packages with versions are taken from them: an index, an
address or a path that they name would decide where programs come from, and is refused.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlwright.compute.spec import Lock
from mlwright.kernel.errors import Invalid, NotFound

#: With pyproject.toml beside it, what a project of uv has locked.
UV_LOCK = "uv.lock"
_MAX_BYTES = 4 << 20
_MAX_DEPTH = 5
_HINT = "name packages with their versions only"
#: PEP 508 without an address, then hashes as pip writes them.
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*"
    r"(?:\(?[<>=!~][\w.*+!<>=~, -]*?\)?)?\s*(?:;[^@]*?)?"
    r"(?:\s+--hash[=\s]\w+:\w+)*"
)
_INCLUDED = re.compile(r"(-r|--requirement|-c|--constraint)[\s=]*(\S+)")
#: In conda's lists these are about the environment itself.
_CONDA_OWN = {"python", "pip", "setuptools", "wheel"}
_CONDA_VERSION = re.compile(r"=*\s*(\d+(?:\.\d+){1,2})\s*")


class _Lines(NamedTuple):
    requirements: list[str]
    constraints: list[str]


def read(folder: Path, exported: Path | None = None) -> Lock:
    """What the model in `folder` needs.

    Args:
        exported: what uv made of its uv.lock, in pip's format.

    Raises NotFound when nothing says it, Invalid with the line that is refused.
    """
    conda = _yaml(folder / "conda.yaml")
    dependencies = conda.get("dependencies")
    listed = dependencies if isinstance(dependencies, list) else []
    own = [line for line in listed if isinstance(line, str)]
    python = _python(folder, own)
    unavailable = [line for line in own if _conda_name(line) not in _CONDA_OWN]
    if exported is not None:
        lines = [_checked(line, UV_LOCK) for line in _logical(_text(exported))]
        return Lock(UV_LOCK, lines, [], python, unavailable)
    if (folder / "pylock.toml").is_file():
        return Lock("pylock.toml", _locked(folder / "pylock.toml"), [], python, unavailable)
    if (folder / "requirements.txt").is_file():
        found = _Lines([], [])
        _take(folder, "requirements.txt", found, found.requirements)
        return Lock("requirements.txt", *found, python, unavailable)
    pip = [line for each in listed if isinstance(each, dict) for line in each.get("pip") or []]
    if not pip:
        hint = "log it with MLflow, or put a requirements.txt beside MLmodel"
        raise NotFound("the model does not say which packages it needs", hint=hint)
    return Lock("conda.yaml", [_checked(str(line), "conda.yaml") for line in pip], [], python, unavailable)


def _take(folder: Path, name: str, found: _Lines, target: list[str], depth: int = 0) -> None:
    """Add the lines of a file in pip's format, and of those that it includes."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or depth > _MAX_DEPTH:
        raise Invalid(f"{name} lies outside of the model, or includes itself", path=name)
    for line in _logical(_text(path)):
        included = _INCLUDED.fullmatch(line)
        if included is None:
            target.append(_checked(line, name))
        else:
            narrowed = found.constraints if included[1] in {"-c", "--constraint"} else target
            _take(folder, included[2], found, narrowed, depth + 1)


def _logical(text: str) -> Iterator[str]:
    """Lines without comments, those that end in a backslash joined with the next."""
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        kept = re.sub(r"(^|\s)#.*", "", line).strip()
        if kept:
            yield " ".join(kept.split())


def _checked(line: str, source: str) -> str:
    options = re.findall(r"(?:^|\s)--?[A-Za-z]\w*", line)
    if _REQUIREMENT.fullmatch(line) is None or any(option.strip() != "--hash" for option in options):
        raise Invalid(f"{source}: {line[:200]!r} is not the name of a package", path=source, hint=_HINT)
    return line


def _locked(path: Path) -> list[str]:
    """The packages of a pylock.toml, pinned by version and hash."""
    try:
        packages = tomllib.loads(_text(path)).get("packages", [])
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{path.name} cannot be read: {error}", path=path.name) from error
    if not isinstance(packages, list) or not all(isinstance(each, dict) for each in packages):
        raise Invalid(f"{path.name} lists no packages", path=path.name)
    return [_checked(_pinned(package), path.name) for package in packages]


def _pinned(package: Mapping[str, Any]) -> str:
    name, version = package.get("name"), package.get("version")
    if not version or not {"vcs", "directory", "archive"}.isdisjoint(package):
        raise Invalid(f"pylock.toml: {name!r} comes from no package index", path="pylock.toml", hint=_HINT)
    files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
    hashes = [f" --hash={kind}:{value}" for file in files for kind, value in file.get("hashes", {}).items()]
    marker = f" ; {package['marker']}" if package.get("marker") else ""
    return f"{name}=={version}{marker}{''.join(hashes)}"


def _python(folder: Path, conda: list[str]) -> str:
    """The version of Python that is asked for: by python_env.yaml, else by conda.yaml, else by MLmodel."""
    said = _yaml(folder / "python_env.yaml").get("python")
    if said is None:
        lines = [line for line in conda if _conda_name(line) == "python"]
        version = _CONDA_VERSION.fullmatch(lines[0].strip()[len("python") :]) if lines else None
        said = version[1] if version else None
    if said is None:
        flavors = _yaml(folder / "MLmodel").get("flavors")
        generic = flavors.get("python_function") if isinstance(flavors, dict) else None
        said = generic.get("python_version") if isinstance(generic, dict) else None
    if said is not None and not re.fullmatch(r"\d+\.\d+(\.\d+)?", str(said)):
        raise Invalid(f"{str(said)[:50]!r} is no version of Python", path="python_env.yaml")
    return str(said or "")


def _conda_name(line: str) -> str:
    return re.split(r"[\s=<>!~\[]", line.strip().rpartition("::")[2], maxsplit=1)[0].lower()


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = msgspec.yaml.decode(_text(path))
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise Invalid(f"{path.name} cannot be read: {str(error)[:200]}", path=path.name) from error
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise Invalid(f"{path.name} is larger than {_MAX_BYTES >> 20} MiB", path=path.name)
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{path.name} cannot be read: {error}", path=path.name) from error
