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
Mebibytes = Annotated[int, msgspec.Meta(ge=16)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Processes = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


#: Most requests of a load.
MAX_REQUESTS = 200_000


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


class Evidence(msgspec.Struct, frozen=True):
    """An artifact that an answer rests on. `size` is in bytes; `digest` is "sha256:" and hexadecimal digits."""

    path: str
    digest: str
    size: int


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a gate found: its verdict, what decided it, each check, and what its program printed.

    `documents`: what was made on the way, by file name; they are kept as `evidence`, with a report of the whole.
    `until_ms`: from then on it counts no more.
    """

    verdict: GateVerdict
    reason: str
    checks: list[Check]
    output: str = ""
    documents: dict[str, str] = {}
    until_ms: int | None = None
    evidence: dict[str, Evidence] = {}


class Standing(msgspec.Struct, frozen=True):
    """How a version stands before one gate. `state` is missing, waiting, running or done.

    `policy_version` is the generation of the policy that asked; a later one may ask the same.
    """

    policy: str
    gate: str
    kind: str
    state: str
    decision: Decision
    started_ms: int | None = None
    ended_ms: int | None = None
    policy_version: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the gate has been passed."""
        return self.state == "done" and self.decision.verdict is GateVerdict.PASS


class _Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    pass


class Kind(_Spec, frozen=True):
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


class Robustness(_Spec, frozen=True):
    """How much worse the model may get when a column fails.

    It is run on `rows` rows of the evaluation, which then needs the model's inputs as columns, with one column after
    the other `missing` (null in all rows) or `permuted` among them. `columns`: which; all inputs when not given.
    """

    metric: str
    missing: Margin | None = None
    permuted: Margin | None = None
    columns: list[str] = []
    rows: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2_000

    def __post_init__(self) -> None:
        _check_metric(self.metric)
        if self.missing is None and self.permuted is None:
            raise ValueError("robustness needs missing or permuted")


class Columns(_Spec, frozen=True):
    """Names in the evaluation. `score` is the probability of the positive class; `key` tells rows apart."""

    label: str = "label"
    prediction: str = "prediction"
    score: str = ""
    key: str = ""


class Hosting(_Spec, frozen=True):
    """How the model is run: in an environment built from the version's own files, within limits.

    `seconds`: for all that a gate does with it. `disk_mib`: what it may write into its folder, and into any one file.
    `source_distributions`: packages without a wheel are built, which runs
    their code. `any_python`: another minor version of Python than the model asks for will do.
    """

    seconds: Seconds = 300.0
    build_seconds: Seconds = 900.0
    memory_mib: Mebibytes = 4_096
    processes: Processes = 64
    disk_mib: Mebibytes = 4_096
    source_distributions: bool = False
    any_python: bool = False


class Validation(Kind, frozen=True):
    """Decides on the stored evaluation of single rows, a CSV or Parquet file of the version or its run.

    `positive` is the label of the positive class; without it, labels are numbers. `hosting` is for `robustness`, which
    runs the model.
    """

    evaluation: str = "evaluation.csv"
    columns: Columns = Columns()
    positive: str = ""
    confidence: Confidence = 0.95
    thresholds: list[Threshold] = []
    no_worse_than: list[NoWorseThan] = []
    slices: list[Slices] = []
    fairness: list[Fairness] = []
    robustness: list[Robustness] = []
    hosting: Hosting = Hosting()

    @property
    def beside(self) -> list[str]:
        return sorted({each.alias for each in self.no_worse_than})


class Contract(Kind, frozen=True):
    """Decides by what the version promises: its input example runs, and the output is as its signature says.

    `compatible_with`: an alias; whoever can call the version there now can call this one.
    """

    compatible_with: str = ""
    hosting: Hosting = Hosting()

    @property
    def beside(self) -> list[str]:
        return [self.compatible_with] if self.compatible_with else []


class Tolerance(_Spec, frozen=True):
    """How far numbers may be apart: `absolute` plus `relative` times the expected one."""

    absolute: Margin = 1e-8
    relative: Margin = 1e-5


class Integration(Kind, frozen=True):
    """Decides by calling the version over HTTP: with its input example, and with golden rows.

    `golden`: a JSON file of the version or its run: a request of MLflow's scoring protocol together with the expected
    `predictions`, or a list of such.
    """

    golden: str = ""
    tolerance: Tolerance = Tolerance()
    hosting: Hosting = Hosting()


class Performance(Kind, frozen=True):
    """Decides by a load of `rate` requests per second for so many seconds, each request the input example.

    Requests are sent when they are due, however long the answers take, and latency counts from then on. Bounds:
    latency in milliseconds, answers per second, the share of requests without a good answer, peak memory of the model's
    processes in MiB, and seconds from the start of the process until it answers.
    """

    rate: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 50.0
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 10.0
    warmup_seconds: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 1.0
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0
    max_p50_ms: Positive | None = None
    max_p99_ms: Positive | None = None
    min_rps: Positive | None = None
    max_errors: Share = 0.0
    max_memory_mib: Positive | None = None
    max_cold_start_seconds: Positive | None = None
    confidence: Confidence = 0.95
    hosting: Hosting = Hosting()

    def __post_init__(self) -> None:
        if not 1 <= self.rate * self.seconds <= MAX_REQUESTS:
            raise ValueError(f"rate times seconds is the number of requests, from 1 to {MAX_REQUESTS:,}")


class Python(Kind, frozen=True):
    """Decides by a function of yours, `module:function`, that runs in the model's environment.

    `file`: of the version or its run; `<module>.py` when not given. `sha256`: the digest that the file must have, so
    that nobody who registers versions can change the question.
    """

    function: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    file: str = ""
    sha256: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""
    hosting: Hosting = Hosting()


class Command(Kind, frozen=True):
    """Decides by a program's exit status. It runs in a folder that holds the version's files in `model/`."""

    command: Annotated[list[str], msgspec.Meta(min_length=1)]
    seconds: Seconds = 300.0
    memory_mib: Mebibytes = 2_048
    processes: Processes = 64
    disk_mib: Mebibytes = 4_096


class Security(Kind, frozen=True):
    """Decides by what is in the version's files: whatever could run code when the model is loaded fails.

    Further questions are asked only if they stand here. `environment`: they are about what an environment holds that is
    built from the version's files, with all that comes along, and not only about what these files name. `sbom`: a bill
    of materials is made and kept with the answer.
    """

    seconds: Seconds = 300.0
    secrets: Secrets | None = None
    vulnerabilities: Vulnerabilities | None = None
    licences: Licences | None = None
    environment: bool = False
    build_seconds: Seconds = 900.0
    sbom: bool = False


#: Before a role that stands for all who hold it.
GROUP = "role:"
GROUPS = ("viewer", "editor", "admin")


class Approval(Kind, frozen=True):
    """Decides by people: `count` of `approvers` say yes and none says no. Without names, the project's admins approve.

    An approver is a name, or a group: "role:editor" are all who hold that role in the project, or a higher one.
    `expires_hours`: an approval older than that counts no more.
    """

    approvers: list[str] = []
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    expires_hours: Annotated[float, msgspec.Meta(gt=0)] = 168.0
    not_requester: bool = True

    def __post_init__(self) -> None:
        groups = [each.removeprefix(GROUP) for each in self.approvers if each.startswith(GROUP)]
        for unknown in set(groups) - set(GROUPS):
            raise ValueError(f"there is no role {unknown!r}; there are {', '.join(GROUPS)}")
        if self.approvers and not groups and self.count > len(set(self.approvers)):
            raise ValueError(f"{self.count} approvals of {len(set(self.approvers))} approvers cannot be had")

    @property
    def runs(self) -> bool:
        return False


class Signed(Kind, frozen=True):
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
    contract: Contract | None = None
    integration: Integration | None = None
    performance: Performance | None = None
    python: Python | None = None
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
    def asked(self) -> Kind:
        """What is asked, in the words of its kind."""
        asked: Kind = getattr(self, self.kind)
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

    def guards(self, alias: str, stage: Stage | None) -> bool:
        """Whether the policy is about this alias, or this stage."""
        return alias in self.aliases or stage in self.stages


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
    passed = "the check passed" if len(checks) == 1 else f"all {len(checks)} checks passed"
    return Decision(GateVerdict.PASS, passed, checks)


def preceded(checks: list[Check], found: Decision) -> Decision:
    """What was found, together with the checks that were made before."""
    whole = conclude([*checks, *found.checks])
    order = (GateVerdict.PASS, GateVerdict.INCONCLUSIVE, GateVerdict.FAIL)
    failed_before = any(check.verdict is GateVerdict.FAIL for check in checks)
    worst = whole if failed_before else max(found, whole, key=lambda each: order.index(each.verdict))
    return Decision(worst.verdict, worst.reason, whole.checks, found.output)


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
