"""Containers: what is inside is found, what contradicts itself is refused, and bombs cost nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlwright.security.scanning.files import scan_file
from mlwright.security.scanning.limits import Limits
from mlwright.security.scanning.spec import Verdict
from tests.unit.security.scanning.samples import BENIGN, EVIL, report, rules, sparse, zipped

SMALL = Limits(expanded_floor=1 << 20, ratio=10)


def tarred(members: dict[str, bytes], **options: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, format=lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
    "zip": lambda content: zipped({"model.bin": content}, zipfile.ZIP_DEFLATED),
    "zip by bzip2": lambda content: zipped({"model.bin": content}, zipfile.ZIP_BZIP2),
    "tar": lambda content: tarred({"model.bin": content}),
    "long tar": lambda content: tarred({"x" * 300: content}, format=tarfile.GNU_FORMAT),
    "pax tar": lambda content: tarred({"x" * 300: content}, format=tarfile.PAX_FORMAT),
    "zfile": lambda content: b"ZF" + hex(len(content)).ljust(19).encode() + zlib.compress(content),
}


@pytest.mark.parametrize("outer", PACKERS)
@pytest.mark.parametrize("inner", PACKERS)
def test_what_is_packed_twice_is_found(outer: str, inner: str) -> None:
    packed = PACKERS[outer](PACKERS[inner](EVIL))
    (found,) = report(packed).findings
    assert (found.rule, found.target) == ("pickle-global", "posix.system")
    assert report(PACKERS[outer](PACKERS[inner](BENIGN))).findings == ()


def test_the_place_inside_is_named() -> None:
    content = zipped({"a/inner.tar.gz": gzip.compress(tarred({"weights.pt": EVIL}))})
    assert report(content).findings[0].member == "a/inner.tar.gz!gzip!weights.pt"


def test_a_packed_stream_that_is_cut_or_goes_on_is_refused() -> None:
    for packer in (gzip.compress, bz2.compress, lzma.compress, zlib.compress):
        packed = packer(BENIGN)
        assert rules(packed[:-3]) == {"archive-malformed"}
        assert rules(packed + b"more") == {"archive-malformed"}
        assert rules(packed + packer(EVIL)) == {"pickle-global"}


# --- bombs ---


@pytest.mark.parametrize("packer", ["gzip", "bzip2", "xz", "zlib", "zip"])
def test_a_bomb_is_refused(packer: str) -> None:
    bomb = PACKERS[packer](b"\x80\x04B\xff\xff\xff\x0f" + bytes(20 << 20))
    assert rules(bomb, SMALL) == {"limit-expansion"}


def test_archives_nested_too_deeply_are_refused() -> None:
    content = BENIGN
    for _ in range(12):
        content = gzip.compress(content)
    assert rules(content) == {"limit-depth"}
    content = EVIL
    for number in range(12):
        content = zipped({f"{number}": content})
    assert "limit-depth" in rules(content)


def test_too_many_entries_are_refused() -> None:
    content = zipped({str(number): b"x" for number in range(200)})
    assert rules(content, Limits(entries=100)) == {"limit-entries"}
    assert rules(tarred({str(number): b"x" for number in range(200)}), Limits(entries=100)) == {"limit-entries"}


def test_too_much_time_is_refused() -> None:
    assert rules(zipped({"a": BENIGN}), Limits(seconds=0)) == {"limit-time"}


def test_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    """Half a GiB of zeros, which is within the limits here, is walked without being kept."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("a", "w") as entry:
        entry.write(b"\x80\x04\x8e" + struct.pack("<Q", 512 << 20))
        for _ in range(512):
            entry.write(bytes(1 << 20))
        entry.write(b".")
    code = (
        "import pathlib, sys\n"
        "from mlwright.security.scanning.files import scan_file\n"
        "from mlwright.security.scanning.limits import Limits\n"
        "print(scan_file(sys.argv[1], Limits(ratio=10_000)).verdict)\n"
        "print(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    verdict, peak_kib = done.stdout.split()
    assert verdict == "safe"
    assert int(peak_kib) < 100 << 10


def test_hostile_pickles_take_little_memory(tmp_path: Path) -> None:
    """Half a million values of each kind in one process: without thinning out they would take hundreds of megabytes."""
    count = 500_000
    for name, body in {
        "texts": (b"\x8c\xf0" + b"x" * 240) * count,
        "dictionaries": b"}" * count,
        "tuples": b"N" + b"\x85" * count,
        "marks": b"(" * count,
    }.items():
        (tmp_path / name).write_bytes(b"\x80\x04" + body + b".")
    code = (
        "import pathlib, sys\n"
        "from mlwright.security.scanning.files import scan\n"
        "print(len(list(scan([sys.argv[1]]))))\n"
        "print(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    files, peak_kib = done.stdout.split()
    assert files == "4"
    assert int(peak_kib) < 160 << 10


def test_a_file_of_50_gigabytes_is_decided_at_once(tmp_path: Path) -> None:
    size = 50 << 30
    assert scan_file(sparse(tmp_path / "zeros", size)).findings[0].rule == "format-unknown"
    head = b"\x80\x04\x8e" + struct.pack("<Q", size - 12)
    found = scan_file(sparse(tmp_path / "pickle", size, head))
    assert found.findings[0].rule == "pickle-malformed"
    assert found.unread > 49 << 30
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (size - 128,)})
    array = scan_file(sparse(tmp_path / "array", size, buffer.getvalue()))
    assert (array.verdict, array.kind, array.size) == (Verdict.SAFE, "npy", size)


