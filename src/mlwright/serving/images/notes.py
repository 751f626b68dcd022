"""What layers were made of, kept by what was asked for: where it is known, nothing need be looked at again."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlwright.serving.images.layers import Layer, Layers

#: Of files that say what a model needs. MLmodel has something new in each version, and nothing about packages.
_DESCRIBING = {".txt", ".in", ".yaml", ".toml", ".lock"}


class Package(msgspec.Struct, frozen=True):
    """A package that is in an image. `kind` and `space` are those of its purl: "deb" of "debian"."""

    kind: str
    name: str
    version: str
    architecture: str = ""
    licence: str = ""
    space: str = ""


class Made(msgspec.Struct, frozen=True):
    """A layer, and what it was made of.

    Attributes:
        python: minor version of the Python that it is for, such as "3.11".
        described: in a few words.
    """

    layer: Layer
    packages: list[Package]
    python: str
    described: str = ""


def noted(folder: Path, key: str, layers: Layers, make: Callable[[], Made], *, anew: bool = False) -> Made:
    """What was made for that key, made when it is not there any more.

    Args:
        anew: also when it is there.
    """
    note = folder / hashlib.sha256(key.encode()).hexdigest()
    try:
        known = msgspec.json.decode(note.read_bytes(), type=Made)
        if not anew and layers.has(known.layer):
            os.utime(note)
            return known
    except (OSError, msgspec.DecodeError):  # it is not there, or not whole
        pass
    made = make()
    folder.mkdir(parents=True, exist_ok=True)
    new = note.with_name(f"{note.name}.{threading.get_native_id()}")
    new.write_bytes(msgspec.json.encode(made))
    new.replace(note)
    return made


def described(folder: Path) -> str:
    """Says whether files that describe an environment are the same as others."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _DESCRIBING:
            found.update(f"{path.name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()
