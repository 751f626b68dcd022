"""The words of gates: what a policy asks for, and what a gate found."""

import fnmatch
import hashlib
import math
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec

from mlwright.registry.gates.names import METRIC_NAMES
from mlwright.registry.gates.supply_spec import Licences, Secrets, Vulnerabilities
from mlwright.registry.spec import Stage

Confidence = Annotated[float, msgspec.Meta(gt=0, lt=1, description="Of intervals, two-sided, such as 0.95.")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Margin = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class GateVerdict(StrEnum):
    """What a gate says. Only `pass` opens it."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Interval(NamedTuple):
    """An estimate and where the truth lies with the stated confidence; NaN where that cannot be said."""

    value: float
    low: float
    high: float
    method: str


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """A number with its interval; what is not known is absent."""

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question of a gate and its answer. `required` says in words what was asked for."""

    name: str
    verdict: GateVerdict
    required: str
    found: str
    measured: Measured | None = None


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a gate found: its verdict, what decided it, each check, and what its program printed.

    `evidence`: documents that were made on the way, by file name. `until_ms`: from then on it counts no more.
    """

    verdict: GateVerdict
    reason: str
    checks: list[Check]
    output: str = ""
    evidence: dict[str, str] = {}
    until_ms: int | None = None


class Standing(msgspec.Struct, frozen=True):
    """How a version stands before one gate. `state` is missing, waiting, running or done."""

    policy: str
    gate: str
    kind: str
    state: str
    decision: Decision
    started_ms: int | None = None
    ended_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the gate has been passed."""
        return self.state == "done" and self.decision.verdict is GateVerdict.PASS


class _Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    pass


class _Kind(_Spec, frozen=True):
    """What is asked of a version."""

    @property
    def beside(self) -> list[str]:
        """Aliases of the same model whose versions the answer depends on, in their order."""
        return []

    @property
    def runs(self) -> bool:
        """Whether it is run once for an answer that is kept, or found anew whenever somebody asks."""
        return True


class Threshold(_Spec, frozen=True):
    """A bound on a metric: `min` or `max` or both."""

    metric: str
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        _check_metric(self.metric)
        if self.min is None and self.max is None:
            raise ValueError("a threshold needs min or max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")


class NoWorseThan(_Spec, frozen=True):
    """The metric may be worse than that of the version under `alias` by at most `margin`."""

    metric: str
    alias: str = "champion"
    margin: Margin = 0.0

    def __post_init__(self) -> None:
        _check_metric(self.metric)


class Slices(_Spec, frozen=True):
    """Bounds that every value of some columns must keep; values with fewer than `min_rows` rows are not judged."""

    columns: list[str]
    thresholds: list[Threshold]
    min_rows: Count = 100


class Fairness(_Spec, frozen=True):
    """How far groups, the values of a column, may be apart.

    `demographic_parity`: the largest difference of selection rates. `equalized_odds`: that of recalls and of false
    positive rates.
    """

    column: str
    demographic_parity: Share | None = None
    equalized_odds: Share | None = None
    min_rows: Count = 100

    def __post_init__(self) -> None:
        if self.demographic_parity is None and self.equalized_odds is None:
            raise ValueError("fairness needs demographicParity or equalizedOdds")


class Columns(_Spec, frozen=True):
    """Names in the evaluation. `score` is the probability of the positive class; `key` tells rows apart."""

    label: str = "label"
    prediction: str = "prediction"
    score: str = ""
    key: str = ""


class Validation(_Kind, frozen=True):
    """Decides on the stored evaluation of single rows, a CSV or Parquet file of the version or its run.

    `positive` is the label of the positive class; without it, labels are numbers.
    """

    evaluation: str = "evaluation.csv"
    columns: Columns = Columns()
    positive: str = ""
    confidence: Confidence = 0.95
    thresholds: list[Threshold] = []
    no_worse_than: list[NoWorseThan] = []
    slices: list[Slices] = []
    fairness: list[Fairness] = []

    @property
    def beside(self) -> list[str]:
        return sorted({each.alias for each in self.no_worse_than})


class Command(_Kind, frozen=True):
    """Decides by a program's exit status. It runs in a folder that holds the version's files in `model/`."""

    command: Annotated[list[str], msgspec.Meta(min_length=1)]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 300.0
    memory_mib: Annotated[int, msgspec.Meta(ge=16)] = 2_048
    processes: Annotated[int, msgspec.Meta(ge=1)] = 64


class Security(_Kind, frozen=True):
    """Decides by what is in the version's files: whatever could run code when the model is loaded fails.

    Further questions are asked only if they stand here. `sbom`: a bill of materials is made and kept with the answer.
    """

    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 300.0
    secrets: Secrets | None = None
    vulnerabilities: Vulnerabilities | None = None
    licences: Licences | None = None
    sbom: bool = False


class Approval(_Kind, frozen=True):
    """Decides by people: `count` of `approvers` say yes and none says no. Without names, the project's admins approve.

    `expires_hours`: an approval older than that counts no more.
    """

    approvers: list[str] = []
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    expires_hours: Annotated[float, msgspec.Meta(gt=0)] = 168.0
    not_requester: bool = True

    def __post_init__(self) -> None:
        if self.approvers and self.count > len(set(self.approvers)):
            raise ValueError(f"{self.count} approvals of {len(set(self.approvers))} approvers cannot be had")

    @property
    def runs(self) -> bool:
        return False


class Signed(_Kind, frozen=True):
    """Decides by signatures: `count` of `keys` have signed the version. Without names, all signing keys may.

    A key that is revoked closes the gate again, at once.
    """

    keys: list[str] = []
    count: Annotated[int, msgspec.Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        if self.keys and self.count > len(set(self.keys)):
            raise ValueError(f"{self.count} signatures by {len(set(self.keys))} keys cannot be had")

    @property
    def runs(self) -> bool:
        return False


class Gate(_Spec, frozen=True):
    """A named gate: exactly one of the kinds."""

    name: str
    validation: Validation | None = None
    security: Security | None = None
    command: Command | None = None
    approval: Approval | None = None
    signature: Signed | None = None

    def __post_init__(self) -> None:
        if len(self._kinds()) != 1:
            raise ValueError(f"the gate {self.name!r} needs exactly one of {', '.join(GATE_KINDS)}")

    def _kinds(self) -> list[str]:
        return [kind for kind in GATE_KINDS if getattr(self, kind) is not None]

    @property
    def kind(self) -> str:
        """Which kind of gate it is."""
        return self._kinds()[0]

    @property
    def asked(self) -> Validation | Security | Command | Approval | Signed:
        """What is asked, in the words of its kind."""
        asked: Validation | Security | Command | Approval | Signed = getattr(self, self.kind)
        return asked

    @property
    def question(self) -> str:
        """The digest of what is asked: answers to another question do not count."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


GATE_KINDS = tuple(name for name in Gate.__struct_fields__ if name != "name")


class GatePolicySpec(_Spec, frozen=True):
    """Which gates a version must pass before an alias or stage may lead to it.

    `models`: names or patterns such as "flights-*". `aliases` and `stages`: what is guarded. `gates`: in the order in
    which they run; after one that does not pass, the later ones do not run.
    """

    gates: Annotated[list[Gate], msgspec.Meta(min_length=1)]
    models: list[str] = msgspec.field(default_factory=lambda: ["*"])
    aliases: list[str] = []
    stages: list[Stage] = []

    def __post_init__(self) -> None:
        names = [gate.name for gate in self.gates]
        if len(set(names)) < len(names):
            raise ValueError("two gates have the same name")

    def covers(self, model: str) -> bool:
        """Whether the policy is about this model."""
        return any(fnmatch.fnmatchcase(model, pattern) for pattern in self.models)


def conclude(checks: list[Check]) -> Decision:
    """The worst verdict of the checks. A gate that asked nothing has not been passed."""
    for verdict in (GateVerdict.FAIL, GateVerdict.INCONCLUSIVE):
        decisive = [check for check in checks if check.verdict is verdict]
        if decisive:
            more = f" (and {len(decisive) - 1} more)" if len(decisive) > 1 else ""
            first = decisive[0]
            return Decision(verdict, f"{first.name}: {first.found}, required: {first.required}{more}", checks)
    if not checks:
        return Decision(GateVerdict.INCONCLUSIVE, "the gate asks for nothing", checks)
    return Decision(GateVerdict.PASS, f"all {len(checks)} checks passed", checks)


def undecided(name: str, required: str, found: str) -> Check:
    """A question that cannot be answered."""
    return Check(name, GateVerdict.INCONCLUSIVE, required, found)


def judged(name: str, required: str, interval: Interval, least: float | None, most: float | None) -> Check:
    """Whether the whole interval lies within [least, most], or outside of it, or neither is certain."""
    value, low, high, method = interval
    measured = Measured(_known(value), _known(low), _known(high), method)
    if any(math.isnan(number) for number in (value, low, high)):
        return Check(name, GateVerdict.INCONCLUSIVE, required, "not known on these rows", measured)
    bottom, top = -math.inf if least is None else least, math.inf if most is None else most
    verdict = GateVerdict.INCONCLUSIVE
    if bottom <= low and high <= top:
        verdict = GateVerdict.PASS
    elif high < bottom or low > top:
        verdict = GateVerdict.FAIL
    return Check(name, verdict, required, f"{value:.6g} ({low:.6g} to {high:.6g})", measured)


def _check_metric(name: str) -> None:
    if name not in METRIC_NAMES:
        raise ValueError(f"there is no metric {name!r}; there are {', '.join(sorted(METRIC_NAMES))}")


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
