"""Reads which distributions a model needs from the files beside it: MLflow's, uv.lock, and PEP 751's pylock.toml.

The files are a stranger's: they are of limited size, and nothing that they name is fetched or opened, except further
requirement files in the same folder. What leaves open what will be installed is reported, unless a lock settles it.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlwright.kernel.errors import Invalid
from mlwright.security.supply.spec import Needs, Pinned, Unpinned

MAX_BYTES = 8 << 20
_MAX_DEPTH = 5
_LOCKS = {"uv.lock": "package", "pylock.toml": "packages"}
#: Not of any index: the interpreter, and what every environment begins with.
_CONDA_OWN = {"python", "pip"}
_INCLUDED = re.compile(r"(?:-r|--requirement|-c|--constraint)[\s=]*(\S+)")
_HASH = re.compile(r"\s--hash[=\s]\S+")
#: Channel, name, and what is asked of the version; then, if that is just one, the version before the build.
_CONDA = re.compile(r"(?:[\w./-]+::)?([A-Za-z0-9][\w.-]*)(.*)", re.DOTALL)
_CONDA_EXACT = re.compile(r"\s*==?\s*([0-9][\w.!+-]*)(?:=[\w.*]+)?\s*")

Found = Pinned | Unpinned


def needs(folder: Path) -> Needs:
    """What the model in `folder` needs. Raises Invalid for files that cannot be read as what they are called."""
    found: list[Found] = []
    for name, key in _LOCKS.items():
        found += _locked(folder, name, key)
    found += _requirements(folder, "requirements.txt", 0)
    found += _conda(folder)
    found += _python_env(folder)
    pinned = {(each.name, each.version): each for each in reversed(found) if isinstance(each, Pinned)}
    settled = {name for name, _ in pinned}
    unpinned = {each for each in found if isinstance(each, Unpinned) and each.name not in settled}
    return Needs(sorted(pinned.values()), sorted(unpinned), sorted({each.source for each in found}))


def installed(packages: Iterable[str], missing: Iterable[str], source: str) -> Needs:
    """What an environment holds, as `name==version`, and what it lacks."""
    found = [_required(each, source) for each in packages]
    lacking = [Unpinned("", each, source) for each in missing]
    pinned = [each for each in found if isinstance(each, Pinned)]
    unpinned = [each for each in found if isinstance(each, Unpinned)]
    return Needs(sorted(pinned), sorted([*unpinned, *lacking]), [source])


def _locked(folder: Path, name: str, key: str) -> Iterator[Found]:
    text = _text(folder / name)
    if text is None:
        return
    try:
        packages = tomllib.loads(text).get(key, [])
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Invalid(f"{name} cannot be read: {str(error)[:200]}", path=name) from error
    if not isinstance(packages, list) or not all(isinstance(each, dict) for each in packages):
        raise Invalid(f"{name} lists no packages", path=name)
    for package in packages:
        source = package.get("source")
        if isinstance(source, dict) and {"editable", "virtual"} & source.keys():
            continue  # the project whose lock it is
        yield _exact(str(package.get("name")), str(package.get("version")), name)


def _exact(name: str, version: str, source: str) -> Found:
    try:
        Version(version)
    except InvalidVersion:
        return Unpinned(_normal(name), f"{name} {version}"[:200], source)
    return Pinned(_normal(name), version, source)


def _requirements(folder: Path, name: str, depth: int) -> Iterator[Found]:
    path = (folder / name).resolve()
    if depth > _MAX_DEPTH or not path.is_relative_to(folder.resolve()):
        raise Invalid(f"{name} lies outside of the model, or includes itself", path=name)
    for line in _logical(_text(path) or ""):
        included = _INCLUDED.fullmatch(line)
        if included is not None:
            yield from _requirements(folder, included[1], depth + 1)
        elif not line.startswith(("--hash", "--index-url", "--extra-index-url", "--find-links", "-i ", "-f ")):
            yield _required(line, name)


def _logical(text: str) -> Iterator[str]:
    """Lines without comments, those that end in a backslash joined with the next."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        kept = re.sub(r"(^|\s)#.*", "", line).strip()
        if kept:
            yield kept


def _required(line: str, source: str) -> Found:
    """A requirement in pip's words. Its markers are not asked: it counts as if it were installed everywhere."""
    text = _HASH.sub("", line).strip()
    try:
        found = Requirement(text)
    except InvalidRequirement:
        return Unpinned("", text[:200], source)
    exact = [each for each in found.specifier if each.operator in {"==", "==="} and not each.version.endswith("*")]
    if not exact or found.url is not None:
        return Unpinned(_normal(found.name), text[:200], source)
    return _exact(found.name, exact[0].version, source)


def _conda(folder: Path) -> Iterator[Found]:
    listed = _yaml(folder, "conda.yaml").get("dependencies")
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict):
            for line in _texts(each.get("pip")):
                yield from _pip_line(folder, line, "conda.yaml")
        elif isinstance(each, str):
            yield from _conda_line(each)


def _conda_line(line: str) -> Iterator[Found]:
    found = _CONDA.fullmatch(line.strip())
    name = _normal(found[1]) if found else ""
    if name in _CONDA_OWN:
        return
    exact = _CONDA_EXACT.fullmatch(found[2]) if found else None
    yield _exact(name, exact[1], "conda.yaml") if exact else Unpinned(name, line[:200], "conda.yaml")


def _python_env(folder: Path) -> Iterator[Found]:
    described = _yaml(folder, "python_env.yaml")
    for key in ("build_dependencies", "dependencies"):
        for line in _texts(described.get(key)):
            yield from _pip_line(folder, line, "python_env.yaml")


def _pip_line(folder: Path, line: str, source: str) -> Iterator[Found]:
    included = _INCLUDED.fullmatch(line.strip())
    if included is not None:
        yield from _requirements(folder, included[1], 1)
    elif line.strip() not in {"pip", "setuptools", "wheel"}:  # MLflow names them so; an installer brings its own
        yield _required(line, source)


def _texts(found: object) -> Iterable[str]:
    return [str(each) for each in found] if isinstance(found, list) else []


def _yaml(folder: Path, name: str) -> dict[str, Any]:
    text = _text(folder / name)
    if text is None:
        return {}
    try:
        found = msgspec.yaml.decode(text)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise Invalid(f"{name} cannot be read: {str(error)[:200]}", path=name) from error
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise Invalid(f"{path.name} is larger than {MAX_BYTES >> 20} MiB", path=path.name)
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{path.name} cannot be read: {error}", path=path.name) from error


def _normal(name: str) -> str:
    return str(canonicalize_name(name))
