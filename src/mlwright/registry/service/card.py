"""The model card of a version: what is known about it, with nothing invented. What is unknown is null."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.registry.described import Card, CardFile, CardMetric, CardRun
from mlwright.registry.gates.spec import Check
from mlwright.registry.service.differences import metric_value, required_packages
from mlwright.registry.service.known import Known, known
from mlwright.registry.spec import Stage

#: Names of checks that are about a part of the rows (see gates/validation.py).
_OF_PARTS = (" where ", "demographic parity by ", "equalized odds by ")
#: What a reader expects to find in a card, and what to say where it is not known.
_EXPECTED = {
    "purpose": "Unknown: what it is for.",
    "run": "Unknown: the run that made it.",
    "data": "Unknown: the data it was made from.",
    "metrics": "Unknown: how good it is.",
    "slices": "Unknown: how it does on parts of the data.",
    "signature": "Unknown: what goes in and comes out.",
    "environment": "Unknown: what it needs to run.",
    "code": "Unknown: the code that made it.",
}


class Limit(NamedTuple):
    """What a reader must know before trusting a version. `text` has {places} for values: so it can be translated."""

    text: str
    values: Mapping[str, str] = MappingProxyType({})

    def __str__(self) -> str:
        return self.text.format(**self.values)


def card(tx: Tx, caller: Caller, name: str, version: int, project: str = "") -> Card:
    """The card of a version. Raises NotFound."""
    return of(known(tx, caller, name, version, project))


def of(found: Known) -> Card:
    """The card of what is known."""
    version, facts = found.version, found.version.facts
    files = None if found.files is None else [CardFile(each.path, each.size, each.digest) for each in found.files]
    made = Card(
        project=version.project,
        name=version.name,
        version=version.version,
        digest=version.digest,
        stage=version.stage.value,
        aliases=[each.alias for each in found.model.aliases if each.version == version.version],
        tags=version.tags,
        registered_ms=version.created_ms,
        owner=version.author,
        purpose=found.model.description or None,
        notes=version.description or None,
        source=version.source,
        storage=version.storage,
        run=_run(found),
        data=facts.datasets,
        metrics=_metrics(found),
        slices=_slices(found),
        gates=found.standings,
        signature=facts.signature,
        input_example=facts.input_example,
        environment=facts.environment,
        packages=required_packages(found),
        python=facts.python,
        flavors=facts.flavors,
        code=facts.code,
        files=files,
        size=version.size,
        signatures=found.signatures,
        limits=[],
    )
    made.limits.extend(str(each) for each in limits(made, found))
    return made


def _run(found: Known) -> CardRun | None:
    run_id, run = found.version.run_id, found.run
    if not run_id:
        return None
    if run is None:
        return CardRun(run_id, None, None, None, None, None, None)
    return CardRun(
        run_id,
        found.experiment.name if found.experiment else None,
        run.info.name or None,
        run.info.user_id or None,
        run.info.status.name,
        run.info.start_ms,
        {each.key: each.value for each in found.parameters or ()},
    )


def _metrics(found: Known) -> list[CardMetric] | None:
    if found.metrics is None:
        return None
    ordered = sorted(found.metrics, key=lambda each: (each.key, each.dataset_name))
    return [CardMetric(each.key, metric_value(each), each.dataset_name or None) for each in ordered]


def _slices(found: Known) -> list[Check] | None:
    """What gates found out about parts of the evaluation."""
    checks = [
        check
        for standing in found.standings
        if standing.kind == "validation" and standing.state == "done"
        for check in standing.decision.checks
        if any(part in check.name for part in _OF_PARTS)
    ]
    return checks or None


def limits(made: Card, found: Known) -> list[Limit]:
    """What a reader must know before trusting the version."""
    told = []
    if made.digest is None:
        told.append(Limit("Its files are not kept here: they may change or go."))
    if not made.gates:
        told.append(Limit("No gate is about it: nothing has been proven."))
    closed = {f"{each.policy}/{each.gate}": each.decision.reason for each in made.gates if not each.is_open}
    told += [
        Limit("The gate {gate} has not been passed: {reason}", {"gate": gate, "reason": reason})
        for gate, reason in closed.items()
    ]
    told += [
        Limit("The signature {key} does not count: {reason}", {"key": each.fingerprint[:16], "reason": each.reason})
        for each in made.signatures
        if not each.trusted
    ]
    if not made.signatures:
        told.append(Limit("Nobody has signed it."))
    if found.version.stage is Stage.ARCHIVED:
        told.append(Limit("It is archived."))
    if found.run is not None and not found.run.info.active:
        told.append(Limit("The run that made it was deleted."))
    if found.version.facts.problem:
        told.append(Limit("Its own description cannot be read: {problem}", {"problem": found.version.facts.problem}))
    return told + [Limit(text) for name, text in _EXPECTED.items() if getattr(made, name) is None]
