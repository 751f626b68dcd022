"""The prediction log: what is written, torn, packed, converted, forgotten and read."""

import asyncio
import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlwright.serving import packing, segments
from mlwright.serving.host import recording, spool
from mlwright.serving.host.recording import Recorder, SpoolFile
from mlwright.serving.host.spool import Entry, Kept, Prediction
from mlwright.serving.host.state import Revision, Served
from mlwright.serving.host.tensors import SIZES, Array, Asked, Shape, packed
from mlwright.serving.host.traces import Naming
from mlwright.serving.predictions import PredictionLog, day_of
from mlwright.serving.spec import Logging

TODAY = date(2026, 11, 27)
NOON_MS = 1_795_780_800_000
DAY_MS = 86_400_000
COLUMNS = ["age", "zip"]


def entry(number: int, endpoint: str = "toy", time_ms: int = NOON_MS) -> Entry:
    data = struct.pack("<4d", number, float("nan"), float("inf"), 4)
    inputs = [Kept("", "FP64", [2, 2], data, "age\0zip"), Kept("text", "BYTES", [2], ["a", "é"])]
    outputs = [
        Kept("p", "FP64", [2], struct.pack("<2d", 0.5, number)),
        Kept("v", "INT64", [2, 2], struct.pack("<4q", 1, 2, 3, 4)),
    ]
    name = f"{time_ms:012x}-{number:08x}-{0:012x}"
    return Entry(name, "r", "", endpoint, 1, "m", 7, "e", time_ms, 1.5, 2, outputs, inputs if number % 2 else None)


EXPECTED = {"age": [1.0, None], "zip": [None, 4.0], "text": ["a", "é"]}


def spooled(folder: Path, *frames: Sequence[Entry], stem: str = "0001") -> Path:
    path = folder / spool.FOLDER / f"{stem}{spool.SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(spool.MAGIC + b"".join(spool.frame(each) for each in frames))
    return path


def pack(folder: Path, **policies: Logging) -> None:
    packing.pack(folder, policies, TODAY)


