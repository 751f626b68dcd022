"""The words of serving: what an endpoint is, and how a new version gets its traffic."""

import re
from enum import StrEnum
from typing import Annotated

import msgspec

Alpha = Annotated[float, msgspec.Meta(gt=0, le=0.5)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Margin = Annotated[float, msgspec.Meta(ge=0)]
Mebibytes = Annotated[int, msgspec.Meta(ge=16, le=1 << 24)]
Number = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]
Rate = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=30 * 86_400)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_MODEL = re.compile(r"(?P<name>[^/@]+)(/(?P<version>[1-9]\d{0,17})|@(?P<alias>[^/@]+))\Z")


class Strategy(StrEnum):
    """How a new version takes over.

    `blue-green`: all at once, after it has been loaded and asked. `canary`: by steps, each after evidence. `shadow`: it
    gets copies of requests, and nobody sees what it answers. `ab`: two versions share the traffic until somebody
    decides. `bandit`: the shares follow the rewards.
    """

    BLUE_GREEN = "blue-green"
    CANARY = "canary"
    SHADOW = "shadow"
    AB = "ab"
    BANDIT = "bandit"


class _Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    pass


class Objective(_Spec, frozen=True):
    """What an endpoint promises: at most this share of requests fails, and no quantile of latency is above its bound.

    `latency_tolerance`: a new version may be slower than the one that serves by this factor.
    """

    error_rate: Rate = 0.02
    latency_quantile: Annotated[float, msgspec.Meta(ge=0.5, le=0.999)] = 0.95
    latency_tolerance: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.25


class Guards(_Spec, frozen=True):
    """What ends a rollout at once, without statistics: each is zero where it is not wanted.

    `consecutive_errors`: so many failed requests of the new version, none good between them. `process_deaths`: of the
    process that runs it. `wrong_outputs`: answers that are not as the version's signature says. `nan_share`: of numbers
    in the answers of a look that has at least a hundred.
    """

    consecutive_errors: Count = 10
    process_deaths: Count = 1
    wrong_outputs: Count = 1
    nan_share: Share = 0.05


class Shadowing(_Spec, frozen=True):
    """When a version that gets copies of requests is good enough.

    `disagreement`: at most this share of rows is answered differently. `tolerance`: numbers are the same that are apart
    by no more, absolutely and relatively.
    """

    disagreement: Rate = 0.05
    tolerance: Margin = 1e-6
    sample: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class Rollout(_Spec, frozen=True):
    """How a new version gets its traffic.

    `steps`: shares of the traffic in percent, rising; the last step is followed by all of it. `alpha`: the probability
    that a version as good as the one before is rolled back. `promotion_alpha`: that one is promoted whose error rate is
    above the objective. `look_seconds`: between two looks. `patience_seconds`: after so long without evidence the
    verdict is inconclusive. `on_inconclusive`: hold, or roll back.
    """

    strategy: Strategy = Strategy.CANARY
    steps: tuple[Percent, ...] = (5.0, 25.0, 50.0)
    alpha: Alpha = 0.01
    promotion_alpha: Alpha = 0.05
    look_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3_600)] = 5.0
    patience_seconds: Seconds = 7_200.0
    on_inconclusive: Annotated[str, msgspec.Meta(pattern="^(hold|rollback)$")] = "hold"
    objective: Objective = Objective()
    guards: Guards = Guards()
    shadow: Shadowing = Shadowing()

    def __post_init__(self) -> None:
        if self.strategy is Strategy.CANARY and not self.steps:
            raise ValueError("a canary needs steps")
        if any(later <= earlier for earlier, later in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError("steps must rise")


class Scaling(_Spec, frozen=True):
    """Processes that run the endpoint's versions.

    `min` zero: they end after `idle_seconds` without a request, and start with the next. `concurrency`: requests under
    way in one process above which another one is started, up to `max`.
    """

    min: Annotated[int, msgspec.Meta(ge=0, le=1_024)] = 1
    max: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 1
    concurrency: Number = 32
    idle_seconds: Seconds = 300.0

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError("min is above max")


class Limits(_Spec, frozen=True):
    """What an endpoint takes.

    `queue`: requests that may wait; more get 429. `timeout_ms`: for one request. `memory_mib`: that a version may take
    beside what its process has without it. `per_key_per_second`: requests; 0 is any number. Where there are no keys,
    all callers are one.
    """

    queue: Number = 1_024
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=600_000)] = 30_000
    body_mib: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 64
    memory_mib: Mebibytes = 4_096
    per_key_per_second: Margin = 0.0


