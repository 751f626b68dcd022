"""Nothing that was unknown an hour before departure may reach the inputs; labels and times are exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.flights import data, features, source
from examples.flights.errors import DemoError
from tests.unit.examples.frames import flight, seconds, tables, weather

NOON = "2013-05-01T12:00:00Z"


def known(decided: str, rows: Sequence[dict[str, object]], origin: str = "JFK") -> pd.Series:
    """The weather that a flight from `origin`, decided at that time, gets."""
    found = features.known_weather(np.array([seconds(decided)]), pd.Series([origin]), pd.DataFrame(rows))
    return found.iloc[0]


@pytest.mark.parametrize(
    ("hhmm", "minutes"), [(0, 0), (1, 1), (59, 59), (100, 60), (1530, 930), (2359, 1439), (2400, 0)]
)
def test_minutes_of_day(hhmm: int, minutes: int) -> None:
    assert features.minutes_of_day(np.array([hhmm])).tolist() == [minutes]


def test_weather_counts_from_one_hour_after_its_label() -> None:
    rows = [weather(NOON, temp=50.0)]
    assert np.isnan(known("2013-05-01T12:59:59Z", rows)["temp"])
    at_the_hour = known("2013-05-01T13:00:00Z", rows)
    assert at_the_hour["temp"] == 50.0
    assert at_the_hour["weather_age_hours"] == 1.0


def test_weather_older_than_six_hours_is_unknown() -> None:
    rows = [weather(NOON, temp=50.0)]
    assert known("2013-05-01T18:00:00Z", rows)["temp"] == 50.0
    assert known("2013-05-01T18:00:01Z", rows).isna().all()


def test_newest_known_weather_of_the_own_airport() -> None:
    rows = [
        weather("2013-05-01T13:00:00Z", temp=3.0),  # known from 14:00 on: too late
        weather("2013-05-01T10:00:00Z", temp=1.0),
        weather("2013-05-01T12:00:00Z", temp=2.0),
        weather("2013-05-01T12:00:00Z", origin="LGA", temp=9.0),
    ]
    assert known("2013-05-01T13:30:00Z", rows)["temp"] == 2.0
    assert known("2013-05-01T13:30:00Z", rows, origin="LGA")["temp"] == 9.0
    assert known("2013-05-01T13:30:00Z", rows, origin="EWR").isna().all()


def test_impossible_wind_is_null_and_the_rest_of_the_row_stays() -> None:
    found = known("2013-05-01T13:00:00Z", [weather(NOON, wind_speed=1048.36, temp=50.0)])
    assert np.isnan(found["wind_speed"])
    assert found["temp"] == 50.0


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["JFK", "LGA"])), min_size=1, max_size=12, unique=True
    ),
    decisions=st.lists(st.tuples(st.integers(0, 40 * 60), st.sampled_from(["JFK", "LGA"])), min_size=1, max_size=8),
)
def test_weather_agrees_with_the_plain_definition(
    labels: list[tuple[int, str]], decisions: list[tuple[int, str]]
) -> None:
    start = pd.Timestamp("2013-05-01T00:00:00Z")
    rows = [
        weather((start + pd.Timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ"), origin, temp=float(hour))
        for hour, origin in labels
    ]
    decided = np.array([int(start.timestamp()) + 60 * minute for minute, _ in decisions])
    found = features.known_weather(decided, pd.Series([origin for _, origin in decisions]), pd.DataFrame(rows))
    for place, (minute, origin) in enumerate(decisions):
        legal = [hour for hour, at in labels if at == origin and 60 * hour + 60 <= minute <= 60 * hour + 360]
        expected = max(legal, default=None)
        got = found["temp"].iloc[place]
        assert np.isnan(got) if expected is None else got == expected


@pytest.mark.parametrize(("delay", "late"), [(15.0, False), (16.0, True), (-5.0, False)])
def test_late_means_more_than_15_minutes(delay: float, late: bool) -> None:
    table = features.build(tables([flight("2013-05-01T14:00:00Z", arr_delay=delay)], [weather(NOON)]))
    assert table.late.tolist() == [late]
    assert table.labelled.tolist() == [True]


def test_a_flight_that_never_arrived_has_no_label() -> None:
    table = features.build(tables([flight("2013-05-01T14:00:00Z", arr_delay=np.nan)], [weather(NOON)]))
    assert table.labelled.tolist() == [False]
    part = features.split(table)
    assert not any(mask.any() for mask in (part.fit, part.valid, part.train, part.test))


def test_label_is_known_at_the_actual_arrival() -> None:
    table = features.build(tables([flight("2013-05-01T14:00:00Z", arr_delay=90.0)], [weather(NOON)]))
    assert table.label_known_at.tolist() == [seconds("2013-05-01T12:50:00-04:00")]
    assert table.decided_at.tolist() == [seconds("2013-05-01T13:00:00Z")]


def arrival(departure: str, hhmm: int, zone: str) -> str:
    """Scheduled arrival as UTC text."""
    found = features.scheduled_arrival(np.array([seconds(departure)]), np.array([hhmm]), pd.Series([zone]))
    return str(pd.Timestamp(found[0], unit="s").strftime("%Y-%m-%d %H:%M"))


@pytest.mark.parametrize(
    ("departure", "hhmm", "zone", "expected"),
    [
        ("2013-05-01T14:00:00Z", 1120, "America/New_York", "2013-05-01 15:20"),
        ("2013-05-01T14:00:00Z", 1300, "America/Los_Angeles", "2013-05-01 20:00"),
        # over midnight, and midnight itself
        ("2013-05-02T01:00:00Z", 15, "America/New_York", "2013-05-02 04:15"),
        ("2013-05-02T01:00:00Z", 2400, "America/New_York", "2013-05-02 04:00"),
        # clocks go forward at 02:00 on 10 March: 01:00 EST to 05:00 EDT are three hours
        ("2013-03-10T06:00:00Z", 500, "America/New_York", "2013-03-10 09:00"),
        # a time that does not exist is the first that does
        ("2013-03-10T06:00:00Z", 230, "America/New_York", "2013-03-10 07:00"),
        # clocks go back at 02:00 on 3 November: 00:30 EDT to 02:30 EST are three hours
        ("2013-11-03T04:30:00Z", 230, "America/New_York", "2013-11-03 07:30"),
        # a time that happens twice is read as standard time: the label is known late rather than early
        ("2013-11-03T04:30:00Z", 130, "America/New_York", "2013-11-03 06:30"),
        # no summer time there
        ("2013-07-01T14:00:00Z", 1200, "America/Phoenix", "2013-07-01 19:00"),
        ("2013-07-01T14:00:00Z", 1400, "Pacific/Honolulu", "2013-07-02 00:00"),
    ],
)
def test_scheduled_arrival(departure: str, hhmm: int, zone: str, expected: str) -> None:
    assert arrival(departure, hhmm, zone) == expected


def test_destination_without_zone_is_refused() -> None:
    with pytest.raises(DemoError, match="time zone"):
        features.build(tables([flight("2013-05-01T14:00:00Z", dest="XXX")], [weather(NOON)]))


def test_destinations_missing_from_the_airports_table_are_in_puerto_rico() -> None:
    late_spring = flight("2013-05-01T14:00:00Z", dest="SJU", sched_arr_time=1400)
    table = features.build(tables([late_spring], [weather(NOON)]))
    assert table.label_known_at.tolist() == [seconds("2013-05-01T18:00:00Z")]


def test_clock_inputs_are_local() -> None:
    # 22:30 on a Sunday in New York is Monday in UTC.
    row = flight("2013-05-06T02:00:00Z", minute=30, sched_dep_time=2230)
    inputs = features.build(tables([row], [weather(NOON)])).inputs
    assert inputs["minute_of_day"].tolist() == [22 * 60 + 30]
    assert inputs["weekday"].tolist() == [6]


def test_inputs_do_not_depend_on_what_happens_later() -> None:
    hours = [f"2013-05-01T{hour:02}:00:00Z" for hour in range(12, 20)]
    flights = [flight(hour, arr_delay=5.0) for hour in hours]
    reports = [weather(hour, temp=float(place)) for place, hour in enumerate(hours)]
    before = features.build(tables(flights, reports)).inputs
    for place, hour in enumerate(hours):
        decided = pd.Timestamp(hour) - pd.Timedelta(hours=1)
        future = [row | {"temp": -99.0} if pd.Timestamp(row["time_hour"]) > decided - pd.Timedelta(hours=1) else row
                  for row in reports]  # fmt: skip
        changed = [row | {"arr_delay": 300.0, "month": 12} for row in flights]
        after = features.build(tables(changed, future)).inputs
        pd.testing.assert_series_equal(before.iloc[place], after.iloc[place])


def test_rows_are_in_the_order_of_decisions() -> None:
    rows = [flight("2013-05-01T16:00:00Z", carrier="C"), flight("2013-05-01T14:00:00Z", carrier="A")]
    rows.append(flight("2013-05-01T14:00:00Z", minute=30, carrier="B"))
    table = features.build(tables(rows, [weather(NOON)]))
    assert table.inputs["carrier"].tolist() == ["A", "B", "C"]
    assert np.all(np.diff(table.decided_at) > 0)


def test_split_by_time_of_knowledge() -> None:
    rows = [
        flight("2013-03-01T15:00:00Z", carrier="fit"),
        # leaves on 14 March but arrives after midnight: neither known to `fit` nor decided in `valid`
        flight("2013-03-15T01:00:00Z", sched_dep_time=2100, sched_arr_time=2230, arr_delay=120.0, carrier="gap"),
        flight("2013-03-20T14:00:00Z", carrier="valid"),
        # of March, but its label is not known by 1 April
        flight(
            "2013-04-01T01:00:00Z", month=3, sched_dep_time=2100, sched_arr_time=2330, arr_delay=31.0, carrier="none"
        ),
        flight("2013-04-01T14:00:00Z", carrier="test"),
    ]
    table = features.build(tables(rows, [weather(NOON)]))
    part = features.split(table)
    names = table.inputs["carrier"].to_numpy()
    assert names[part.fit].tolist() == ["fit"]
    assert names[part.valid].tolist() == ["valid"]
    assert names[part.train].tolist() == ["fit", "gap", "valid"]
    assert names[part.test].tolist() == ["test"]


def test_label_known_exactly_at_the_end_is_training() -> None:
    row = flight("2013-04-01T01:00:00Z", month=3, sched_dep_time=2100, sched_arr_time=2330, arr_delay=30.0)
    assert features.split(features.build(tables([row], [weather(NOON)]))).train.tolist() == [True]


def test_thin_keeps_every_nth_row_of_each_part() -> None:
    rows = [flight(f"2013-{month:02}-02T{hour:02}:00:00Z") for month in (1, 5) for hour in range(14, 20)]
    part = features.split(features.build(tables(rows, [weather(NOON)])))
    thinned = features.thin(part, 3)
    assert (thinned.train.sum(), thinned.test.sum(), thinned.valid.sum()) == (2, 2, 0)
    assert not (thinned.train & ~part.train).any()


# Computed by brute force, independently of this code: departure, arrival, label, weather row (or none), temperature.
REAL_FLIGHTS = [
    ("UA", "EWR", "IAH", "2013-12-31T12:47Z", "2013-12-31T16:55Z", False, None, np.nan),
    ("AA", "JFK", "SJU", "2013-01-05T23:55Z", "2013-01-06T04:50Z", True, "2013-01-05T21:00Z", 39.02),
    ("B6", "JFK", "SYR", "2013-01-01T20:55Z", "2013-01-01T22:35Z", True, "2013-01-01T18:00Z", 37.94),
    ("B6", "JFK", "CLT", "2013-01-01T21:35Z", "2013-01-02T00:18Z", True, "2013-01-01T19:00Z", 39.02),
    ("UA", "EWR", "PHX", "2013-02-18T17:16Z", "2013-02-18T22:19Z", False, "2013-02-18T15:00Z", 28.04),
    ("UA", "LGA", "IAH", "2013-03-10T10:00Z", "2013-03-10T13:57Z", False, "2013-03-10T08:00Z", 35.96),
]


def test_real_flights() -> None:
    table = features.build(data.read(source.find()))
    part = features.split(table)
    assert (len(table.inputs), part.train.sum(), part.test.sum()) == (336_776, 77_827, 249_435)
    assert table.late[part.train].mean() == pytest.approx(0.2281, abs=5e-5)
    for carrier, origin, dest, departure, arrived, late, hour, temp in REAL_FLIGHTS:
        decided = seconds(departure) - 3600
        route = (table.inputs[["carrier", "origin", "dest"]] == [carrier, origin, dest]).all(axis=1)
        (row,) = np.flatnonzero(route.to_numpy() & (table.decided_at == decided))
        assert (table.label_known_at[row], table.late[row]) == (seconds(arrived), late)
        assert table.inputs["temp"].iloc[row] == pytest.approx(temp, nan_ok=True)
        age = np.nan if hour is None else (decided - seconds(hour)) / 3600
        assert table.inputs["weather_age_hours"].iloc[row] == pytest.approx(age, nan_ok=True)
