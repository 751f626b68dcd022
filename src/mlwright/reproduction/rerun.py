"""Runs a recorded command again: in its environment, in a folder of its own, on runs of its own."""

import json
import platform
import shlex
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlwright.compute import service as compute
from mlwright.compute.spec import Environment, Limits, Outcome
from mlwright.kernel.client import Client
from mlwright.reproduction import spec
from mlwright.reproduction.checking import Plan
from mlwright.reproduction.execution import Execution, end_run
from mlwright.reproduction.recording import Recording, is_python
from mlwright.reproduction.spec import Record
from mlwright.tracking.spec import REPRODUCES_TAG

#: What of the user's environment the command gets to see, besides what the run names.
PASSED_ON = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Server(NamedTuple):
    """Where the command is to log, and as whom; an empty token is none."""

    url: str
    token: str


class Done(NamedTuple):
    """What became of the command: how it ended, and the runs that it started."""

    outcome: Outcome
    runs: list[dict[str, Any]]


def command(plan: Plan, environment: Environment) -> list[str]:
    """The recorded command with the environment's own programs."""
    words = plan.record.command
    if is_python(words[0]):
        return [str(environment.interpreter), *words[1:]]
    own = environment.interpreter.with_name(words[0])
    return [str(own) if "/" not in words[0] and own.exists() else words[0], *words[1:]]


def variables(
    plan: Plan, environment: Environment, server: Server, experiment_id: int, user: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of the command: little of the user's, so that little of it matters or leaks."""
    programs = environment.interpreter.parent
    found = {name: user[name] for name in (*PASSED_ON, *plan.record.secrets) if user.get(name)}
    found |= {
        "PATH": f"{programs}:{user.get('PATH', '/usr/local/bin:/usr/bin:/bin')}",
        "VIRTUAL_ENV": environment.folder,
        "TMPDIR": str(plan.scratch / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_EXPERIMENT_ID": str(experiment_id),
    }
    if server.token:
        found["MLFLOW_TRACKING_TOKEN"] = server.token
    own = [plan.code / each.path for each in plan.record.local if each.in_repository]
    if own:
        found["PYTHONPATH"] = ":".join(str(each / "src" if (each / "src").is_dir() else each) for each in own)
    return {**found, **plan.record.settings}


def run(
    plan: Plan,
    environment: Environment,
    execution: Execution,
    recording: Recording,
    given: Mapping[str, str],
    limits: Limits,
    cancelled: threading.Event,
) -> Done:
    """Run the command to its end, and put on record what its runs came from. Blocks.

    Args:
        given: its environment, without what tells its runs whose they are.
    """
    (plan.scratch / "tmp").mkdir()
    everything = {**given, **execution.variables(recording, given)}
    outcome = compute.run(command(plan, environment), plan.folder, everything, limits, cancelled)
    execution.end("KILLED" if cancelled.is_set() else "FAILED")
    execution.keep(recording)
    return Done(outcome, execution.runs())


def recording_of(plan: Plan, environment: Environment) -> Recording:
    """What the runs of the reproduction are told about themselves, so that they can be reproduced in turn."""
    record, line = plan.record, shlex.join(plan.record.command)
    document = {
        "python": {"version": environment.python},
        "command": line,
        "git": {
            "commit": record.commit, "dirty": record.dirty, "folder": record.folder, "origin": record.origin,
        },
        "data": record.data,
        "settings": record.settings,
        "secrets": record.secrets,
    }  # fmt: skip
    tags = {
        spec.COMMAND_TAG: line,
        spec.COMMIT_TAG: record.commit,
        spec.DIRTY_TAG: "true" if record.dirty else "false",
        spec.PYTHON_TAG: environment.python,
        spec.PLATFORM_TAG: platform.platform(),
    }
    files = {
        spec.LOCK: "".join(f"{each}\n" for each in environment.packages),
        spec.DOCUMENT: json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        spec.DIFF: record.diff or "",
    }
    return Recording(tags, files)


def counterpart(
    record: Record, siblings: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The run that repeats the original; None when none can be told.

    The only one; else the one of the same name; else the one at the same place among those started.

    Args:
        siblings: the runs that the original execution started, oldest first.
        again: those that the repetition started, oldest first.
    """
    found = list(again)
    if len(found) > 1:
        named = [each for each in found if each["name"] == record.name]
        if len(named) == 1:
            return dict(named[0])
        places = [place for place, each in enumerate(siblings) if each["run_id"] == record.run_id]
        found = [found[places[0]]] if places and len(siblings) == len(found) else []
    return dict(found[0]) if found else None


def make_run(client: Client, record: Record, experiment_id: int, execution: str, status: str) -> str:
    """A run that says that the command started none, and holds the report. Returns its id."""
    tags = {REPRODUCES_TAG: record.run_id, spec.EXECUTION_TAG: execution}
    body = {"experiment_id": experiment_id, "name": f"reproduction of {record.name}"[:250], "tags": tags}
    run_id = str(client.post("/v1/runs", body)["run_id"])
    end_run(client, run_id, status)
    return run_id


def remove(scratch: Path) -> None:
    """Remove a scratch folder, in which something may have been ended a moment ago."""
    for _ in range(5):
        shutil.rmtree(scratch, ignore_errors=True)
        if not scratch.exists():
            return
        time.sleep(0.2)
