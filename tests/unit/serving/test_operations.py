"""What operators expect of a serving host: ids, limits, metrics and the prediction log, through real requests."""

import hashlib
import math
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlwright.serving.host.counts import Tally
from mlwright.serving.host.metrics import Family
from mlwright.serving.host.spool import Prediction
from mlwright.serving.predictions import PredictionLog
from tests.unit.serving.hosting import Answer, Site, kill, site, toy

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("host")
    with site(folder, toy(folder, 0, 1), toy(folder, 100, 2)) as found:
        yield found


@pytest.fixture(autouse=True)
def plain(host: Site) -> None:
    """Each test begins with an endpoint that has no settings."""
    host.limits = {}
    host.tell(stable=1, candidate=0, share=0.0, keys={}, limits={}, logging={})


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """A host that no other test has asked anything."""
    with site(tmp_path, toy(tmp_path, 0, 1), toy(tmp_path, 100, 2), limits={"queue": 2}) as found:
        yield found


def log_of(host: Site) -> PredictionLog:
    return PredictionLog(host.folder / "predictions")


def logged(host: Site, *answers: Answer) -> list[Prediction]:
    """The predictions of these answers, once they are in the log."""
    names = [answer.headers["x-prediction-id"] for answer in answers]
    host.wait(lambda: None not in [log_of(host).find("toy", name) for name in names])
    return [found for name in names if (found := log_of(host).find("toy", name)) is not None]


# --- ids, and the log ---------------------------------------------------------------------------------------------


def test_a_prediction_is_found_again(host: Site) -> None:
    answer = host.ask([2, 3], [4, 5], x_request_id="mine", traceparent=f"00-{TRACE}-{PARENT}-01")
    assert answer.headers["x-request-id"] == "mine"
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span not in {PARENT, "0" * 16}
    (found,) = logged(host, answer)
    document = host.document()
    assert (document["predictions_logged"]["toy"] > 0, document["predictions_dropped"]) == (True, {})
    assert (found.request_id, found.trace_id, found.revision, found.version) == ("mine", TRACE, 1, 1)
    assert (found.inputs, found.outputs) == ({"x": [2, 4], "y": [3, 5]}, {"predictions": [5, 9]})
    other = host.ask([2, 3], traceparent="00-nonsense")
    assert other.headers["x-request-id"] == other.headers["x-prediction-id"]
    assert "traceparent" not in other.headers
    failed = host.ask([666, 0], x_request_id="bad")
    assert (failed.status, failed.headers["x-request-id"]) == (500, "bad")


def test_columns_that_are_redacted_never_reach_the_disk(host: Site) -> None:
    host.tell(logging={"redact": ["y"]})
    redacted = host.ask([2, 31_415.5])
    host.tell(logging={"predictions": False})
    nowhere = host.ask([2, 3])
    host.tell(logging={"sample": 0.0})
    assert [each.inputs for each in logged(host, redacted, host.ask([2, 3]))] == [{"x": [2]}, None]
    assert log_of(host).find("toy", nowhere.headers["x-prediction-id"]) is None
    written = b"".join(path.read_bytes() for path in (host.folder / "predictions" / ".spool").iterdir())
    assert struct.pack("<d", 31_415.5) not in written
    assert struct.pack("<d", 2.0) in written


def test_a_killed_host_loses_nothing_that_was_written(own: Site) -> None:
    answers = [own.ask([float(number), 0]) for number in range(200, 220)]
    logged(own, *answers)
    before = own.host
    kill(before)
    own.wait(lambda: own.get("/v2").status == 200 and own.host.pid != before.pid)
    answers.append(own.ask([2, 3]))
    every = logged(own, *answers)
    folder = own.folder / "predictions"  # the new host has what the dead one left packed
    own.wait(lambda: len(list((folder / ".spool").glob("*.spool"))) == 1)
    own.wait(lambda: list(folder.glob("toy/date=*/*.*")))  # it is there a moment before the spool is gone
    assert list(log_of(own).read("toy")) == logged(own, *answers) == every


# --- limits -------------------------------------------------------------------------------------------------------


def test_who_waits_less_long_than_the_model_takes(own: Site) -> None:
    """A request whose time is over before the model is free never reaches it, and is no error of the version."""
    host = own
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(host.ask, [1.0, 0.0])
        host.wait(lambda: host.counts()["revisions"]["1"]["under_way"] == 1)
        hurried = pool.submit(host.ask, [137.0, 0.0], x_request_timeout_ms="50")  # would end the process
        assert hurried.result().status == 504
        assert slow.result().status == 200
    counts = host.counts()["revisions"]["1"]
    assert (counts["late"], counts["errors"], counts["deaths"]) == (1, 0, 0)
    assert host.ask([2, 3], x_request_timeout_ms="soon").status == 400
    assert host.ask([2, 3], x_request_timeout_ms="5000").status == 200