class Logging(_Spec, frozen=True):
    """What is kept of requests. `sample`: share of them whose inputs are kept too. `redact`: inputs never kept.

    `keep_days`, `keep_mib`: what is older, or too much, is removed, the oldest first.
    """

    predictions: bool = True
    sample: Share = 1.0
    redact: list[str] = []
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 90
    keep_mib: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 4_096


class Endpoint(_Spec, frozen=True):
    """A name under which a version answers requests.

    Attributes:
        model: "name@alias", which is followed when the alias moves, or "name/3".
        entity: the parameter, or else the input in the first row, by which requests are kept with one version; a
            request's id when not given.
        onnx: the version is compiled, and served so where its answers are proved to be the same.
    """

    model: str
    rollout: Rollout = Rollout()
    scaling: Scaling = Scaling()
    limits: Limits = Limits()
    logging: Logging = Logging()
    entity: str = ""
    onnx: bool = False

    def __post_init__(self) -> None:
        model_reference(self.model)


class ModelReference(msgspec.Struct, frozen=True):
    """A version, or the alias that leads to one; exactly one of the two is set."""

    name: str
    version: int | None = None
    alias: str = ""


def model_reference(text: str) -> ModelReference:
    """Read "name@alias" or "name/3". Raises ValueError."""
    found = _MODEL.match(text)
    if found is None:
        raise ValueError(f"{text!r} is neither MODEL@ALIAS nor MODEL/VERSION")
    version = found["version"]
    return ModelReference(found["name"], int(version) if version else None, found["alias"] or "")


# --- what there is ------------------------------------------------------------------------------------------------


class RevisionState(StrEnum):
    """Where a revision stands: `preparing` until its files and environment are there."""

    PREPARING = "preparing"
    READY = "ready"
    FAILED = "failed"


class EndpointRevision(msgspec.Struct, frozen=True):
    """A version as an endpoint serves, or served, it.

    Attributes:
        row: of the database.
        number: counts the endpoint's revisions.
        digest: of the version's files.
        overridden: why it does without its gates; empty when they are passed.
        reason: why it failed.
    """

    row: int
    number: int
    model: str
    version: int
    digest: str
    onnx: bool
    state: RevisionState
    reason: str
    overridden: str
    author: str
    created_ms: int
    ready_ms: int


class RolloutState(StrEnum):
    """Where a rollout stands. `superseded`: another one has begun."""

    RUNNING = "running"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"

    @property
    def goes_on(self) -> bool:
        """Whether it may still end either way."""
        return self in {RolloutState.RUNNING, RolloutState.PAUSED}


class RolloutRecord(msgspec.Struct, frozen=True):
    """A rollout, going on or over.

    Attributes:
        row: of the database.
        number: of the candidate's revision; `stable`: of the one it was compared with.
        attempt: counts the rollouts of that revision.
        step: the place in the plan's steps.
        looks: how many there were.
        inconclusive: there was no evidence in time, and it is held.
    """

    row: int
    number: int
    attempt: int
    stable: int
    plan: Rollout
    state: RolloutState
    reason: str
    step: int
    looks: int
    inconclusive: bool
    author: str
    began_ms: int
    ended_ms: int

    @property
    def goes_on(self) -> bool:
        """Whether it may still end either way."""
        return self.state.goes_on


class Traffic(msgspec.Struct, frozen=True):
    """Which revisions get requests: `stable`, and a `candidate` for a `share` of them, from 0 to 1; 0 is none."""

    stable: int
    candidate: int
    share: float


class EndpointKey(msgspec.Struct, frozen=True):
    """A key that opens an endpoint; the key itself is shown once, when it is made."""

    name: str
    author: str
    created_ms: int
