"""Runs that one execution of a command starts: found by a tag that MLflow's clients put on each of them."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from mlwright.kernel.client import Client
from mlwright.kernel.errors import MlwrightError
from mlwright.kernel.ids import Ids
from mlwright.reproduction import spec
from mlwright.reproduction.recording import Recording
from mlwright.tracking.service import context

_MOST_RUNS = 10_000
#: A clock that is not ours may have set the time of start.
_MARGIN_MS = 86_400_000


class Execution:
    """One execution of a command.

    Args:
        client: of the server where its runs are.
        id: what is told to the runs.
        started_ms: when it began.
    """

    def __init__(self, client: Client, id: str, started_ms: int) -> None:  # noqa: A002 - it is its id
        self._client = client
        self.id = id
        self.started_ms = started_ms
        self._kept: set[str] = set()

    @classmethod
    def new(cls, client: Client, ids: Ids) -> "Execution":
        """One that begins now."""
        return cls(client, ids.hex32(), time.time_ns() // 1_000_000)

    def variables(self, recording: Recording, environment: Mapping[str, str]) -> dict[str, str]:
        """What its environment gets, so that its runs have the tags of the recording and those given already."""
        return context.variables({**recording.tags, spec.EXECUTION_TAG: self.id}, environment)

    def runs(self) -> list[dict[str, Any]]:
        """The runs that it has started, oldest first."""
        return runs_of(self._client, self.id, self.started_ms)

    def keep(self, recording: Recording) -> int:
        """Put the files of the recording to its runs, where that was not done. Returns how many."""
        found = [run["run_id"] for run in self.runs() if run["run_id"] not in self._kept]
        for run_id in found:
            self.keep_of(run_id, recording)
        return len(found)

    def keep_of(self, run_id: str, recording: Recording) -> None:
        """Put the files of the recording to one of its runs, in place of those that are there."""
        for name, text in recording.files.items():
            put(self._client, run_id, f"{spec.FOLDER}/{name}", text)
        self._kept.add(run_id)

    def end(self, status: str) -> None:
        """Give those of its runs that nobody has ended a status and an end."""
        for run in self.runs():
            if run["status"] in {"RUNNING", "SCHEDULED"}:
                end_run(self._client, run["run_id"], status)


def end_run(client: Client, run_id: str, status: str) -> None:
    """Give a run its status, and the end that it has now."""
    client.patch(f"/v1/runs/{run_id}", {"status": status, "end_ms": time.time_ns() // 1_000_000})


def runs_of(client: Client, execution: str, started_ms: int = 0) -> list[dict[str, Any]]:
    """The runs of an execution, oldest first."""
    since = f"attributes.start_time > {started_ms - _MARGIN_MS}" if started_ms else ""
    return context.runs(client, spec.EXECUTION_TAG, execution, "ASC", _MOST_RUNS, since)


def put(client: Client, run_id: str, path: str, text: str) -> None:
    """Write an artifact of a run."""
    content = text.encode("utf-8", "surrogateescape")
    client.upload(f"/v1/runs/{run_id}/artifacts/{quote(path)}", iter([content]), len(content))


def fetch(client: Client, run_id: str, path: str) -> bytes | None:
    """The content of an artifact of a run; None when there is none."""
    return fetch_from(client, f"/v1/runs/{run_id}/artifacts/{quote(path)}")


def fetch_from(client: Client, address: str) -> bytes | None:
    """The bytes at an address of the API; None when there are none."""
    try:
        return b"".join(client.download(address))
    except MlwrightError as error:
        if error.status in {400, 404}:  # artifacts that are stored elsewhere are not ours to read
            return None
        raise
