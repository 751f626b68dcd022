"""Files written once: what comes back is what was written, in and past the page cache."""

import errno
import fcntl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.kernel import spool

_CACHED = 8192


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few pages are large."""
    monkeypatch.setattr(spool, "CACHED_BYTES", _CACHED)
    monkeypatch.setattr(spool, "_BUFFER_BYTES", 4096)


def _written(folder: Path, parts: Sequence[bytes]) -> bytes:
    path = folder / "file"
    path.unlink(missing_ok=True)
    file = spool.SpoolFile(path)
    for part in parts:
        file.write(part)
    file.finish()
    return path.read_bytes()


_SIZES = st.sampled_from([0, 1, 511, 4095, 4096, 4097, _CACHED - 1, _CACHED, _CACHED + 1, 3 * _CACHED + 5])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(sizes=st.lists(_SIZES, max_size=6))
def test_a_file_holds_what_was_written(tmp_path: Path, sizes: list[int]) -> None:
    parts = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    assert _written(tmp_path, parts) == b"".join(parts)


def test_file_systems_without_direct_writes_are_written_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, command: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.EINVAL, "Invalid argument")
        return 1

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    data = bytes(range(256)) * 100
    assert _written(tmp_path, [data]) == data


def test_systems_without_direct_writes_are_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_DIRECT", 0)
    data = bytes(range(256)) * 100
    assert _written(tmp_path, [data]) == data


def test_an_existing_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        spool.SpoolFile(path)
    assert path.read_bytes() == b"mine"


def test_what_is_closed_unfinished_is_left_as_it_is(tmp_path: Path) -> None:
    file = spool.SpoolFile(tmp_path / "file")
    file.write(b"x" * (_CACHED + 4096 + 1))
    file.close()
    assert (tmp_path / "file").stat().st_size == _CACHED + 4096


class Partial:
    """A file that takes at most 1,000 bytes at a time, as one does on a disk that is nearly full."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: memoryview) -> int:
        return int(self._file.write(data[:1000]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_file_system_that_takes_a_part_gets_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = spool.SpoolFile(tmp_path / "file")
    monkeypatch.setattr(file, "_file", Partial(file._file))
    data = bytes(range(256)) * 20
    file.write(data)
    file.finish()
    assert (tmp_path / "file").read_bytes() == data
