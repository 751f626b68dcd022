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
FOREVER_MS = 1 << 62

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


def read(path: Path, since_ms: int = 0, until_ms: int = FOREVER_MS, newest: int | None = None) -> Iterator[Prediction]:
    """What is in a file from a time on and before another one, or only about the newest of it.

    It may have become Parquet since it was listed; of one that was removed there is nothing. Raises Invalid for Parquet
    without pyarrow.
    """
    if path.name.endswith(LINES):
        with contextlib.suppress(FileNotFoundError), gzip.open(path) as lines:
            yield from (each for each in map(_decode, lines) if since_ms <= each.time_ms < until_ms)
            return
        path = path.with_name(f"{stem_of(path)}{PARQUET}")
    _check_parquet()
    from mlwright.serving import columnar

    with contextlib.suppress(FileNotFoundError):
        yield from columnar.read(path, since_ms, until_ms, newest)


def span(path: Path) -> tuple[int, int]:
    """Times in milliseconds between which all of a file lies; cheap. Raises Invalid for Parquet without pyarrow."""
    if path.name.endswith(PARQUET):
        _check_parquet()
        from mlwright.serving import columnar

        with contextlib.suppress(FileNotFoundError):
            return columnar.span(path)
    return 0, FOREVER_MS


def _check_parquet() -> None:
    if not has_parquet():
        raise Invalid("this part of the prediction log is Parquet", hint="pip install 'mlwright[parquet]'")


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
