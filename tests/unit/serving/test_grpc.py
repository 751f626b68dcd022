"""The Open Inference Protocol over gRPC: answers, refusals, malformed messages, and connections that outlive a host."""

import hashlib
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlwright.serving.host.grpc.messages import KINDS
from mlwright.serving.host.grpc.relay import Frames
from tests.unit.serving.hosting import Site, kill, site, toy
from tests.unit.serving.test_malformed import STRICT

KEY = "mlwright-key"
ROWS = [2.0, 3.0]
FUZZ = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


class Caller:
    """Sends messages of any kind, without retries."""

    def __init__(self, port: int) -> None:
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)

    def raw(self, method: str, data: bytes, service: str = "inference.GRPCInferenceService", **more: Any) -> bytes:
        found: bytes = self.channel.unary_unary(f"/{service}/{method}")(data, **{"timeout": 10.0} | more)
        return found

    def __call__(self, method: str, asked: str, answered: str, more: Any = None, **fields: Any) -> Any:
        return KINDS[answered].read(self.raw(method, KINDS[asked].write(**fields), **(more or {})))

    def infer(self, more: Any = None, **fields: Any) -> Any:
        whole = {"model_name": "toy", "inputs": [tensor()]} | fields
        return self("ModelInfer", "ModelInferRequest", "ModelInferResponse", more, **whole)

    def refused(self, **fields: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.infer(**fields)
        return caught.value.code(), str(caught.value.details())


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "in", "datatype": "FP64", "shape": [1, 2], "contents": {"fp64_contents": ROWS}} | fields


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("grpc")
    revisions = [toy(folder, number, version, source=STRICT) for number, version in ((0, 1), (100, 2))]
    with site(folder, *revisions, grpc=True) as found:
        yield found


@pytest.fixture
def call(host: Site) -> Iterator[Caller]:
    found = Caller(host.grpc)
    yield found
    found.channel.close()


def test_values_travel_raw_or_in_lists_as_they_came(call: Caller) -> None:
    lists = call.infer(id="7", parameters={"any": {"int64_param": 1}})
    assert (lists.id, lists.model_version, list(lists.outputs[0].shape)) == ("7", "1", [1])
    assert list(lists.outputs[0].contents.fp64_contents) == [5]
    raw = call.infer(inputs=[tensor(contents=None)], raw_input_contents=[struct.pack("<2d", *ROWS)])
    assert list(raw.raw_output_contents) == [struct.pack("<d", 5)]
    columns = [
        tensor(name=name, shape=[1], contents={"fp64_contents": [value]}) for name, value in (("y", 3), ("x", 2))
    ]
    assert list(call.infer(inputs=columns, model_version="2").outputs[0].contents.fp64_contents) == [105]


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"model_name": "none"}, "NOT_FOUND", "no endpoint 'none'"),
        ({"model_name": "風" * 30_000}, "NOT_FOUND", "no endpoint '風風"),
        ({"model_version": "9"}, "NOT_FOUND", "no version '9'"),
        ({"inputs": []}, "INVALID_ARGUMENT", "no inputs"),
        ({"inputs": [tensor(shape=[2, 2])]}, "INVALID_ARGUMENT", "2 values instead of 4"),
        ({"inputs": [tensor(shape=[-1, 2])]}, "INVALID_ARGUMENT", "no shape"),
        ({"inputs": [tensor(shape=[2**62, 2**62])]}, "INVALID_ARGUMENT", "2 values instead of"),
        ({"inputs": [tensor(datatype="FP128")]}, "INVALID_ARGUMENT", "'FP128' is sent as raw contents"),
        ({"inputs": [tensor(datatype="INT8")]}, "INVALID_ARGUMENT", "int_contents only"),
        ({"inputs": [tensor(contents={"fp64_contents": ROWS, "bool_contents": [True]})]}, "INVALID_ARGUMENT", "only"),
        ({"raw_input_contents": [bytes(16)]}, "INVALID_ARGUMENT", "contents twice"),
        ({"raw_input_contents": [bytes(16), b""]}, "INVALID_ARGUMENT", "raw contents of 2"),
        ({"inputs": [tensor(contents=None)], "raw_input_contents": [bytes(15)]}, "INVALID_ARGUMENT", "15 bytes"),
        (
            {"inputs": [tensor(datatype="BYTES", contents={"bytes_contents": [b"\xff", b""]})]},
            "INVALID_ARGUMENT",
            "no UTF-8",
        ),
        ({"outputs": [{"name": "none"}]}, "INVALID_ARGUMENT", "no outputs"),
        (
            {"outputs": [{"name": "predictions", "parameters": {"classification": {"int64_param": 2}}}]},
            "INVALID_ARGUMENT",
            "classification is not offered",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call: Caller, fields: dict[str, Any], code: str, said: str) -> None:
    found, details = call.refused(**fields)
    assert found is grpc.StatusCode[code]
    assert said in details


