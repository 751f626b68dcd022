"""A serving host with real processes: what models do wrong, what is changed, killed and replaced under load."""

import gzip
import json
import math
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.unit.serving.hosting import Load, Site, kill, site, toy


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, toy(tmp_path, 0, 1), toy(tmp_path, 100, 2)) as found:
        yield found


def test_one_model_in_all_protocols(host: Site) -> None:
    assert host.values([2, 3], [4, 5]) == [5, 9]
    assert host.values([2, 3], path="/v2/models/toy/versions/2/infer") == [105]
    v1 = host.post("/v1/models/toy:predict", b'{"instances": [[2, 3]]}')
    assert v1.document == {"predictions": [5]}
    table = b'{"dataframe_split": {"columns": ["y", "x"], "data": [[3, 2]]}}'
    assert host.post("/invocations", table, content_type="application/json").document == {"predictions": [5]}
    packed = gzip.compress(b'{"instances": [[2, 3]]}')
    assert host.post("/endpoints/toy/invocations", packed, content_encoding="gzip").document == {"predictions": [5]}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/models/none/infer", b"{}", 404),
        ("/v2/models/toy/versions/9/infer", b"{}", 404),
        ("/v2/models/toy/infer", b"{", 400),
        ("/v2/models/toy/infer", b'{"inputs": []}', 400),
        ("/v1/models/toy:predict", b'{"instances": [[1]]}', 400),
        ("/invocations", b"\xff", 400),
    ],
)
def test_what_is_wrong_is_the_callers(host: Site, path: str, body: bytes, status: int) -> None:
    answer = host.post(path, body)
    assert (answer.status, list(answer.document)[-1] in {"error", "message"}) == (status, True)


def test_a_bad_row_fails_only_its_own_request(host: Site) -> None:
    rows = [[1.0, 0.0], [666.0, 0.0], *([float(number), 1.0] for number in range(200, 230))]
    with ThreadPoolExecutor(len(rows)) as pool:
        slow = pool.submit(host.ask, rows[0])  # the others wait for it, and are one batch
        answers = list(pool.map(host.ask, rows[1:]))
    assert slow.result().status == 200
    assert [answer.status for answer in answers] == [500, *(200 for _ in rows[2:])]
    assert "a bad row" in answers[0].document["error"]
    assert [answer.document["outputs"][0]["data"] for answer in answers[1:]] == [[sum(row)] for row in rows[2:]]


def test_answers_of_another_length_and_none_at_all(host: Site) -> None:
    assert "shape [99]" in host.ask([7, 0]).document["error"]
    nan = host.ask([404, 0])
    assert (nan.status, nan.document["outputs"][0]["data"]) == (200, [None])
    assert math.isclose(host.values([2, 3])[0], 5)


def test_a_request_that_kills_its_process_is_the_only_one_to_fail(host: Site) -> None:
    with ThreadPoolExecutor(8) as pool:
        slow = pool.submit(host.ask, [1.0, 0.0])
        answers = list(pool.map(host.ask, [[137.0, 0.0], *([float(number), 1.0] for number in range(200, 206))]))
    assert slow.result().status == 200
    assert [answer.status for answer in answers] == [503, *(200 for _ in range(6))]
    assert host.counts()["revisions"]["1"]["deaths"] == 2  # once among others, once alone


def test_a_hanging_model_is_given_up_on(host: Site) -> None:
    host.tell(limits={"timeoutMs": 300})
    assert host.ask([60, 0]).status == 504


def test_more_than_may_wait_are_told_to_come_again(tmp_path: Path) -> None:
    with site(tmp_path, toy(tmp_path, 0, 1), limits={"queue": 2}) as host, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(host.ask, [[1.0, 0.0]] * 8))
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    assert {(answer.status, answer.headers["retry-after"]) for answer in refused} == {(429, "1")}


# --- a candidate --------------------------------------------------------------------------------------------------


def test_entities_stay_with_their_version(host: Site) -> None:
    host.tell(candidate=2, share=0.5)
    answers = {name: {host.values([2, 3], x_request_id=name)[0] for _ in range(3)} for name in map(str, range(20))}
    assert {len(each) for each in answers.values()} == {1}
    assert {min(each) for each in answers.values()} == {5, 105}


def test_an_input_can_be_what_tells_entities_apart(host: Site) -> None:
    host.tell(candidate=2, share=0.5, entity="x")
    answers = {x: {host.values([x, 0])[0] - x for _ in range(3)} for x in range(10_000, 10_020)}
    assert {len(each) for each in answers.values()} == {1}
    assert {min(each) for each in answers.values()} == {0, 100}
    body = {"dataframe_split": {"columns": ["y", "x"], "data": [[0, 10_000]]}}
    split = host.post("/invocations", json.dumps(body).encode()).document["predictions"]
    assert split == [10_000 + min(answers[10_000])], "the same entity, whatever the order of the columns"


def test_clients_do_not_notice_a_broken_candidate(tmp_path: Path) -> None:
    broken = "class Toy:\n    def __init__(self, number): pass\n    def predict(self, given): raise OSError('broken')\n"
    revisions = toy(tmp_path, 0, 1), toy(tmp_path, 0, 2, source=broken)
    with site(tmp_path, *revisions, candidate=2, share=1.0, guards={"consecutiveErrors": 3}) as host:
        assert [host.values([2, 3]) for _ in range(6)] == [[5]] * 6
        counts = host.counts()
    assert counts["tripped"] == {"2": "3 requests failed one after the other"}
    assert (counts["revisions"]["2"]["errors"], counts["revisions"]["1"]["errors"]) == (3, 0)


def test_a_shadow_is_compared_row_by_row(host: Site) -> None:
    host.tell(candidate=2, mirror=1.0)
    assert host.values([2, 3], [4, 5]) == [5, 9]
    host.wait(lambda: host.counts()["revisions"]["2"]["rows"] == 2)
    assert host.counts()["revisions"]["2"]["disagreements"] == 2


def test_a_version_that_cannot_be_loaded_changes_nothing(host: Site, tmp_path: Path) -> None:
    bad = {**toy(tmp_path, 0, 3), "options": {"pickled_model": "none.pkl"}}
    told = host.tell(revisions=[*host.served["revisions"], bad], candidate=3, share=1.0)
    assert "FileNotFoundError" in told["failures"]["default/toy/3"]
    assert host.values([2, 3]) == [5]


# --- under load ---------------------------------------------------------------------------------------------------


def test_nothing_fails_while_versions_are_switched_and_hosts_are_replaced(host: Site) -> None:
    load = Load(host)
    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(load.run) for _ in range(4)]
        try:
            host.wait(lambda: load.seen["200"] > 50)
            for number in range(30):
                host.tell(stable=1 + number % 2)
            before = host.host
            host.keeper.send_signal(signal.SIGHUP)
            host.wait(lambda: not before.is_running())
            kill(host.host.children()[0])
            seen = load.seen["200"]
            host.wait(lambda: load.seen["200"] > seen + 50)
        finally:
            load.stopped = True
        for client in clients:
            client.result()
    assert set(load.seen) == {"200"}


def test_a_killed_host_is_back_with_what_it_served(host: Site) -> None:
    host.tell(stable=2)
    before = host.host
    kill(before)
    host.wait(lambda: [each for each in psutil.Process(host.keeper.pid).children() if each.pid != before.pid])
    assert host.values([2, 3]) == [105]
    assert json.loads((host.folder / "state.json").read_text())["endpoints"][0]["stable"] == 2
