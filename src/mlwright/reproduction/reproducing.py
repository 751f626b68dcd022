"""The whole of it: read, prepare, run, compare, report."""

import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.client import Client
from mlwright.kernel.errors import NoEnvironment
from mlwright.reproduction import checking, comparing, guard, records, reporting, rerun, spec, tolerances
from mlwright.reproduction.checking import Environments, Given, Plan
from mlwright.reproduction.comparing import Pair
from mlwright.reproduction.execution import Execution, put, runs_of
from mlwright.reproduction.guard import Guard, Task
from mlwright.reproduction.models import Asking
from mlwright.reproduction.rerun import Done, Server
from mlwright.reproduction.spec import Likened, Missing, Outcome, Report
from mlwright.reproduction.tolerances import Tolerances

_BUILD = Limits(seconds=3_600.0, memory_bytes=1 << 36, processes=1_024)
_OUTPUT = "output.txt"
_MOST_REASON = 2_000


class Wishes(NamedTuple):
    """How a run is to be repeated.

    Attributes:
        experiment_id: where the repetition goes.
        history: whether each step of metrics is compared.
        limits: of the command.
    """

    experiment_id: int
    allowed: Tolerances
    history: bool
    limits: Limits


class Place(NamedTuple):
    """Where it is repeated.

    Attributes:
        scratch: a folder of its own, which is removed by whoever made it.
        guard: of that folder.
        variables: the user's environment.
        cancelled: when set, the command is ended.
        say: tells people what happens.
    """

    scratch: Path
    guard: Guard
    environments: Environments
    variables: Mapping[str, str]
    cancelled: threading.Event
    say: Callable[[str], object]


def prepare(client: Client, run: Mapping[str, Any], given: Given, place: Place) -> Plan:
    """Everything but running it: what there is, and what is missing."""
    place.say("reading what the run says, looking for code, data and packages")
    record = records.read(client, run)
    return checking.prepare(record, given, place.scratch, place.environments, place.variables, place.cancelled)


def unrun(plan: Plan) -> Report:
    """The report about a run that was not repeated: because something is missing, or nobody asked for it."""
    outcome = Outcome.CANNOT if plan.missing else Outcome.READY
    named = ", ".join(dict.fromkeys(each.what for each in plan.missing))
    return _report(plan, outcome, f"missing: {named}" if plan.missing else "nothing is missing; it was not run")