def test_health_and_metadata(call: Caller) -> None:
    health = KINDS["HealthCheckRequest"].write(service="toy")
    found = KINDS["HealthCheckResponse"].read(call.raw("Check", health, "grpc.health.v1.Health"))
    assert found.status == 1
    told = call("ModelMetadata", "ModelMetadataRequest", "ModelMetadataResponse", name="toy")
    assert [(each.name, list(each.shape)) for each in told.inputs] == [("x", [-1]), ("y", [-1])]
    with pytest.raises(grpc.RpcError) as caught:
        call.raw("Explode", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_what_is_said_beside_a_request_holds(host: Site, call: Caller) -> None:
    host.tell(keys={"a": hashlib.sha256(KEY.encode()).hexdigest()})
    try:
        assert call.refused()[0] is grpc.StatusCode.UNAUTHENTICATED
        wrong = {"metadata": [("authorization", "Bearer other")]}
        assert call.refused(more=wrong)[0] is grpc.StatusCode.PERMISSION_DENIED
        right = {"metadata": [("authorization", f"Bearer {KEY}"), ("content-encoding", "gzip"), ("any-bin", b"\xff")]}
        assert call.infer(more=right).outputs[0].contents.fp64_contents == [5]
        with pytest.raises(grpc.RpcError) as caught:
            call("RepositoryModelLoad", "RepositoryModelRequest", "RepositoryModelResponse", model_name="toy")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    finally:
        host.tell(keys={})


def test_a_large_message_is_refused_also_when_it_was_packed(host: Site, call: Caller) -> None:
    host.tell(limits={"bodyMib": 1})
    try:
        large = {"raw_input_contents": [bytes(2 << 20)], "inputs": [tensor(shape=[1 << 17, 2], contents=None)]}
        assert call.refused(**large)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        huge = large | {"raw_input_contents": [bytes(65 << 20)], "more": {"compression": grpc.Compression.Gzip}}
        assert call.refused(**huge)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        host.tell(limits={})


# --- malformed ----------------------------------------------------------------------------------------------------

WHOLE = KINDS["ModelInferRequest"].write(
    model_name="toy", id="7", inputs=[tensor()], parameters={"a": {"bool_param": True}}
)
THEIRS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name}"
    return "OK"


@FUZZ
@given(st.binary(max_size=60), st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
@example(b"\x0a\xff\xff\xff\xff\x0f", 0, 0)
def test_no_message_is_a_defect(host: Site, noise: bytes, left: int, right: int) -> None:
    call = _CALLERS.setdefault(host.grpc, Caller(host.grpc))
    for data in (noise, WHOLE[:left] + noise + WHOLE[right:], WHOLE[:left]):
        assert outcome(partial(call.raw, "ModelInfer", data)) in THEIRS
    assert call.infer().outputs[0].contents.fp64_contents == [5]


_CALLERS: dict[int, Caller] = {}
kinds = st.sampled_from(["FP64", "FP32", "FP16", "INT8", "UINT64", "BOOL", "BYTES", ""])
contents = st.fixed_dictionaries(
    {},
    optional={
        "fp64_contents": st.lists(st.floats(), max_size=3),
        "fp32_contents": st.lists(st.floats(width=32), max_size=3),
        "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
        "uint64_contents": st.lists(st.integers(0, 2**64 - 1), max_size=3),
        "bool_contents": st.lists(st.booleans(), max_size=3),
        "bytes_contents": st.lists(st.binary(max_size=4), max_size=3),
    },
)
tensors = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y", "in", ""]), "datatype": kinds, "contents": contents},
    optional={"shape": st.lists(st.integers(-1, 3), max_size=3)},
)


@FUZZ
@given(st.lists(tensors, max_size=3), st.lists(st.binary(max_size=20), max_size=2))
def test_no_tensor_is_a_defect(host: Site, inputs: list[Any], raw: list[bytes]) -> None:
    call = _CALLERS.setdefault(host.grpc, Caller(host.grpc))
    assert outcome(partial(call.infer, inputs=inputs, raw_input_contents=raw)) in THEIRS


def test_what_is_no_http_2_is_hung_up_on(host: Site, call: Caller) -> None:
    for noise in (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\x16\x03\x01", bytes(1_000)):
        with socket.create_connection(("127.0.0.1", host.grpc), timeout=10) as connection:
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
    assert call.infer().model_name == "toy"


# --- connections --------------------------------------------------------------------------------------------------

frames = st.lists(
    st.tuples(st.sampled_from([0, 1, 4, 8, 9]), st.sampled_from([0, 1, 4, 5]), st.binary(max_size=12)),
    min_size=1,
    max_size=6,
)


@given(frames, st.data())
def test_where_frames_end_does_not_depend_on_how_they_come(sent: list[Any], data: st.DataObject) -> None:
    found, looked = Frames(), 0
    open_headers = False
    for kind, flags, body in sent:
        whole = len(body).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + body
        cut = data.draw(st.integers(0, len(whole)))
        found.look(whole[:cut])
        if 0 < cut < len(whole):
            assert not found.between
        found.look(whole[cut:])
        open_headers = kind in (1, 9) and not flags & 4
        looked += kind == 1
        assert (found.between, found.headers) == (not open_headers, looked)


def test_a_client_that_is_told_to_go_is_answered_by_the_next_host(host: Site, call: Caller) -> None:
    assert call.infer().model_name == "toy"
    before = host.host
    host.keeper.send_signal(signal.SIGHUP)
    while before.is_running():
        assert call.infer().outputs[0].contents.fp64_contents == [5]
    assert call.infer().outputs[0].contents.fp64_contents == [5]
    assert host.host.pid != before.pid


def test_a_killed_host_leaves_nothing_and_clients_wait_for_the_next(host: Site) -> None:
    before = host.host
    kill(before)
    call = Caller(host.grpc)
    assert call.infer().outputs[0].contents.fp64_contents == [5]
    call.channel.close()
    assert [each.name for each in host.folder.glob("grpc.*")] == [f"grpc.sock.{host.host.pid}"]
