"""The ground of an image when somebody brings it: a root file system, or an image that others have made."""

import gzip
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.serving.images.debian import Base
from mlwright.serving.images.layers import Layer, Layers, tree

#: Where interpreters are looked for, the first first.
_PLACES = ("usr/local/bin", "usr/bin", "opt/python/bin", "bin")
_MOST = 4 << 20
#: What comes of tars that are none, and of documents of any shape.
_ODD = (
    tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, msgspec.DecodeError, LookupError, ValueError, TypeError,
    AttributeError,
)  # fmt: skip


def base(given: str, minor: str, architecture: str, layers: Layers) -> Base:
    """The ground of that name: a folder, a tar of one (or of an image), or oci:DIR, with a Python such as "3.11".

    Raises NotFound and Invalid with what is wrong with it.
    """
    is_layout = given.startswith("oci:")
    path = Path(given.removeprefix("oci:"))
    if not path.exists():
        raise NotFound(f"there is no {path}", path="--base")
    try:
        if path.is_dir() and (is_layout or (path / "oci-layout").is_file()):
            found = _layout(path, architecture, layers)
        elif path.is_dir():
            entries = list(tree(path, ""))
            python = _python([each.path for each in entries], minor, given)
            return Base([layers.files(entries)], python, [], given)
        else:
            found = _tar(path, architecture, layers)
        names = [name for layer in found for name in _names(layers.blob(layer.digest))]
    except _ODD as error:
        raise Invalid(
            f"{given} is no root file system and no image: {' '.join(str(error).split())}", path="--base"
        ) from error
    return Base(found, _python(names, minor, given), [], given)


def _tar(path: Path, architecture: str, layers: Layers) -> list[Layer]:
    """One layer of a root file system; those of an image when it is one that was saved."""
    with tarfile.open(path) as tar:
        names = set(tar.getnames())
        if not names & {"oci-layout", "manifest.json"}:
            known = path.stat()
            key = f"tar {path.resolve()} {known.st_size} {known.st_mtime_ns}"
            return [layers.adopt(key, lambda file: _unpacked(path, file))]
        with tempfile.TemporaryDirectory(prefix="mlwright-base-") as folder:
            tar.extractall(folder, filter="data")
            if "oci-layout" in names:
                return _layout(Path(folder), architecture, layers)
            return _saved(Path(folder), layers)


def _layout(folder: Path, architecture: str, layers: Layers) -> list[Layer]:
    """The layers of the one image in OCI's layout, or of the one for this kind of machine."""
    index = _document(folder / "index.json")
    while True:
        manifests = [each for each in index["manifests"] if _is_for(each, architecture)]
        if len(manifests) != 1:
            raise Invalid(f"{folder} has {len(manifests)} images for linux/{architecture}", path="--base")
        document = _document(_blob(folder, manifests[0]["digest"]))
        if "manifests" not in document:
            break
        index = document
    config = _document(_blob(folder, document["config"]["digest"]))
    if config.get("architecture", architecture) != architecture:
        raise Invalid(f"{folder} is an image for {config['architecture']}", path="--base", hint=f"bring {architecture}")
    described = zip(document["layers"], config["rootfs"]["diff_ids"], strict=True)
    return [_adopted(layers, _blob(folder, each["digest"]), str(diff_id)) for each, diff_id in described]


def _saved(folder: Path, layers: Layers) -> list[Layer]:
    """The layers of what `docker save` wrote."""
    (image,) = _document(folder / "manifest.json")
    diff_ids = _document(_inside(folder, image["Config"]))["rootfs"]["diff_ids"]
    return [
        _adopted(layers, _inside(folder, name), str(diff_id))
        for name, diff_id in zip(image["Layers"], diff_ids, strict=True)
    ]


def _adopted(layers: Layers, path: Path, diff_id: str) -> Layer:
    """A layer, unpacked, and proved to be what its image says. Raises Invalid."""
    found = layers.adopt(f"adopted {diff_id}", lambda file: _unpacked(path, file))
    if found.diff_id != diff_id:
        raise Invalid(f"a layer is not what its image says: {found.diff_id[:19]}…, not {diff_id[:19]}…", path="--base")
    return found


def _unpacked(path: Path, file: IO[bytes]) -> None:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.open(raw) if packed else raw as source:
            shutil.copyfileobj(source, file, 1 << 20)


def _names(blob: Path) -> Iterable[str]:
    with tarfile.open(blob, "r:") as tar:
        return [str(PurePosixPath(each.name.removeprefix("./"))) for each in tar]


def _python(names: Sequence[str], minor: str, given: str) -> str:
    known = set(names)
    for place in _PLACES:
        if f"{place}/python{minor}" in known:
            return f"/{place}/python{minor}"
    others = sorted({found[1] for name in known if (found := re.search(r"bin/python(3\.\d+)\Z", name))})
    there = f"only {', '.join(others)}" if others else "no Python"
    raise Invalid(f"{given} has {there}, and the model's packages are for Python {minor}", path="--base")


def _is_for(described: dict[str, Any], architecture: str) -> bool:
    platform = described.get("platform") or {}
    return (platform.get("architecture", architecture), platform.get("os", "linux")) == (architecture, "linux")


def _blob(folder: Path, digest: str) -> Path:
    """A blob whose bytes are those of its name. Raises Invalid."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise Invalid(f"{digest[:80]!r} is no digest that is understood", path="--base")
    path = folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
    if not path.is_file():
        raise Invalid(f"{folder} lacks {digest[:19]}…", path="--base")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
            raise Invalid(f"{folder}: {digest[:19]}… has other bytes", path="--base")
    return path


def _inside(folder: Path, name: str) -> Path:
    """A file below the folder. Raises Invalid for names that lead out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise Invalid(f"the image names {name[:80]!r}, which is not in it", path="--base")
    return path


def _document(path: Path) -> Any:
    if path.stat().st_size > _MOST:
        raise Invalid(f"{os.fspath(path.name)} is too large", path="--base")
    return msgspec.json.decode(path.read_bytes())
