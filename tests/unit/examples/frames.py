"""Tiny hand-made tables in the shape of the source files."""

from __future__ import annotations

from typing import Any

import pandas as pd

from examples.flights.data import WEATHER_VALUES, Tables

ZONES = {
    "LAX": "America/Los_Angeles",
    "PHX": "America/Phoenix",
    "SYR": "America/New_York",
    "HNL": "Pacific/Honolulu",
}


def seconds(text: str) -> int:
    """Seconds since 1970 of an ISO time with zone."""
    return int(pd.Timestamp(text).timestamp())


def flight(hour: str, **changes: Any) -> dict[str, Any]:
    """One flight that leaves at `hour` (UTC, like 2013-05-01T14:00:00Z); 10:00 in New York unless changed."""
    row: dict[str, Any] = {
        "month": pd.Timestamp(hour).month,
        "minute": 0,
        "time_hour": hour,
        "sched_dep_time": 1000,
        "sched_arr_time": 1120,
        "arr_delay": 0.0,
        "carrier": "B6",
        "origin": "JFK",
        "dest": "SYR",
        "distance": 209,
    }
    return row | changes


def weather(hour: str, origin: str = "JFK", **changes: float) -> dict[str, Any]:
    """One weather row labelled `hour`; every value is 1.0 unless changed."""
    return {"origin": origin, "time_hour": hour} | dict.fromkeys(WEATHER_VALUES, 1.0) | changes


def tables(flights: list[dict[str, Any]], reports: list[dict[str, Any]]) -> Tables:
    """The three tables, with a few destinations."""
    airports = pd.DataFrame({"faa": list(ZONES), "tzone": list(ZONES.values())})
    return Tables(pd.DataFrame(flights), pd.DataFrame(reports), airports)