@pytest.fixture(params=[True, False], ids=["parquet", "lines"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(segments, "has_parquet", lambda: request.param)
    return segments.PARQUET if request.param else segments.LINES


def everything(folder: Path, endpoint: str = "toy") -> list[Prediction]:
    return list(PredictionLog(folder).read(endpoint))


def test_the_same_is_read_before_and_after_packing(tmp_path: Path, form: str) -> None:
    spooled(tmp_path, [entry(0), entry(1)], [entry(2, "other"), entry(3, time_ms=NOON_MS + DAY_MS)])
    before = everything(tmp_path)
    assert PredictionLog(tmp_path).endpoints() == ["other", "toy"]
    pack(tmp_path)
    assert everything(tmp_path) == before
    assert [len(each.inputs or {}) for each in before] == [0, 3, 3]
    assert before[1].inputs == EXPECTED
    assert before[1].outputs == {"p": [0.5, 1.0], "v": [[1, 2], [3, 4]]}
    assert PredictionLog(tmp_path).endpoints() == ["other", "toy"]
    found = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*0001*"))
    assert [str(path.parent) for path in found] == [
        "other/date=2026-11-27",
        "toy/date=2026-11-27",
        "toy/date=2026-11-28",
    ]
    assert {path.name for path in found} == {f"0001{form}"}


def test_by_time_and_by_id(tmp_path: Path, form: str) -> None:
    spooled(tmp_path, [entry(number, time_ms=NOON_MS + number) for number in range(20)])
    pack(tmp_path)
    spooled(tmp_path, [entry(number, time_ms=NOON_MS + number) for number in range(20, 25)], stem="0002")
    log = PredictionLog(tmp_path)
    found = log.read("toy", since_ms=NOON_MS + 5, until_ms=NOON_MS + 22)
    assert [each.time_ms - NOON_MS for each in found] == list(range(5, 22))
    assert [each.time_ms - NOON_MS for each in log.latest("toy", 7)] == list(range(24, 17, -1))
    for number in (3, 23):
        assert log.find("toy", entry(number, time_ms=NOON_MS + number).prediction_id) is not None
    assert log.find("toy", entry(99).prediction_id) is None
    assert log.find("toy", "no id") is None
    assert [each.time_ms - NOON_MS for each in log.latest("toy", 7, since_ms=NOON_MS + 18)] == list(range(24, 17, -1))
    assert [each.time_ms - NOON_MS for each in log.latest("toy", 7, since_ms=NOON_MS + 22)] == [24, 23, 22]
    assert log.latest("none", 3) == []


def test_only_files_with_what_is_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(5):
        spooled(tmp_path, [entry(number, time_ms=NOON_MS + number) for number in range(place * 10, place * 10 + 15)],
                stem=f"000{place}")  # fmt: skip
        pack(tmp_path)
    read: list[str] = []
    real = segments.read

    def noted(path: Path, *given_: Any) -> Iterator[Prediction]:
        read.append(segments.stem_of(path))
        return real(path, *given_)

    monkeypatch.setattr(segments, "read", noted)
    log = PredictionLog(tmp_path)
    assert [each.time_ms - NOON_MS for each in log.latest("toy", 7)] == [54, 53, 52, 51, 50, 49, 48][:7]
    assert read == ["0004"]
    read.clear()
    assert [each.time_ms - NOON_MS for each in log.latest("toy", 20)][:12] == [
        54,
        53,
        52,
        51,
        50,
        49,
        48,
        47,
        46,
        45,
        44,
        44,
    ]
    assert read == ["0004", "0003"]
    read.clear()
    assert log.find("toy", entry(33, time_ms=NOON_MS + 33).prediction_id) is not None
    assert read == ["0002"]


def test_a_torn_frame_takes_nothing_else_with_it(tmp_path: Path) -> None:
    path = spooled(tmp_path, [entry(0), entry(1)], [entry(2)])
    whole, last = path.read_bytes(), len(spool.frame([entry(2)]))
    for cut in (1, last // 2, last - 1):
        path.write_bytes(whole[:-cut])
        assert len(everything(tmp_path)) == 2
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert len(everything(tmp_path)) == 2
    for garbage in (b"", spool.MAGIC, b"garbage" * 10):
        path.write_bytes(garbage)
        assert everything(tmp_path) == []
    pack(tmp_path)
    assert not path.exists()


def test_a_file_that_a_host_writes_to_is_left_alone(tmp_path: Path) -> None:
    path = spooled(tmp_path, [entry(0)])
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        pack(tmp_path)
        assert path.exists()
        assert len(everything(tmp_path)) == 1
    pack(tmp_path)
    assert not path.exists()


def test_killed_between_files_nothing_is_there_twice(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled(tmp_path, [entry(0), entry(1, "other")])
    before = everything(tmp_path)
    real, calls = segments.write, iter([None])

    def dies(folder: Path, stem: str, found: Sequence[Prediction]) -> Path:
        if next(calls, 1):
            raise KeyboardInterrupt
        return real(folder, stem, found)

    monkeypatch.setattr(segments, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path)
    assert (everything(tmp_path), len(everything(tmp_path, "other"))) == (before, 1)
    monkeypatch.setattr(segments, "write", real)
    (torn,) = (path.with_name(".0001.parquet.4711") for path in tmp_path.glob("*/*/0001.*"))
    torn.write_bytes(b"PAR1")
    pack(tmp_path)
    assert not torn.exists()
    assert (everything(tmp_path), len(everything(tmp_path, "other"))) == (before, 1)
    assert list((tmp_path / spool.FOLDER).glob("*.spool")) == []


def test_lines_become_parquet_once_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "has_parquet", lambda: False)
    spooled(tmp_path, [entry(0), entry(1)])
    pack(tmp_path)
    before = everything(tmp_path)
    (lines,) = tmp_path.rglob(f"*{segments.LINES}")
    monkeypatch.setattr(segments, "has_parquet", lambda: True)
    pack(tmp_path)
    assert everything(tmp_path) == before == list(segments.read(lines))
    assert [path.name for path in lines.parent.iterdir()] == ["0001.parquet"]


def test_what_is_old_or_too_much_is_forgotten(tmp_path: Path, form: str) -> None:
    for days in range(6):
        spooled(tmp_path, [entry(days, time_ms=NOON_MS - days * DAY_MS)], stem=f"{9 - days:04d}")
        pack(tmp_path, toy=Logging(keep_days=3))
    assert [day_of(each.time_ms).day for each in everything(tmp_path)] == [24, 25, 26, 27]
    for path in tmp_path.rglob(f"*{form}"):  # as if each had three quarters of a mebibyte
        os.truncate(path, 3 << 18)
    pack(tmp_path, toy=Logging(keep_mib=2))
    assert len(list(tmp_path.rglob(f"*{form}"))) == 2
    assert len(list((tmp_path / "toy").iterdir())) == 2


values = st.one_of(
    st.lists(st.floats(allow_nan=False, allow_infinity=False)),
    st.lists(st.integers(-(2**63), 2**64)),
    st.lists(st.booleans()),
    st.lists(st.text()),
    st.lists(st.one_of(st.none(), st.integers(), st.text(), st.floats(allow_nan=False), st.lists(st.integers()))),
    st.lists(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)))),
)
objects = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), values, max_size=4
)


