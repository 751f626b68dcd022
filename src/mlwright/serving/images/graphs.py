"""Versions compiled to ONNX for an image, kept by what they were compiled from."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlwright.compute.spec import Environment
from mlwright.kernel.errors import Invalid
from mlwright.serving.compiling import Proof, Refused, compile_model
from mlwright.serving.images.content import MODEL
from mlwright.serving.images.layers import Entry
from mlwright.serving.running import Running

_FILE, _REPORT = "model.onnx", "report.json"


class Graph(NamedTuple):
    """A graph that answers as its version does.

    Attributes:
        folder: with the graph and the proof.
        how: it is run.
        entries: the files of its layer.
    """

    folder: Path
    proof: Proof
    how: Running
    entries: list[Entry]


def place_of(folder: Path, digest: str, rows: Sequence[Path]) -> Path:
    """Where the graph of a version is kept that was proved on these rows."""
    found = hashlib.sha256(digest.encode())
    for path in rows:
        found.update(path.read_bytes())
    return folder / found.hexdigest()


def kept(place: Path, model: Path, how: Running) -> Graph | None:
    """The graph that is kept there; None when there is none, or it is another than was proved."""
    try:
        proof = msgspec.json.decode((place / _REPORT).read_bytes(), type=Proof)
        data = (place / _FILE).read_bytes()
    except (OSError, msgspec.DecodeError):  # it is not there, or not whole
        return None
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != proof.digest:
        return None
    os.utime(place)
    timeless = msgspec.json.encode(msgspec.structs.replace(proof, seconds=0.0), order="deterministic")
    entries = [Entry(f"{MODEL}/{_FILE}", place / _FILE), Entry(f"{MODEL}/{_REPORT}", timeless)]
    if how.example:
        entries.append(Entry(f"{MODEL}/{how.example}", model / how.example))
    return Graph(place, proof, how._replace(loader="onnx", options={"data": _FILE}, generic={}), entries)


def compiled(place: Path, model: Path, how: Running, environment: Environment, rows: Sequence[Path]) -> Graph:
    """Compile a version, and keep the graph. Raises Invalid with the numbers when it is refused."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".", ignore_cleanup_errors=True) as name:
        target = Path(name, "graph")
        target.mkdir()
        found = compile_model(model, how, environment, rows, target)
        if isinstance(found, Refused):
            raise Invalid(f"it is not compiled: {found.report.reason}", path="onnx", hint="do without ONNX")
        with contextlib.suppress(OSError):  # somebody else was faster: theirs is as good
            target.rename(place)
    graph = kept(place, model, how)
    if graph is None:
        raise Invalid(f"{place} is not the graph that was proved", path="onnx")
    return graph
