"""The verbs: note that a run repeats another one, and list those that do."""

from mlwright.kernel import checks
from mlwright.kernel.errors import Invalid
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.reproduction.spec import VERDICT_TAG, Outcome, Reproduction
from mlwright.tracking.service import repeats, runs
from mlwright.tracking.spec import REPRODUCES_TAG, RunInfo, Tag

MAX_REASON = 2_000


def note(tx: Tx, caller: Caller, run_id: str, by: str, outcome: Outcome, reason: str) -> Reproduction:
    """Note that the run `by` repeats the run `run_id`, and what came of it.

    It takes the role viewer where the original is, and editor where its repetition is. Raises NotFound and Denied
    accordingly, and Invalid when both are the same.
    """
    checks.check_length("reason", reason, MAX_REASON)
    original = runs.find(tx, caller, run_id)
    repetition = runs.find_active(tx, caller, by)
    if original.info.run_id == repetition.info.run_id:
        raise Invalid("a run does not repeat itself", path="run_id")
    tags = [Tag(REPRODUCES_TAG, original.info.run_id), Tag(VERDICT_TAG, outcome.value)]
    runs.set_tags(tx, caller, by, tags)
    data = {"reproduces": original.info.run_id, "outcome": outcome.value, "reason": reason}
    tx.emit(Draft(caller.name, repetition.project, "reproduction.run.compared", f"run/{by}", data))
    return _shown(repetition.info, outcome.value)


def of_run(tx: Tx, caller: Caller, run_id: str) -> list[Reproduction]:
    """The runs that repeat a run and that the caller may see, the newest first. Raises NotFound."""
    found = repeats.of_run(tx, caller, run_id)
    return [_shown(run.info, next((tag.value for tag in run.tags if tag.key == VERDICT_TAG), "")) for run in found]


def _shown(info: RunInfo, outcome: str) -> Reproduction:
    return Reproduction(info.run_id, info.name, info.status.name, info.start_ms, outcome)
