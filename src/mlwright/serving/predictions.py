"""Reads the prediction log: what was asked and answered, also what a host wrote down a moment ago.

Below its folder lie `ENDPOINT/date=YYYY-MM-DD/` with complete files (`segments.py`), and `.spool/` with what is not
packed yet (`spool.py`). Whoever reads both sees each prediction once, whatever is packed meanwhile.
"""

import heapq
import itertools
import operator
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from mlwright.serving import segments
from mlwright.serving.host import spool
from mlwright.serving.host.spool import Prediction
from mlwright.serving.host.traces import made_ms
from mlwright.serving.segments import FOREVER_MS

_DATE = "date="
_DAY_MS = 86_400_000


class _Packed(NamedTuple):
    day: date
    path: Path
    first_ms: int
    last_ms: int


class PredictionLog:
    """Args:
    folder: of the log; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def endpoints(self) -> list[str]:
        """Names of all that have predictions."""
        packed = {path.name for path in self._folder.glob("*") if not path.name.startswith(".")}
        return sorted(packed | {entry.endpoint for path in self._spooled() for entry in spool.entries(path)})

    def read(self, endpoint: str, *, since_ms: int = 0, until_ms: int = FOREVER_MS) -> Iterator[Prediction]:
        """Predictions of an endpoint from a time on and before another one, about in the order of their times."""
        spooled = self._waiting(endpoint, since_ms, until_ms)  # before the folders: what is packed meanwhile is in both
        packed = list(self._files(endpoint, since_ms, until_ms))
        for each in packed:
            if each.first_ms < until_ms and each.last_ms >= since_ms:
                yield from segments.read(each.path, since_ms, until_ms)
        yield from _others(spooled, packed)

    def latest(self, endpoint: str, count: int, *, since_ms: int = 0, before_ms: int = FOREVER_MS) -> list[Prediction]:
        """The newest predictions, the newest first."""
        spooled = self._waiting(endpoint, since_ms, before_ms)
        packed = list(self._files(endpoint, since_ms, before_ms))
        found = _newest(_others(spooled, packed), count)
        for each in sorted(packed, key=operator.attrgetter("last_ms"), reverse=True):
            if len(found) == count and found[-1].time_ms > each.last_ms:
                break
            found = _newest(itertools.chain(found, segments.read(each.path, since_ms, before_ms, count)), count)
        return found

    def find(self, endpoint: str, prediction_id: str) -> Prediction | None:
        """A prediction by its id; None where it is not in the log."""
        at_ms = made_ms(prediction_id)
        if at_ms is None:
            return None
        found = self.read(endpoint, since_ms=at_ms, until_ms=at_ms + 1)
        return next((each for each in found if each.prediction_id == prediction_id), None)

    def _spooled(self) -> list[Path]:
        return sorted((self._folder / spool.FOLDER).glob(f"*{spool.SUFFIX}"))

    def _waiting(self, endpoint: str, since_ms: int, until_ms: int) -> list[tuple[str, list[Prediction]]]:
        return [
            (
                path.stem,
                [
                    spool.prediction(entry)
                    for entry in spool.entries(path)
                    if entry.endpoint == endpoint and since_ms <= entry.time_ms < until_ms
                ],
            )
            for path in self._spooled()
        ]

    def _files(self, endpoint: str, since_ms: int, until_ms: int) -> Iterator[_Packed]:
        for day, folder in days(self._folder / endpoint):
            began_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1_000)
            if began_ms < until_ms and began_ms + _DAY_MS > since_ms:
                for path in files(folder):
                    first_ms, last_ms = segments.span(path)
                    yield _Packed(day, path, first_ms, min(last_ms, began_ms + _DAY_MS))


def _others(spooled: list[tuple[str, list[Prediction]]], packed: list[_Packed]) -> Iterator[Prediction]:
    """Predictions that are in no complete file."""
    seen = {(each.day, segments.stem_of(each.path)) for each in packed}
    return (each for stem, some in spooled for each in some if (day_of(each.time_ms), stem) not in seen)


def days(folder: Path) -> list[tuple[date, Path]]:
    """The days of an endpoint, the oldest first."""
    found = []
    for path in sorted(folder.glob(f"{_DATE}*")):
        try:
            found.append((date.fromisoformat(path.name.removeprefix(_DATE)), path))
        except ValueError:  # it is somebody else's
            continue
    return found


def files(folder: Path) -> list[Path]:
    """The complete files of a day, the oldest first; each once, also while it is made Parquet."""
    by_stem = {segments.stem_of(path): path for path in folder.glob(f"*{segments.LINES}")}
    by_stem |= {segments.stem_of(path): path for path in folder.glob(f"*{segments.PARQUET}")}
    return [by_stem[stem] for stem in sorted(by_stem) if not stem.startswith(".")]


def day_of(time_ms: int) -> date:
    """The day that a time belongs to, in UTC."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).date()


def folder_of(folder: Path, endpoint: str, day: date) -> Path:
    """Where the files of a day lie."""
    return folder / endpoint / f"{_DATE}{day.isoformat()}"


def _newest(found: Iterator[Prediction], count: int) -> list[Prediction]:
    return heapq.nlargest(count, found, key=operator.attrgetter("time_ms"))