class Repetition:
    """One repetition of a run.

    Args:
        client: of the server where the run is.
        server: as the command is to reach it.
        run: as the API has it.
        plan: that lacks nothing.
        execution: not used before.
    """

    def __init__(
        self,
        client: Client,
        server: Server,
        run: Mapping[str, Any],
        plan: Plan,
        wishes: Wishes,
        place: Place,
        execution: Execution,
    ) -> None:
        self._client = client
        self._server = server
        self._run = run
        self._plan = plan
        self._wishes = wishes
        self._place = place
        self._execution = execution

    def go(self, *, builds: bool) -> Report:
        """Build the environment, run, compare, and leave the report with the run that it became. Blocks.

        Args:
            builds: whether packages without a wheel are built.
        """
        plan, place = self._plan, self._place
        place.say("building the environment")
        try:
            with place.environments.ready(
                plan.needs, _BUILD, builds=builds, exact=plan.record.whole, cancelled=place.cancelled
            ) as environment:
                plan.missing += _unsuitable(plan, environment)
                return unrun(plan) if plan.missing else self._guarded(environment)
        except NoEnvironment as error:
            if place.cancelled.is_set():
                return _report(plan, Outcome.CANNOT, guard.INTERRUPTED)
            plan.missing.append(Missing("environment", error.message, error.hint))
            return unrun(plan)

    def _guarded(self, environment: Environment) -> Report:
        record, wishes = self._plan.record, self._wishes
        task = Task(self._server, self._execution.id, self._execution.started_ms, record, wishes.experiment_id)
        self._place.guard.watch(task)
        given = rerun.variables(self._plan, environment, self._server, wishes.experiment_id, self._place.variables)
        self._place.say(f"running {' '.join(record.command)}")
        recording = rerun.recording_of(self._plan, environment)
        done = rerun.run(
            self._plan, environment, self._execution, recording, given, wishes.limits, self._place.cancelled
        )
        if self._place.cancelled.is_set():
            run_id = guard.settle(self._client, self._execution, record, wishes.experiment_id)
            return self._ended(environment, done, run_id, Outcome.CANNOT, guard.INTERRUPTED, [])
        report = self._judged(environment, done, given)
        self._leave(report, done)
        return report

    def _judged(self, environment: Environment, done: Done, given: Mapping[str, str]) -> Report:
        """What became of it: compared with the original, if there is a run to compare."""
        record = self._plan.record
        before = runs_of(self._client, self._run["tags"].get(spec.EXECUTION_TAG, "")) if _is_executed(self._run) else []
        found = rerun.counterpart(record, before, done.runs)
        moved = checking.changed_outside(self._plan)
        if found is None:
            status = "FINISHED" if done.outcome.succeeded else "FAILED"
            reason = _why_none(done, self._wishes.limits)
            run_id = rerun.make_run(self._client, record, self._wishes.experiment_id, self._execution.id, status)
            return self._ended(environment, done, run_id, Outcome.DIFFERS, reason, [])
        self._place.say("comparing")
        asking = Asking(self._client, environment, self._plan.scratch, given, tolerances.DEFAULT)
        after = self._client.get(f"/v1/runs/{found['run_id']}")
        pair = Pair(self._run, after, str(self._plan.code))
        likened = comparing.compare(
            self._client, pair, self._wishes.allowed, history=self._wishes.history, predict=asking
        )
        outcome, reason = reporting.conclude(likened)
        if not done.outcome.succeeded and record.status == "FINISHED":
            outcome, reason = Outcome.DIFFERS, f"the command failed: {done.outcome.explain(self._wishes.limits)}"
        if moved:
            outcome, reason = Outcome.CANNOT, f"data changed while it ran: {', '.join(moved)}"
        return self._ended(environment, done, str(found["run_id"]), outcome, reason, likened)

    def _ended(
        self,
        environment: Environment,
        done: Done,
        run_id: str,
        outcome: Outcome,
        reason: str,
        likened: Sequence[Likened],
    ) -> Report:
        report = _report(self._plan, outcome, reason)
        return msgspec.structs.replace(
            report,
            reproduction=run_id,
            experiment_id=self._wishes.experiment_id,
            python=environment.python,
            packages=len(environment.packages),
            seconds=done.outcome.seconds,
            likened=list(likened),
        )

    def _leave(self, report: Report, done: Done) -> None:
        """Put the report to the run that it is about, and note that on the server."""
        texts = {
            "report.json": msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n",
            "report.md": reporting.markdown(report),
            _OUTPUT: done.outcome.output,
        }
        for name, text in texts.items():
            put(self._client, report.reproduction, f"{spec.REPORTS}/{name}", text)
        body = {"run_id": report.reproduction, "outcome": report.outcome.value, "reason": report.reason[:_MOST_REASON]}
        self._client.post(f"/v1/runs/{report.run_id}/reproductions", body)


def _is_executed(run: Mapping[str, Any]) -> bool:
    """Whether the run says which execution started it, in a form that may be searched for."""
    return re.fullmatch(r"[0-9a-f]{32}", run["tags"].get(spec.EXECUTION_TAG, "")) is not None


def _why_none(done: Done, limits: Limits) -> str:
    """Why there is no run to compare."""
    last = next((line.strip() for line in reversed(done.outcome.output.splitlines()) if line.strip()), "")
    said = f" ({last[:300]})" if last else ""
    if not done.outcome.succeeded:
        return f"the command failed before it logged to a run: {done.outcome.explain(limits)}{said}"
    if done.runs:
        return f"the command started {len(done.runs)} runs, and none of them can be told to repeat this one"
    return f"the command started no run that says so: mlflow.start_run does{said}"


def _unsuitable(plan: Plan, environment: Environment) -> list[Missing]:
    """What is only seen when the environment is there."""
    record, found = plan.record, []
    if not environment.is_as_asked:
        detail = f"the run had Python {record.python}, and there is {environment.python}"
        found.append(Missing("interpreter", detail, f"install it: uv python install {record.python}"))
    elif record.python and environment.python != record.python:
        plan.notes.append(f"the run had Python {record.python}, the environment has {environment.python}")
    program = rerun.command(plan, environment)[0]
    path = f"{environment.interpreter.parent}:{os.environ.get('PATH', os.defpath)}"
    place = str(plan.folder / program) if "/" in program and not program.startswith("/") else program
    if shutil.which(place, path=path) is None:
        found.append(Missing("command", f"there is no program {record.command[0]!r}", "install it"))
    return found


def _report(plan: Plan, outcome: Outcome, reason: str) -> Report:
    record = plan.record
    return Report(
        record.run_id,
        record.name,
        outcome,
        reason,
        command=record.command,
        commit=record.commit,
        missing=plan.missing,
        notes=plan.notes,
    )
