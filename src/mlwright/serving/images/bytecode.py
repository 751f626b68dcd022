"""Byte code for the Python files of a layer: where a container may not write, each start would compile them anew."""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from mlwright.kernel.errors import Unavailable
from mlwright.serving import programs
from mlwright.serving.images.layers import Entry

_PROGRAM = Path(programs.__file__ or "").parent / "compile_bytecode.py"
#: Files that one process compiles: what it has compiled before changes a few bits of what it writes, so that the same
#: files must always meet.
_TOGETHER = 400


class Compiler:
    """Args:
    python: an interpreter of the minor version that is to read it.
    tag: of its byte code, such as "cpython-311".
    folder: where byte code lies until the layer is written.
    """

    def __init__(self, python: Path, tag: str, folder: Path) -> None:
        self._python = python
        self._tag = tag
        self._folder = folder

    def compiled(self, entries: Iterable[Entry]) -> list[Entry]:
        """Entries with the byte code of those that are Python files. Raises Unavailable."""
        sources = sorted(each for each in entries if isinstance(each.source, Path) and each.path.endswith(".py"))
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        asked = [(str(each.source), f"/{each.path}", folder / f"{place}.pyc") for place, each in enumerate(sources)]
        pieces = [asked[start : start + _TOGETHER] for start in range(0, len(asked), _TOGETHER)]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(self._compile, pieces))
        found = zip(sources, asked, strict=True)
        return [Entry(self._place(each.path), target) for each, (_, _, target) in found if target.exists()]

    def _compile(self, asked: Sequence[tuple[str, str, Path]]) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".json") as listed:
            listed.write(msgspec.json.encode([[file, name, str(target)] for file, name, target in asked]))
            listed.flush()
            command = [str(self._python), "-s", str(_PROGRAM), listed.name]
            done = subprocess.run(
                command, env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
            )  # fmt: skip
        if done.returncode:
            raise Unavailable(f"byte code cannot be made: {done.stderr[-500:]}")

    def _place(self, path: str) -> str:
        place = PurePosixPath(path)
        return str(place.parent / "__pycache__" / f"{place.stem}.{self._tag}.pyc")


@contextmanager
def compiler(python: Path, minor: str) -> Iterator[Compiler]:
    """A compiler for a Python such as "3.11", whose files are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mlwright-bytecode-") as folder:
        yield Compiler(python, f"cpython-{minor.replace('.', '')}", Path(folder))
