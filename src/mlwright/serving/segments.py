"""Files of the prediction log that are complete: Parquet where pyarrow is installed, else packed lines of JSON.

A file is one host's predictions for one endpoint on one day, and is there whole or not at all.
"""

import contextlib
import gzip
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.serving.host.spool import Entry, Prediction, prediction

PARQUET = ".parquet"
LINES = ".jsonl.gz"

_decode = msgspec.json.Decoder(Prediction).decode
_encode = msgspec.json.Encoder().encode


def write(folder: Path, stem: str, found: Sequence[Entry] | Sequence[Prediction]) -> Path:
    """Write a file, instead of one that is there, and answer where. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if not has_parquet():
        return _whole(folder / f"{stem}{LINES}", lambda path: _write_lines(path, found))
    from mlwright.serving import columnar

    target = _whole(folder / f"{stem}{PARQUET}", lambda path: columnar.write(path, found))
    (folder / f"{stem}{LINES}").unlink(missing_ok=True)
    return target


def read(path: Path) -> Iterator[Prediction]:
    """All of a file, also of one that has become Parquet since it was listed; nothing of one that was removed.

    Raises Invalid for Parquet without pyarrow.
    """
    if path.name.endswith(LINES):
        with contextlib.suppress(FileNotFoundError), gzip.open(path) as lines:
            yield from map(_decode, lines)
            return
        path = path.with_name(f"{stem_of(path)}{PARQUET}")
    if not has_parquet():
        raise Invalid("this part of the prediction log is Parquet", hint="pip install 'mlwright[parquet]'")
    from mlwright.serving import columnar

    with contextlib.suppress(FileNotFoundError):
        yield from columnar.read(path)


def stem_of(path: Path) -> str:
    """The name of a file without its form."""
    return path.name.removesuffix(PARQUET).removesuffix(LINES)


def has_parquet() -> bool:
    """Whether pyarrow is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def _whole(target: Path, write_it: Callable[[Path], None]) -> Path:
    new = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        write_it(new)
        with new.open("rb") as written:
            os.fsync(written.fileno())
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    return target


def _write_lines(path: Path, found: Sequence[Entry] | Sequence[Prediction]) -> None:
    with gzip.open(path, "wb", compresslevel=5) as lines:
        for each in found:
            lines.write(_encode(prediction(each) if isinstance(each, Entry) else each) + b"\n")
