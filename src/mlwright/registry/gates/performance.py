"""The gate `performance`: how does the model answer under a load that does not wait for it?"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlwright.compute.spec import Limits, Outcome
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.registry.gates import examples, hosting, load
from mlwright.registry.gates.hosting import Host
from mlwright.registry.gates.room import Room
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Interval, Performance, judged, undecided

_ANSWERED = "the input example is answered with predictions"
#: What the load generator may take beside the time of the load.
_SPARE_S = 30.0
_MEMORY_BYTES = 1 << 30


class _Report(msgspec.Struct):
    """What the load generator says. `buckets`: good answers by the number of their latency's bucket."""

    sent: int
    lasted_s: float
    buckets: dict[int, int]
    failures: dict[str, int]


def decide(room: Room, asked: Performance) -> Decision:
    """Start the model, send the load, and compare what was measured with each bound."""

    def questions(host: Host) -> list[Check]:
        cold = _bound("cold start", asked.max_cold_start_seconds, host.cold_start_s, "s")
        try:
            request = examples.example(host.model)
        except (Invalid, NotFound) as error:
            return [*cold, Check("input example", GateVerdict.FAIL, _ANSWERED, error.message)]
        reply = host.ask(request, asked.timeout_seconds)
        if reply.predictions is None:
            return [*cold, Check("input example", GateVerdict.FAIL, _ANSWERED, reply.explain())]
        return [*cold, *_under_load(room, asked, host, request)]

    def measure(outcome: Outcome) -> list[Check]:
        return _bound("peak memory", asked.max_memory_mib, outcome.peak_memory_bytes / (1 << 20), "MiB")

    return hosting.decide(room, asked.hosting, questions, measure)


def _under_load(room: Room, asked: Performance, host: Host, request: Mapping[str, object]) -> list[Check]:
    body, plan = room.folder / "body.json", room.folder / "load.json"
    body.write_bytes(msgspec.json.encode(request))
    settings = {"port": host.port, "body": str(body), "rate": asked.rate, "seconds": asked.seconds}
    times = {"warmup_seconds": asked.warmup_seconds, "timeout_seconds": asked.timeout_seconds}
    plan.write_bytes(msgspec.json.encode({**settings, **times}))
    limits = Limits(asked.seconds + asked.warmup_seconds + asked.timeout_seconds + _SPARE_S, _MEMORY_BYTES)
    outcome = room.run([sys.executable, "-I", str(Path(load.__file__)), str(plan)], limits)
    required = f"{asked.rate:g} requests per second are sent"
    if not outcome.succeeded:
        return [undecided("load", required, hosting.explain(outcome, limits))]
    try:
        report = msgspec.json.decode(outcome.output, type=_Report)
    except msgspec.DecodeError as error:
        return [undecided("load", required, f"the report of the load cannot be read: {error}")]
    return _judge(asked, report)


def _judge(asked: Performance, report: _Report) -> list[Check]:
    answers = sum(report.buckets.values())
    sent = Check("load", GateVerdict.PASS, f"{asked.rate:g} requests per second are sent", f"{report.sent} were sent")
    kinds = ", ".join(f"{count} × {name}" for name, count in sorted(report.failures.items()))
    failed = 1 - answers / report.sent
    verdict = GateVerdict.PASS if failed <= asked.max_errors else GateVerdict.FAIL
    found = f"{failed:.3g} of {report.sent}{f': {kinds}' if kinds else ''}"
    checks = [sent, Check("errors", verdict, f"a share of at most {asked.max_errors:g}", found)]
    for name, share, most in (("p50", 0.5, asked.max_p50_ms), ("p99", 0.99, asked.max_p99_ms)):
        interval = quantile(report.buckets, report.sent, share, asked.confidence)
        if most is not None and math.isinf(interval.high) and not report.failures:
            needed = math.ceil(math.log((1 - asked.confidence) / 2) / math.log(share))
            few = f"{report.sent} requests are too few to say: {needed} are needed"
            checks.append(undecided(f"{name} latency in ms", f"≤ {most:g}", few))
        elif most is not None:
            checks.append(judged(f"{name} latency in ms", f"≤ {most:g}", interval, None, most))
        else:
            found = f"{interval.value:.4g} ms ({interval.low:.4g} to {interval.high:.4g})"
            checks.append(Check(f"{name} latency in ms", GateVerdict.PASS, "nothing", found))
    rps = answers / report.lasted_s
    return checks + _bound("good answers", asked.min_rps, rps, "per second", at_least=True)


def quantile(buckets: Mapping[int, int], sent: int, share: float, confidence: float) -> Interval:
    """A quantile of latency in milliseconds, between two order statistics that hold it with this confidence.

    What was not answered counts as infinitely late. Source: Hahn and Meeker, Statistical Intervals, 5.2.
    """
    low, high = order_statistics(sent, share, (1 - confidence) / 2)
    value = _at(buckets, max(math.ceil(share * sent), 1))
    return Interval(value, _at(buckets, low), _at(buckets, high), "order statistics")


def order_statistics(sent: int, share: float, tail: float) -> tuple[int, int]:
    """Ranks, from 1, between which the quantile lies but for these tails; 0 and sent + 1 where none is far enough."""
    low, high = 0, sent + 1
    cumulated = 0.0
    for successes in range(sent + 1):  # the number of answers that are faster than the quantile is binomial
        cumulated += math.exp(
            math.lgamma(sent + 1) - math.lgamma(successes + 1) - math.lgamma(sent - successes + 1)
            + successes * math.log(share) + (sent - successes) * math.log1p(-share)
        )  # fmt: skip
        if cumulated <= tail:
            low = successes + 1
        if cumulated >= 1 - tail:
            high = successes + 1
            break
    return low, high


def _at(buckets: Mapping[int, int], rank: int) -> float:
    """The latency of that rank in milliseconds; 0 before the first."""
    if rank < 1:
        return 0.0
    seen = 0
    for number in sorted(buckets):
        seen += buckets[number]
        if seen >= rank:
            return load.upper_s(number) * 1_000
    return math.inf


def _bound(name: str, bound: float | None, found: float, unit: str, *, at_least: bool = False) -> list[Check]:
    """A plain comparison; without a bound, what was measured is told all the same."""
    required = "nothing" if bound is None else f"{'≥' if at_least else '≤'} {bound:g} {unit}"
    kept = bound is None or (found >= bound if at_least else found <= bound)
    return [Check(name, GateVerdict.PASS if kept else GateVerdict.FAIL, required, f"{found:.4g} {unit}")]
