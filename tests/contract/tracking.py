"""Tracking's verbs for contract tests."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mlwright.kernel import events
from mlwright.kernel.database import Database
from mlwright.kernel.identity import LOCAL, Caller
from mlwright.tracking.service import experiments, models, runs
from mlwright.tracking.spec import Experiment, LoggedModel, Run


class Tracking:
    """Every verb in a transaction of its own: `tracking(runs.create, 0)` is `runs.create(tx, caller, 0)`."""

    def __init__(self, database: Database, caller: Caller = LOCAL) -> None:
        self.database, self.caller = database, caller

    def __call__(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return self.database.write_now(lambda tx: verb(tx, self.caller, *arguments, **named))

    def experiment(self, number: int) -> Experiment:
        found: Experiment = self(experiments.get, number)
        return found

    def run(self, run_id: str) -> Run:
        found: Run = self(runs.get, run_id)
        return found

    def model(self, model_id: str) -> LoggedModel:
        found: LoggedModel = self(models.get, model_id)
        return found

    def new_run(self, experiment: int = 0, **named: Any) -> str:
        run_id: str = self(runs.create, experiment, **named).info.run_id
        return run_id

    def log(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """All events but the first: type, subject, data."""
        found = self.database.read_now(lambda tx: events.read(tx, 1, 1_000))
        return [(each.type, each.subject, msgspec.json.decode(each.data)) for each in found]
