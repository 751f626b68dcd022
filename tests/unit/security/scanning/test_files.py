"""What is found on a file system: odd names, links, pipes, devices, and what nobody may read."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.security.scanning.files import scan, scan_file
from mlwright.security.scanning.limits import Limits
from mlwright.security.scanning.scanner import scan_bytes
from mlwright.security.scanning.spec import FileReport, Verdict, judged
from tests.unit.security.scanning.samples import BENIGN, EVIL


def reports(*paths: Path) -> dict[str, FileReport]:
    return {Path(each.path).name: each for each in scan(paths)}


def test_a_folder_is_scanned_with_all_below_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "evil.pkl").write_bytes(EVIL)
    (tmp_path / "a" / "good.pkl").write_bytes(BENIGN)
    (tmp_path / "readme.md").write_text("# hello\n")
    found = list(scan([tmp_path]))
    assert [Path(each.path).name for each in found] == ["readme.md", "good.pkl", "evil.pkl"]
    assert judged(tuple(found)).verdict is Verdict.UNSAFE


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path must be short
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        found = reports(tmp_path, Path("/dev/zero"))
    assert {name: each.findings[0].message for name, each in found.items()} == {
        "pipe": "it is a named pipe",
        "socket": "it is a socket",
        "zero": "it is a device",
    }
    assert {each.verdict for each in found.values()} == {Verdict.UNREADABLE}


def test_links_to_files_are_followed_and_links_out_are_named(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "deep").mkdir(parents=True)
    (inside / "sub").mkdir(parents=True)
    (outside / "evil.pkl").write_bytes(EVIL)
    (inside / "sub" / "good.pkl").write_bytes(BENIGN)
    (inside / "evil").symlink_to(outside / "evil.pkl")
    (inside / "again").symlink_to(inside / "sub")
    (inside / "out").symlink_to(outside)
    (inside / "nothing").symlink_to(inside / "missing")
    (inside / "loop").symlink_to("loop")
    (inside / "device").symlink_to("/dev/null")
    found = {name: each.verdict for name, each in reports(inside).items()}
    assert found == {
        "evil": Verdict.UNSAFE,
        "good.pkl": Verdict.SAFE,
        "out": Verdict.UNREADABLE,
        "nothing": Verdict.UNREADABLE,
        "loop": Verdict.UNREADABLE,
        "device": Verdict.UNREADABLE,
    }


def test_a_link_to_a_folder_that_is_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "evil.pkl").write_bytes(EVIL)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert reports(tmp_path / "link")["evil.pkl"].verdict is Verdict.UNSAFE


def test_names_that_are_no_text_are_written_with_escapes(tmp_path: Path) -> None:
    for name in (b"bad\xff.pkl", "模型\n\x1b[31m.pkl".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(EVIL)
    found = sorted(each.path for each in scan([tmp_path]))
    assert found[0].endswith("/bad\\xff.pkl")
    assert found[1].endswith("/模型\n\x1b[31m.pkl")
    for path in found:
        path.encode()


@pytest.fixture
def deep_folder(tmp_path: Path) -> Iterator[Path]:
    """Folders in folders beyond what one path can name, with a file at their end."""
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(40):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
        Path("evil.pkl").write_bytes(EVIL)
        yield tmp_path
    finally:
        os.chdir(here)


def test_folders_nested_too_deeply_for_a_path_are_unreadable(deep_folder: Path) -> None:
    assert judged(tuple(scan([deep_folder]))).verdict is Verdict.UNREADABLE


def test_what_is_missing_or_impossible_is_unreadable() -> None:
    for path in ("/nonexistent/file", "nul\0inside", "x" * 5000):
        assert scan_file(path).verdict is Verdict.UNREADABLE
        (found,) = scan([path])
        assert found.verdict is Verdict.UNREADABLE
        assert "cannot be read" in found.findings[0].message


def test_files_that_the_system_makes_up_are_unreadable() -> None:
    """They say that they are empty, and are not."""
    assert scan_file("/proc/self/cmdline").verdict is Verdict.UNREADABLE


def test_what_may_not_be_read_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_bytes(BENIGN)

    def refuse(name: str, flags: int) -> int:  # file modes would not keep an administrator out
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr(os, "open", refuse)
    assert scan_file(path).verdict is Verdict.UNREADABLE


def test_bytes_are_scanned_like_files() -> None:
    found = scan_bytes(EVIL, "models/1/model.pkl")
    assert (found.path, found.size, found.verdict) == ("models/1/model.pkl", len(EVIL), Verdict.UNSAFE)
    assert scan_bytes(BENIGN, "model.pkl").verdict is Verdict.SAFE
    described = b"{'flavors': {'f': {'loader_module': 'evil'}}}"
    assert scan_bytes(described, "models/1/MLmodel").verdict is Verdict.UNSAFE


def test_a_file_that_shrinks_meanwhile_is_no_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(EVIL)
    real = os.fstat

    def larger(file: int) -> os.stat_result:
        found = list(real(file))
        found[6] += 1000
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", larger)
    assert scan_file(path, Limits()).verdict is Verdict.UNSAFE
