"""The closing words: the ranking, what was measured, and where to look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from examples.flights.console import Console
from examples.flights.promoting import MODEL, Promoted
from examples.flights.readback import Account, ranking_lines
from examples.flights.server import Server, experiment_page
from examples.flights.serving import ENDPOINT
from examples.flights.train import Session


@dataclass(frozen=True)
class Result:
    """What the closing words tell."""

    session: Session
    account: Account
    experiment_id: str
    promoted: Promoted


def show(console: Console, running: Server, result: Result, facts: Mapping[str, Any], *, keep: bool) -> None:
    """Print them; `keep` says whether a server that the demo started stays up."""
    for line in ["", *ranking_lines(result.account.ranked), ""]:
        console.line(line)
    console.line(
        f"{facts['flights']:,} flights; {facts['runs']} runs ({facts['failed']} failed), "
        f"{facts['metric_points']:,} metric points, {facts['params']} parameters, {facts['models']} models, "
        f"{facts['artifacts']} artifacts ({facts['artifact_bytes'] / 1e6:.1f} MB)"
    )
    phases = "; ".join(f"{name} {took:.1f}" for name, took in facts["phases"].items())
    console.line(f"{facts['seconds']:.1f} s: {phases}")
    served = result.promoted.served
    for rollout in [each for each in served.rollouts if each.state == "promoted"][-1:]:
        serves = f"version {rollout.version} of {MODEL} serves"
        console.line(f"{serves}: {sum(served.answers.values()):,} requests answered, {len(facts['unanswered'])} failed")
    for reason in facts["failures"]:
        console.line(f"FAILED  {reason}")
    console.line()
    ours = running.process is not None
    note = " (the server stops now; `make demo KEEP=1` leaves it up)" if ours and not keep else ""
    console.line(f"experiment: {facts['experiment_url']}{note}")
    if served.rollouts:
        console.line(f"endpoint:   {running.url}/endpoints/{ENDPOINT}")
    if running.process is not None and keep:
        console.line(f"server: pid {running.process.pid}; stop it with: {running.command('down')}")


def summary(running: Server, result: Result, console: Console, seconds: float) -> dict[str, Any]:
    """The result as plain data."""
    session, account = result.session, result.account
    return {
        "url": running.url,
        "experiment_id": result.experiment_id,
        "experiment_url": experiment_page(running.url, result.experiment_id),
        "session": session.id,
        "pid": running.process.pid if running.process else None,
        "flights": len(session.table.inputs),
        "runs": account.runs,
        "failed": account.failed,
        "failures": session.tally.failed,
        "metric_points": session.tally.metric_points,
        "params": session.tally.params,
        "models": session.tally.models,
        "artifacts": account.artifacts,
        "artifact_bytes": account.artifact_bytes,
        "ranking": [{"model": run.info.run_name, "auc": run.data.metrics["test_auc"]} for run in account.ranked],
        "versions": [asdict(answer) for answer in result.promoted.answers],
        "rollouts": [asdict(rollout) for rollout in result.promoted.served.rollouts],
        "answered": dict(result.promoted.served.answers),
        "unanswered": dict(result.promoted.served.failures),
        "seconds": round(seconds, 2),
        "phases": console.seconds,
    }
