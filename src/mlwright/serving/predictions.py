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

from mlwright.serving import segments
from mlwright.serving.host import spool
from mlwright.serving.host.spool import Prediction
from mlwright.serving.host.traces import made_ms

_DATE = "date="
_DAY_MS = 86_400_000


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

    def read(self, endpoint: str, *, since_ms: int = 0, until_ms: int | None = None) -> Iterator[Prediction]:
        """Predictions of an endpoint from a time on and before another one, about in the order of their times."""
        until = until_ms if until_ms is not None else 1 << 62
        spooled = self._waiting(endpoint, since_ms, until)  # before the folders are listed: what is packed is in both
        seen: set[tuple[date, str]] = set()
        for day, files in self._days(endpoint, since_ms, until):
            for path in files:
                seen.add((day, segments.stem_of(path)))
                yield from (each for each in segments.read(path) if since_ms <= each.time_ms < until)
        for stem, found in spooled:
            yield from (each for each in found if (day_of(each.time_ms), stem) not in seen)

    def latest(self, endpoint: str, count: int, *, before_ms: int | None = None) -> list[Prediction]:
        """The newest predictions, the newest first."""
        until = before_ms if before_ms is not None else 1 << 62
        spooled = self._waiting(endpoint, 0, until)
        found: list[Prediction] = []
        seen: set[tuple[date, str]] = set()
        for day, files in reversed(list(self._days(endpoint, 0, until))):
            for path in files:
                seen.add((day, segments.stem_of(path)))
            if len(found) < count:
                every = (each for path in files for each in segments.read(path) if each.time_ms < until)
                found += _newest(every, count)
        new = (each for stem, some in spooled for each in some if (day_of(each.time_ms), stem) not in seen)
        return _newest(itertools.chain(found, new), count)

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

    def _days(self, endpoint: str, since_ms: int, until_ms: int) -> Iterator[tuple[date, list[Path]]]:
        for day, folder in days(self._folder / endpoint):
            began_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1_000)
            if began_ms < until_ms and began_ms + _DAY_MS > since_ms:
                yield day, files(folder)


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
