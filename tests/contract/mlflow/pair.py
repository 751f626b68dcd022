"""The same calls to mlwright and to a real MLflow server, with what must differ made equal.

Ids, generated names and times differ between two servers. Each id that an answer brings gets a label, the same on both
sides; requests name things by label ("{run:a}"), and answers are compared after ids were replaced by labels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx

API = "/api/2.0/mlflow/"
#: Fields whose values a server makes up: times, and opaque page tokens.
_MADE_UP = {
    "creation_time",
    "last_update_time",
    "creation_timestamp_ms",
    "last_updated_timestamp_ms",
    "last_updated_timestamp",
    "creation_timestamp",
    "next_page_token",
    "webhook_id",
}
#: Lists whose order means nothing.
_UNORDERED = {"metrics", "params", "tags", "dataset_inputs", "model_inputs", "model_outputs", "latest_versions"}
#: Fields of errors that only newer MLflow servers send; clients do not need them.
_EXTRA = {"sqlstate", "error_class"}


@dataclass
class Side:
    """One server and the labels of what lies on it."""

    url: str
    http: httpx.Client
    labels: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, message: Mapping[str, Any] | None, raw: bytes | None) -> httpx.Response:
        target = self.url + self._with_ids(path if path.startswith("/") else API + path)
        if raw is not None:
            return self.http.request(method, target, content=raw)
        ready = json.loads(self._with_ids(json.dumps(message or {})))
        if method == "GET":
            return self.http.get(f"{target}?{urlencode(ready, doseq=True)}" if ready else target)
        return self.http.request(method, target, json=ready)

    def learn(self, label: str, value: str) -> None:
        self.labels[label] = value

    def _with_ids(self, text: str) -> str:
        for label, value in self.labels.items():
            text = text.replace("{" + label + "}", value)
        return text

    def comparable(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {
                key: "<made up>" if key in _MADE_UP else self.comparable(each, key)
                for key, each in sorted(value.items())
                if key not in _EXTRA
            }
        if isinstance(value, list):
            found = [self.comparable(each) for each in value]
            unordered = name in _UNORDERED
            return sorted(found, key=json.dumps) if unordered else found
        if isinstance(value, str):
            value = self._without_experiment(value, name)
            for label, known in sorted(self.labels.items(), key=lambda item: -len(item[1])):
                if len(known) >= 8:
                    value = value.replace(known, f"<{label}>")
            return re.sub(r"\b[a-z]+-[a-z]+-\d{1,3}\b", "<name>", value)
        return value

    def _without_experiment(self, value: str, name: str) -> str:
        """Experiment ids are short numbers: they are only replaced where an experiment id stands."""
        number = self.labels.get("exp", "")
        if name == "experiment_id":
            return "<exp>" if value == number else value
        if name == "message":
            value = re.sub(r"\{([^{}]*)\}", lambda found: ", ".join(sorted(found[1].split(", "))), value)  # sets
        if name == "message" and number:
            value = re.sub(rf"mlflow-artifacts:/{number}(?=/)", "mlflow-artifacts:/<exp>", value)
            return re.sub(rf'(with id[ =]|[Ee]xperiment |"){number}(?![0-9a-zA-Z])', r"\1<exp>", value)
        return re.sub(rf"^mlflow-artifacts:/{number}(?=/|$)", "mlflow-artifacts:/<exp>", value)


@dataclass(frozen=True)
class Seen:
    """What one side answered, ready to be compared."""

    status: int
    body: Any


class Pair:
    """Both servers. `call` sends one request to each and asserts that the answers agree."""

    def __init__(self, ours: str, theirs: str) -> None:
        self.ours = Side(ours, httpx.Client(timeout=60))
        self.theirs = Side(theirs, httpx.Client(timeout=60))

    def close(self) -> None:
        self.ours.http.close()
        self.theirs.http.close()

    def label(self, name: str, ours: str, theirs: str) -> None:
        """Remember what a label means on each side."""
        self.ours.learn(name, ours)
        self.theirs.learn(name, theirs)

    def call(
        self,
        method: str,
        path: str,
        message: Mapping[str, Any] | None = None,
        *,
        raw: bytes | None = None,
        learn: Mapping[str, str] | None = None,
        compare: bool = True,
    ) -> Any:
        """Send to both. Returns our decoded answer.

        Args:
            learn: label -> dotted path in the answer, such as {"run:a": "run.info.run_id"}.
            compare: whether status and body must agree.
        """
        answers = [side.send(method, path, message, raw) for side in (self.ours, self.theirs)]
        bodies = [_decoded(answer) for answer in answers]
        for label, where in (learn or {}).items():
            self.label(label, _at(bodies[0], where), _at(bodies[1], where))
        if compare:
            ours, theirs = (
                Seen(answer.status_code, side.comparable(body))
                for side, answer, body in zip((self.ours, self.theirs), answers, bodies, strict=True)
            )
            assert ours == theirs, f"{method} {path} {message}\n  mlwright: {ours}\n  mlflow:   {theirs}"
        return bodies[0]


def _decoded(answer: httpx.Response) -> Any:
    if answer.content and "json" in answer.headers.get("content-type", ""):
        return json.loads(answer.content)
    return answer.content.decode(errors="replace")


def _at(body: Any, where: str) -> str:
    for part in where.split("."):
        body = body[part]
    return str(body)