some_objects = objects.filter(bool)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(objects, st.none() | some_objects), min_size=1, max_size=4))
def test_whatever_models_say_is_read_as_it_was(given_: list[tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
    found = [
        Prediction(f"{place}", "", "", "toy", 1, "m", 1, "", NOON_MS, 1.0, 1, outputs, inputs)
        for place, (outputs, inputs) in enumerate(given_)
    ]
    with tempfile.TemporaryDirectory() as folder:
        assert list(segments.read(segments.write(Path(folder), "x", found))) == found


kinds = st.sampled_from(["BOOL", "INT8", "UINT16", "INT64", "UINT64", "FP16", "FP32", "FP64", "BYTES"])


@st.composite
def arrays(draw: st.DrawFn, rows: int, datatype: str, per_row: int, place: int) -> Kept:
    count = rows * per_row
    shape = [rows] if per_row == 1 else [rows, per_row]
    if datatype == "BYTES":
        return Kept(f"a{place}", datatype, shape, draw(st.lists(st.text(), min_size=count, max_size=count)))
    size = SIZES[datatype] * count
    data = draw(st.binary(min_size=size, max_size=size))
    if datatype == "BOOL":
        data = bytes(each & 1 for each in data)
    columns = "\0".join(f"c{at}" for at in range(per_row)) if place == 0 and per_row > 1 else ""
    return Kept("" if columns else f"a{place}", datatype, shape, data, columns)


def test_a_nan_that_signals_is_packed_as_any_other(tmp_path: Path) -> None:
    signals = [Kept("a", "FP32", [1], b"\x00\x00\x81\x7f", "")]
    made = Entry("1", "", "", "toy", 1, "m", 1, "", NOON_MS, 1.0, 1, signals, None)
    assert list(segments.read(segments.write(tmp_path, "x", [made]))) == [spool.prediction(made)]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(st.tuples(kinds, st.integers(1, 3)), min_size=1, max_size=3), st.integers(1, 4))
def test_arrays_become_the_same_columns_as_their_values(
    data: st.DataObject, described: list[tuple[str, int]], count: int
) -> None:
    found = []
    for number in range(count):
        rows = data.draw(st.integers(1, 3))
        kept = [data.draw(arrays(rows, kind, per_row, place)) for place, (kind, per_row) in enumerate(described)]
        inputs = kept if data.draw(st.booleans()) else None
        found.append(Entry(f"{number}", "", "", "toy", 1, "m", 1, "", NOON_MS, 1.0, rows, kept, inputs))
    with tempfile.TemporaryDirectory() as folder:
        read = list(segments.read(segments.write(Path(folder), "x", found)))
    assert read == [spool.prediction(each) for each in found]


# --- in the host --------------------------------------------------------------------------------------------------


def asked(rows: int = 2) -> Asked:
    shape = Shape(("",), ("FP64",), ((2,),), tuple(COLUMNS))
    return Asked(shape, rows, (struct.pack(f"<{2 * rows}d", *range(2 * rows)),))


def served(**logging: Any) -> Served:
    return Served("toy", "default", 1, [], entity="age", logging=Logging(**logging))


REVISION = Revision(1, "m", 7, "", "", "")
ANSWER = [Array("p", "FP64", [2], struct.pack("<2d", 1, 2))]


def record(recorder: Recorder, *every: Served) -> None:
    naming = Naming()
    for each in every:
        recorder.record(naming.ids({}), each, REVISION, "ann", 0.001, asked(), ANSWER)


async def recorded(folder: Path, *every: Served, chance: float = 0.5) -> Recorder:
    recorder = Recorder(folder, asyncio.get_running_loop().time, lambda: chance)
    record(recorder, *every)
    await recorder.close()
    return recorder


def test_a_share_of_inputs_is_kept_and_columns_never_are(tmp_path: Path) -> None:
    every = [served(), served(sample=0.6), served(sample=0.4), served(redact=["age"]), served(predictions=False)]
    recorder = asyncio.run(recorded(tmp_path, *every))
    found = everything(tmp_path)
    both = {"age": [0.0, 2.0], "zip": [1.0, 3.0]}
    assert [each.inputs for each in found] == [both, both, None, {"zip": [1.0, 3.0]}]
    assert [each.entity for each in found] == ["ann", "ann", "ann", ""]
    assert (recorder.written["toy"], recorder.dropped["toy"]) == (4, 0)
    (path,) = (tmp_path / spool.FOLDER).iterdir()
    assert struct.pack("<2d", 0, 1) in path.read_bytes()  # what is not redacted is there as it came


@given(st.lists(st.integers(0, 255), min_size=12, max_size=12), st.sets(st.sampled_from(["a", "b", "c", "d"])))
def test_what_is_redacted_is_not_in_the_bytes(cells: list[int], gone: set[str]) -> None:
    names = ("a", "b", "c", "d")
    whole = Asked(Shape(("",), ("UINT8",), ((4,),), names), 3, (packed("UINT8", cells, ""),))
    kept = spool.kept_inputs(whole, sorted(gone))
    left = [name for name in names if name not in gone]
    assert [name for each in kept for name in spool.columns_of(each.columns)] == left
    for each in kept:
        assert list(each.data) == [cells[row * 4 + names.index(name)] for row in range(3) for name in left]


def test_what_is_full_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_MOST_ENTRIES", 3)
    recorder = asyncio.run(recorded(tmp_path, *[served()] * 5))
    assert (recorder.written["toy"], recorder.dropped["toy"], len(everything(tmp_path))) == (3, 2, 3)
    monkeypatch.setattr(recording, "_MOST_BYTES", 100)
    recorder = asyncio.run(recorded(tmp_path / "other", *[served()] * 5))
    assert (recorder.written["toy"], recorder.dropped["toy"]) == (2, 3)


def test_a_disk_that_takes_no_more_drops_and_counts(tmp_path: Path) -> None:
    (tmp_path / spool.FOLDER).write_text("in the way")
    recorder = asyncio.run(recorded(tmp_path, *[served()] * 5))
    assert (recorder.written["toy"], recorder.dropped["toy"]) == (0, 5)


def test_the_last_of_a_disk_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_LEAST_FREE", 1 << 60)
    assert asyncio.run(recorded(tmp_path, served())).dropped["toy"] == 1
    monkeypatch.undo()
    monkeypatch.setattr(recording, "_MOST_SPOOLED", 1)
    spooled(tmp_path, [entry(0)])
    assert asyncio.run(recorded(tmp_path, served())).dropped["toy"] == 1


def test_half_a_frame_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, frame = SpoolFile(tmp_path / spool.FOLDER, lambda: 0.0), spool.frame([entry(0)])
    file.append(frame)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[: len(data) // 2]))
    with pytest.raises(OSError, match="no more"):
        file.append(frame)
    monkeypatch.undo()
    file.append(frame)
    file.close()
    assert len(everything(tmp_path)) == 2


def test_a_full_file_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_FILE_BYTES", 300)
    file = SpoolFile(tmp_path / spool.FOLDER, lambda: 0.0)
    closed = [file.append(spool.frame([entry(number)])) for number in range(4)]
    assert closed == [False, True, False, True]
    pack(tmp_path)
    assert len(everything(tmp_path)) == 4
