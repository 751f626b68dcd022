"""Requests and answers for predictions over gRPC: tensors as raw bytes, or as lists of their type."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mlwright.kernel.errors import Invalid
from mlwright.serving.host import oip
from mlwright.serving.host.answering import Answer, Dialect, Reading, Reply
from mlwright.serving.host.grpc.messages import KINDS
from mlwright.serving.host.state import Revision
from mlwright.serving.host.takes import Takes
from mlwright.serving.host.tensors import TEXT, Array

#: The list that holds values of a type. FP16 has none: it travels as raw bytes.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    TEXT: "bytes_contents",
}


def dialect(message: Any) -> Dialect:
    """The dialect for one request, whose message has been taken apart to find out what it is for."""
    return Dialect("grpc", partial(_read, message), _write, _error)


def _read(message: Any, _body: bytes, _headers: Mapping[bytes, bytes], takes: Takes) -> Reading:
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise Invalid(f"there are {len(message.inputs)} inputs and raw contents of {len(raw)}", path="inputs")
    given: list[tuple[str, str, Sequence[int] | None, Any]] = [
        (each.name, each.datatype, list(each.shape), _data(each, raw[place] if raw else None))
        for place, each in enumerate(message.inputs)
    ]
    return Reading(takes.tensors(given), message.id, parameters(message.parameters), message)


def _data(tensor: Any, raw: bytes | None) -> Any:
    held = {descriptor.name for descriptor, _ in tensor.contents.ListFields()} if tensor.HasField("contents") else set()
    if raw is not None:
        if held:
            raise Invalid(f"the input {tensor.name!r} has its contents twice", path=f"inputs.{tensor.name}")
        return oip.texts_of(raw, tensor.name) if tensor.datatype == TEXT else raw
    wanted = _CONTENTS.get(tensor.datatype)
    if wanted is None or held - {wanted}:
        allowed = f"{wanted} only" if wanted else "raw contents"
        raise Invalid(
            f"the input {tensor.name!r} of type {tensor.datatype!r} is sent as {allowed}", path=f"inputs.{tensor.name}"
        )
    values = list(getattr(tensor.contents, wanted))
    return [_text(each, tensor.name) for each in values] if tensor.datatype == TEXT else values


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Invalid(f"the input {name!r} has a text that is no UTF-8", path=f"inputs.{name}") from None


def parameters(given: Any) -> dict[str, Any]:
    """Parameters of a message by name."""
    named = ((name, each, each.WhichOneof("parameter_choice")) for name, each in given.items())
    return {name: getattr(each, choice) for name, each, choice in named if choice is not None}


def _write(reading: Reading, answer: Answer, model: str, revision: Revision) -> Reply:
    """As raw bytes where the request had such, as lists otherwise; clients expect their own way."""
    message = reading.context
    wanted = [(each.name, parameters(each.parameters)) for each in message.outputs]
    arrays = oip.selected(answer.arrays, wanted)
    raw = bool(message.raw_input_contents) or any(each.datatype not in _CONTENTS for each in arrays)
    outputs: list[dict[str, Any]] = [
        {"name": each.name, "datatype": each.datatype, "shape": each.shape} for each in arrays
    ]
    if not raw:
        for shown, each in zip(outputs, arrays, strict=True):
            shown["contents"] = {_CONTENTS[each.datatype]: _values(each)}
    return Reply(
        KINDS["ModelInferResponse"].write(
            model_name=model,
            model_version=str(revision.version),
            id=message.id,
            outputs=outputs,
            raw_output_contents=[_raw(each) for each in arrays] if raw else [],
        ),
        b"application/grpc",
    )


def _values(array: Array) -> list[Any]:
    return [str(each).encode() for each in array.values()] if array.datatype == TEXT else array.values()


def _raw(array: Array) -> bytes:
    return oip.bytes_of(array.data) if isinstance(array.data, list) else bytes(array.data)


def _error(_code: str, message: str) -> bytes:
    return message.encode()