# --- zip ---


def test_a_zip_that_is_described_in_two_ways_is_refused() -> None:
    honest = zipped({"a.pkl": BENIGN, "b.pkl": BENIGN})
    assert report(honest).findings == ()
    assert rules(b"prefix" + honest) == {"format-unknown"}
    assert rules(honest + b"behind") == {"archive-malformed"}
    assert rules(honest[:-30]) == {"archive-malformed"}
    assert rules(honest.replace(b"a.pkl", b"c.pkl", 1)) == {"archive-malformed"}
    directory = honest.rfind(b"PK\x01\x02")
    shifted = bytearray(honest)
    shifted[directory + 42 : directory + 46] = bytes(4)  # the second entry begins where the first one does
    assert rules(bytes(shifted)) == {"archive-malformed"}


def test_bytes_between_entries_are_refused() -> None:
    first, second = zipped({"a": BENIGN}), zipped({"a": BENIGN, "b": BENIGN})
    assert report(second).findings == ()
    hole = second.index(b"PK\x03\x04", 4)
    content = bytearray(second[:hole] + EVIL + second[hole:])
    end = content.rfind(b"PK\x05\x06")
    at = int.from_bytes(content[end + 16 : end + 20], "little") + len(EVIL)
    content[end + 16 : end + 20] = at.to_bytes(4, "little")
    line = content.rfind(b"PK\x01\x02")
    content[line + 42 : line + 46] = (hole + len(EVIL)).to_bytes(4, "little")
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    assert rules(bytes(content)) == {"archive-malformed"}
    assert first


def test_zips_as_streams_write_them_are_read() -> None:
    class Forward(io.RawIOBase):
        """Cannot go back, so that sizes follow the data."""

        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, piece: object) -> int:
            data = bytes(piece)  # type: ignore[call-overload]
            self.content += data
            return len(data)

    target = Forward()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pkl", BENIGN)
        with archive.open("b.pkl", "w", force_zip64=True) as entry:
            entry.write(EVIL)
    (found,) = report(target.content).findings
    assert (found.rule, found.member) == ("pickle-global", "b.pkl")


def with_large_directory(content: bytes, *, shift: int = 0) -> bytes:
    """The same archive with a second, 64-bit description of its directory, as PyTorch always writes it."""
    end = content.rfind(b"PK\x05\x06")
    count, size, offset = struct.unpack_from("<HII", content, end + 10)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset + shift)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    return content[:end] + record + locator + content[end:]


def test_the_two_directories_of_a_zip_must_agree() -> None:
    honest = zipped({"archive/data.pkl": BENIGN, "archive/version": b"3\n"})
    assert zipfile.ZipFile(io.BytesIO(with_large_directory(honest))).testzip() is None
    assert report(with_large_directory(honest)).findings == ()
    assert rules(with_large_directory(honest, shift=1)) == {"archive-malformed"}
    assert rules(with_large_directory(zipped({"a": EVIL}))) == {"pickle-global"}


def test_names_that_lead_out_are_refused() -> None:
    for name in ("../x", "/etc/x", "a/../../x", "C:\\x"):
        assert rules(zipped({name: b"x"})) == {"archive-path"}
    assert rules(tarred({"../x": b"x"})) == {"archive-path"}


