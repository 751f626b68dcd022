"""Images as files: OCI's layout, and one tar that is a layout and what `docker load` takes at once.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import contextlib
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from mlwright.kernel.errors import AlreadyExists
from mlwright.serving.images.layers import Layer, Layers

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_REFERENCE = "org.opencontainers.image.ref.name"
_DOCKER_NAME = "io.containerd.image.name"
#: A name that begins with a registry.
_HOST = re.compile(r"[^/]*[.:][^/]*/|localhost/")
_EPOCH = "1970-01-01T00:00:00Z"
_BY = "mlwright image build"
_BLOCK = 512


class Part(NamedTuple):
    """A layer, and what it holds in a few words."""

    layer: Layer
    comment: str


class Image(NamedTuple):
    """An image, all of whose layers are kept.

    Attributes:
        name: with its tag, such as "mlwright/flights:3".
        digest: of its manifest, by which a registry knows it.
        size: bytes of its layers.
        small: config, manifest and index, by their paths in the layout.
        layers: in the order in which they lie on each other.
    """

    name: str
    digest: str
    config_digest: str
    size: int
    small: Mapping[str, bytes]
    layers: Sequence[Layer]


def image(name: str, architecture: str, settings: Mapping[str, Any], parts: Sequence[Part]) -> Image:
    """An image of layers.

    Args:
        architecture: in the words of Go, such as "amd64".
        settings: the `config` of OCI's image configuration, and Docker's `Healthcheck`.
    """
    history = [{"comment": each.comment, "created": _EPOCH, "created_by": _BY} for each in parts]
    config = _json({
        "architecture": architecture,
        "config": settings,
        "created": _EPOCH,
        "history": history,
        "os": "linux",
        "rootfs": {"diff_ids": [each.layer.diff_id for each in parts], "type": "layers"},
    })  # fmt: skip
    labels = settings.get("Labels", {})
    layers = [each.layer for each in parts]
    manifest = _json({
        "annotations": {key: value for key, value in labels.items() if key.startswith("org.opencontainers.")},
        "config": _descriptor(_CONFIG, config),
        "layers": [{"digest": each.digest, "mediaType": each.media_type, "size": each.size} for each in layers],
        "mediaType": _MANIFEST,
        "schemaVersion": 2,
    })  # fmt: skip
    platform = {"architecture": architecture, "os": "linux"}
    names = {_REFERENCE: name.rpartition(":")[2], _DOCKER_NAME: name if _HOST.match(name) else f"docker.io/{name}"}
    index = {
        "manifests": [{**_descriptor(_MANIFEST, manifest), "annotations": names, "platform": platform}],
        "mediaType": _INDEX,
        "schemaVersion": 2,
    }
    docker = {"Config": _path(_digest(config)), "Layers": [_path(each.digest) for each in layers], "RepoTags": [name]}
    small = {
        _path(_digest(config)): config,
        _path(_digest(manifest)): manifest,
        "index.json": _json(index),
        "manifest.json": _json([docker]),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }
    size = sum(each.size for each in layers)
    return Image(name, _digest(manifest), _digest(config), size, small, layers)


def write_folder(found: Image, layers: Layers, folder: Path) -> None:
    """Write OCI's layout into a folder. Layers are the same files as those kept, where the file system allows it.

    A layout that is there is replaced in the end, by its index. Raises AlreadyExists for a folder with other things.
    """
    if folder.exists() and not (folder / "oci-layout").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExists(f"{folder} is there already, and no OCI layout", path=str(folder))
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    for layer in found.layers:
        target = folder / _path(layer.digest)
        if target.exists() and target.stat().st_size == layer.size:
            continue
        target.unlink(missing_ok=True)
        try:
            os.link(layers.blob(layer.digest), target)
        except OSError:  # another file system
            shutil.copyfile(layers.blob(layer.digest), target)
    for path in sorted(found.small, key="index.json".__eq__):  # what makes it an image comes last
        if path != "manifest.json":
            new = folder / f"{path}.new"
            new.write_bytes(found.small[path])
            new.replace(folder / path)


def write_tar(found: Image, layers: Layers, target: Path) -> None:
    """Write it as one file, which appears when it is whole."""
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.absolute().parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            pour(found, layers, file)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def pour(found: Image, layers: Layers, file: IO[bytes]) -> None:
    """Write the tar. Each layer is written once, however many times it is named."""
    contents: dict[str, bytes | Path] = dict(found.small)
    contents |= {_path(each.digest): layers.blob(each.digest) for each in found.layers}
    for path in sorted(contents):
        content = contents[path]
        info = tarfile.TarInfo(path)
        info.mode = 0o644
        info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
        file.write(info.tobuf(tarfile.PAX_FORMAT))
        if isinstance(content, bytes):
            shutil.copyfileobj(BytesIO(content), file)
        else:
            _copy(content, file)
        file.write(bytes(-info.size % _BLOCK))
    file.write(bytes(2 * _BLOCK))


def _copy(path: Path, file: IO[bytes]) -> None:
    """Copy within the kernel where that can be done: a layer may be hundreds of megabytes."""
    with path.open("rb") as source:
        with contextlib.suppress(OSError):
            file.flush()
            while os.copy_file_range(source.fileno(), file.fileno(), 1 << 30):
                pass
        source.seek(os.lseek(source.fileno(), 0, os.SEEK_CUR))
        shutil.copyfileobj(source, file, 1 << 20)


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"digest": _digest(data), "mediaType": kind, "size": len(data)}


def _json(document: object) -> bytes:
    return msgspec.json.encode(document, order="deterministic")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