def test_each_key_has_its_rate(host: Site) -> None:
    keys = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("one", "two")}
    host.tell(keys=keys, limits={"perKeyPerSecond": 0.01})
    first, second = (host.ask([2, 3], authorization="Bearer one") for _ in range(2))
    assert (first.status, second.status) == (200, 429)
    assert 90 <= int(second.headers["retry-after"]) <= 100
    assert host.ask([2, 3], x_api_key="two").status == 200
    assert [host.ask([2, 3]).status, host.ask([2, 3], x_api_key="three").status] == [401, 403]
    refused = host.counts()["refused"]
    asked = [host.ask([2, 3], path="/endpoints/toy/invocations", x_api_key=key) for key in ("", "three", "one")]
    assert [each.document["error_code"] for each in asked] == [
        "UNAUTHENTICATED", "PERMISSION_DENIED", "REQUEST_LIMIT_EXCEEDED",
    ]  # fmt: skip
    assert {name: refused[name] for name in ("rate_limited", "unauthenticated", "denied")} == {
        "rate_limited": 1, "unauthenticated": 1, "denied": 1,
    }  # fmt: skip


def test_a_queue_before_what_hangs_does_not_stay_full(own: Site) -> None:
    """Requests that were given up on make room for others, also before the model is free again."""
    host = own
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(host.ask, [60.0, 0.0], x_request_timeout_ms="1000")]
        host.wait(lambda: host.counts()["revisions"]["1"]["under_way"] == 1)
        waiting = list(pool.map(lambda _: host.ask([2, 3], x_request_timeout_ms="100"), range(2)))
        assert [each.status for each in waiting] == [504, 504]
        assert host.ask([2, 3], x_request_timeout_ms="100").status == 504  # not 429
        assert slow[0].result().status == 504


# --- metrics ------------------------------------------------------------------------------------------------------

_SAMPLE = re.compile(r'([a-z_:]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)\Z')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples of a text in Prometheus' format. Fails where it is not in it."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    kinds: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            sample = _SAMPLE.match(line)
            assert sample is not None, line
            family = re.sub(r"_(bucket|sum|count)\Z", "", sample[1]) if sample[1] not in kinds else sample[1]
            assert family in kinds, line
            assert (kinds[family] == "counter") == family.endswith("_total"), line
            key = (sample[1], frozenset(_LABEL.findall(sample[2] or "")))
            assert key not in found, line
            found[key] = float(sample[3])
    return found


def test_metrics(own: Site) -> None:
    host = own
    host.tell(candidate=2, share=0.5)
    answers = [host.ask([2, 3], x_request_id=str(number)) for number in range(20)]
    host.ask([666, 0], path="/v2/models/toy/versions/1/infer")
    host.post("/v2/models/toy/infer", b"{")
    answer = host.get("/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = parsed(answer.body.decode())

    def value(name: str, **labels: str) -> float:
        return sum(
            value for (found_name, with_), value in found.items()
            if found_name == f"mlwright_serving_{name}" and set(labels.items()) <= with_
        )  # fmt: skip

    assert value("requests_total", outcome="ok") == len(answers)
    assert value("requests_total", outcome="error", revision="1", model="toy", version="1") == 1
    assert value("refused_total", code="model_failed", endpoint="toy") == 1
    assert value("refused_total", code="invalid", project="default") == 1
    assert value("version_loaded") == 2
    assert value("candidate_share") == 0.5
    assert value("batch_requests_sum") == value("request_duration_seconds_count") == len(answers) + 1
    assert value("process_memory_bytes") > 1 << 20
    buckets = [
        (float(dict(labels)["le"]), count)
        for (name, labels), count in found.items()
        if name.endswith("duration_seconds_bucket") and ("revision", "1") in labels
    ]
    assert [count for _, count in sorted(buckets)] == sorted(count for _, count in buckets)
    assert math.inf in dict(buckets)
    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "check", "metrics"], input=answer.body, check=True)


def test_who_may_see_the_metrics(host: Site) -> None:
    def see(**headers: str) -> Answer:
        return host.get("/metrics", **headers)

    host.limits = {"metrics_keys": {"prometheus": hashlib.sha256(b"secret").hexdigest()}}
    host.tell(keys={"one": hashlib.sha256(b"one").hexdigest()})
    assert [see().status, see(authorization="Bearer no").status, see(authorization="Bearer secret").status] == [
        401, 403, 200,
    ]  # fmt: skip
    host.limits = {"metrics_keys": {"": ""}}
    host.tell(keys={"one": hashlib.sha256(b"one").hexdigest()})
    assert [see().status, see(authorization="Bearer secret").status] == [401, 403]
    own = see(authorization="Bearer one")  # the key of an endpoint
    assert (own.status, b'endpoint="toy"' in own.body, b"process_memory" in own.body) == (200, True, False)


def test_labels_are_escaped() -> None:
    family = Family("x_total", "counter", "a\nb\\c")
    family.add({"name": 'a"b\\c\nd'}, 1)
    lines = list(family.lines())
    assert lines[0] == "# HELP mlwright_serving_x_total a\\nb\\\\c"
    assert lines[2] == 'mlwright_serving_x_total{name="a\\"b\\\\c\\nd"} 1'
    assert len(parsed("\n".join(lines) + "\n")) == 1


def test_batches_are_counted_by_their_size() -> None:
    tally = Tally()
    for size in (1, 2, 3, 4, 64):
        tally.batch(size)
    assert (tally.batches, tally.batched) == ([0, 1, 2, 1, 0, 0, 0, 1], 74)