def test_an_archive_hidden_in_something_else_is_refused() -> None:
    evil = zipped({"config.json": b"{}"})
    assert rules(b"\x89PNG\r\n\x1a\n" + evil) == {"archive-malformed"}
    assert rules(b"just text\n" + evil) == {"format-unknown"}
    assert rules(b"\x89PNG\r\n\x1a\n".ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n") == {"archive-malformed"}
    assert "pickle-trailing" in rules(BENIGN + evil)
    inside = b"\x80\x04B" + struct.pack("<I", len(evil)) + evil + b"."
    assert rules(inside) == {"archive-malformed"}


def test_torchscript_is_a_program() -> None:
    content = zipped(
        {"m/data.pkl": BENIGN, "m/code/__torch__.py": b"def forward(self): pass\n", "m/constants.pkl": BENIGN}
    )
    assert "torchscript" in rules(content)


def test_tensors_of_pytorch_need_no_form() -> None:
    weights = zipped(
        {"archive/data.pkl": BENIGN, "archive/data/0": b"\x80\x03" + bytes(100), "archive/version": b"3\n"}
    )
    assert report(weights).findings == ()
    assert rules(zipped({"archive/data.pkl": BENIGN, "archive/data/0": EVIL})) == {"pickle-global"}
    assert rules(zipped({"archive/data.pkl": BENIGN, "archive/data/0": gzip.compress(EVIL)})) == {"pickle-global"}
    assert rules(zipped({"data/0": b"\x00\x01" * 50})) == {"format-unknown"}


@pytest.mark.parametrize(
    "magic", [b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x00"]
)
def test_what_cannot_be_opened_is_refused(magic: bytes) -> None:
    assert rules(magic + bytes(100)) == {"archive-opaque"}


# --- tar ---


def test_a_damaged_tar_is_refused() -> None:
    honest = tarred({"a": BENIGN})
    assert report(honest).findings == ()
    assert rules(honest[:600]) == {"archive-malformed"}
    assert rules(honest + EVIL) == {"archive-malformed"}
    behind = bytearray(honest)
    behind[1024:1536] = b"x" * 512
    assert rules(bytes(behind)) == {"archive-malformed"}


def test_a_tar_that_is_a_pickle_too_is_refused() -> None:
    content = tarred({"cposix\nsystem\n(S'true'\ntR.": b"x"})
    assert "pickle-global" in rules(content)


# --- arrays ---


def saved(array: NDArray[Any], *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def test_arrays_have_the_length_that_they_announce() -> None:
    for array in (
        np.arange(6.0).reshape(2, 3),
        np.array(5),
        np.zeros((0, 3)),
        np.array(["a", "bb"]),
        np.zeros(3, dtype=[("a", "<f8"), ("b", "U4"), ("c", "i1", (2, 2)), ("d", [("e", "M8[s]")])]),
    ):
        content = saved(array)
        assert report(content).findings == (), array.dtype
        assert rules(content + b"x") == {"array-malformed"}
    assert rules(saved(np.zeros(100))[:-1]) == {"array-malformed"}


def test_arrays_of_objects_are_pickles() -> None:
    honest = saved(np.array([1, "a"], dtype=object), pickled=True)
    assert report(honest).findings == ()
    head = honest[: honest.index(b"\x80")]
    assert rules(head + EVIL) == {"pickle-global"}
    assert rules(zipped({"x.npy": head + EVIL})) == {"pickle-global"}


def joblib_array(dtype: str, body: bytes, count: int, *, frame: bool = False) -> bytes:
    """What joblib writes: the description of an array, then its bytes beside the opcodes."""
    array = pickle.dumps(np.dtype(dtype), 4)[2:-1]
    if array[:1] == b"\x95":
        array = array[9:]
    array = array.replace(b"\x94", b"")  # the memo is not needed
    wrapper = b"\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81}(\x8c\x05shape"
    wrapper += b"J" + struct.pack("<i", count) + b"\x85\x8c\x05dtype" + array + b"ub"
    framed = b"\x95" + struct.pack("<Q", len(wrapper) + 20) + wrapper if frame else wrapper
    return b"\x80\x04" + framed + body + b"."


def test_arrays_of_joblib_are_passed_over() -> None:
    assert report(joblib_array("f8", b"\xff" * 80, 10)).findings == ()
    assert rules(joblib_array("f8", b"\xff" * 80, 11)) & {"pickle-malformed", "pickle-trailing"}
    assert rules(joblib_array("f8", b"\xff" * 80, 10, frame=True)) == {"array-malformed"}


def test_what_joblib_takes_for_numbers_must_not_act_as_opcodes() -> None:
    """pickle.load does not know where joblib's numbers end."""
    body = EVIL[2:-1]
    assert "pickle-global" in rules(joblib_array("u1", body, len(body)))


def test_objects_in_arrays_of_joblib_are_pickles() -> None:
    assert report(joblib_array("O", BENIGN, 1)).findings == ()
    assert "pickle-global" in rules(joblib_array("O", EVIL, 1))


def test_safetensors_have_no_gaps() -> None:
    def content(places: list[list[int]], size: int) -> bytes:
        tensors = {
            f"t{number}": {"dtype": "U8", "shape": [1], "data_offsets": place} for number, place in enumerate(places)
        }
        head = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
        return struct.pack("<Q", len(head)) + head + bytes(size)

    assert report(content([[0, 4], [4, 10]], 10)).kind == "safetensors"
    assert report(content([[0, 4], [4, 10]], 10)).findings == ()
    for places, size in (([[0, 4], [5, 10]], 10), ([[0, 4], [3, 10]], 10), ([[0, 4]], 10), ([[0]], 0)):
        assert rules(content(places, size)) == {"format-malformed"}
    assert rules(struct.pack("<Q", 4) + b"{xx}") == {"format-malformed"}
