"""Serve what was promoted, replay real flights as its traffic, and let new versions earn theirs.

A better version takes over by evidence; one that breaks on airports it does not know is rolled back by itself. No
client notices either.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from examples.flights.errors import DemoError
from examples.flights.platform import SERVER_HINT, ask

ENDPOINT = "flights"
VERSION_HEADER = "x-mlwright-version"
ROLLOUT: dict[str, Any] = {"strategy": "canary", "steps": [25, 50], "lookSeconds": 0.25}
CLIENTS = 3
PAUSE_S = 0.002
WAIT_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class Rollout:
    """How a version got its traffic, or lost it.

    `first_s` and `whole_s`: from when it was asked for until its first answer, and until all answers were its own;
    None where that did not happen. `failed` counts the requests that it failed and that another version answered.
    """

    version: int
    state: str
    reason: str
    first_s: float | None
    whole_s: float | None
    failed: int


@dataclass
class Served:
    """What clients have seen: answers by version, and failures by what went wrong."""

    answers: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    rollouts: list[Rollout] = field(default_factory=list)


class Traffic:
    """Clients that ask about one flight after the other, each on a connection of its own.

    Args:
        address: URL that answers.
        flights: what is asked about.
    """

    def __init__(self, address: str, flights: pd.DataFrame) -> None:
        self.served = Served()
        self._address = urlsplit(address)
        split = json.loads(flights.to_json(orient="split", index=False))
        self._bodies = [
            json.dumps({"dataframe_split": {"columns": split["columns"], "data": [row]}}) for row in split["data"]
        ]
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(place,), daemon=True) for place in range(CLIENTS)]

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Within the block, requests are sent."""
        for each in self._threads:
            each.start()
        try:
            yield
        finally:
            self._stop.set()
            for each in self._threads:
                each.join()

    def _ask(self, place: int) -> None:
        connection = http.client.HTTPConnection(self._address.netloc, timeout=30)
        headers = {"Content-Type": "application/json"}
        for body in itertools.islice(itertools.cycle(self._bodies), place, None, CLIENTS):
            if self._stop.wait(PAUSE_S):
                break
            try:
                connection.request("POST", self._address.path, body, headers)
                answer = connection.getresponse()
                answer.read()
                self._count(answer)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                with self._counting:
                    self.served.failures[type(error).__name__] += 1
        connection.close()

    def _count(self, answer: http.client.HTTPResponse) -> None:
        with self._counting:
            if answer.status == 200:
                self.served.answers[int(answer.headers[VERSION_HEADER])] += 1
            else:
                self.served.failures[f"HTTP {answer.status}"] += 1


def deploy(url: str, model: str) -> int:
    """Have the endpoint serve a model's alias from now on; the revision that will, once `answering` says so."""
    spec = {"model": model, "rollout": ROLLOUT}
    manifest = {"apiVersion": "mlwright.dev/v1", "kind": "Endpoint", "metadata": {"name": ENDPOINT}, "spec": spec}
    forget(url)
    ask(f"{url}/v1/resources", manifest)
    return int(ask(f"{url}/v1/endpoints/{ENDPOINT}/deploy", {})["number"])


def answering(url: str, number: int) -> str:
    """Where the endpoint answers, once a revision of it does."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        found = ask(f"{url}/v1/endpoints/{ENDPOINT}")
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in found["conditions"])
        if ready and found["traffic"]["stable"] == number:
            place = ask(f"{url}/v1/serving")["url"]
            return f"{place}/endpoints/{ENDPOINT}/invocations"
        time.sleep(POLL_S)
    raise DemoError(f"the endpoint does not answer after {WAIT_S:g} s: {found['conditions']}", SERVER_HINT)


def forget(url: str) -> None:
    """Remove the endpoint of another demo, which serves what that has left."""
    request = urllib.request.Request(f"{url}/v1/resources/Endpoint/{ENDPOINT}", method="DELETE")
    with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30):
        pass


def rolled_out(url: str, traffic: Traffic, version: int, began: float) -> Rollout:
    """What became of a version that the alias leads to now; waits for it.

    Args:
        began: when it was asked for, as time.perf_counter has it.
    """
    until, first_s = time.monotonic() + WAIT_S, None
    while time.monotonic() < until:
        if first_s is None and traffic.served.answers[version]:
            first_s = time.perf_counter() - began
        for rollout in ask(f"{url}/v1/endpoints/{ENDPOINT}/rollouts"):
            if rollout["ended_ms"] and _version(url, rollout["number"]) == version:
                whole_s = time.perf_counter() - began if rollout["state"] == "promoted" else None
                failed = _failed(url, rollout["number"])
                found = Rollout(version, rollout["state"], rollout["reason"], first_s, whole_s, failed)
                traffic.served.rollouts.append(found)
                return found
        time.sleep(POLL_S)
    raise DemoError(f"the rollout of version {version} takes longer than {WAIT_S:g} s", SERVER_HINT)


def check(served: Served, wanted: Sequence[str]) -> None:
    """Raise DemoError unless the rollouts ended as they must and no client has seen a failure."""
    states = [each.state for each in served.rollouts]
    if served.failures or states != list(wanted):
        told = "; ".join(f"version {each.version}: {each.state}, {each.reason}" for each in served.rollouts)
        raise DemoError(f"serving went otherwise than it must: failed {dict(served.failures)}; {told}", SERVER_HINT)


def _version(url: str, number: int) -> int:
    revisions = ask(f"{url}/v1/endpoints/{ENDPOINT}")["revisions"]
    return next(int(each["version"]) for each in revisions if each["number"] == number)


def _failed(url: str, number: int) -> int:
    looks = ask(f"{url}/v1/endpoints/{ENDPOINT}/rollout?revision={number}")["looks"]
    return sum(each["look"]["candidate"].get("errors", 0) for each in looks)
