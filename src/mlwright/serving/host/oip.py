"""The Open Inference Protocol, version 2, over REST, with the binary tensor extension.

https://github.com/kserve/open-inference-protocol; binary data:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.serving.host.answering import Answer, Dialect, Reading, Reply, encode, read_json
from mlwright.serving.host.state import Revision
from mlwright.serving.host.takes import Takes
from mlwright.serving.host.tensors import TEXT, Array

_HEADER_LENGTH = b"inference-header-content-length"
_LENGTH = struct.Struct("<I")
_MOST_DIGITS = 12
#: Extensions of other servers: whoever asks for one would take what he gets for something else.
_NOT_OFFERED = ("classification", "shared_memory_region")


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """A request for inference."""

    inputs: list[_Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


class _Shown(msgspec.Struct):
    name: str
    datatype: str
    shape: Sequence[int]
    parameters: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class _InferResponse(msgspec.Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[_Shown]
    id: str = ""


_DECODER = msgspec.json.Decoder(InferRequest)


def read(body: bytes, headers: Mapping[bytes, bytes], takes: Takes) -> Reading:
    """Read a request. Raises Invalid."""
    text, binary = _split(body, headers)
    request = read_json(text, _DECODER)
    given: list[tuple[str, str, Sequence[int] | None, Any]] = []
    for tensor in request.inputs:
        data: Any = tensor.data
        size = tensor.parameters.get("binary_data_size")
        if size is not None:
            data, binary = _binary(tensor, size, binary)
        elif data is msgspec.UNSET:
            raise Invalid(f"the input {tensor.name!r} has no data", path=f"inputs.{tensor.name}.data")
        given.append((tensor.name, tensor.datatype, tensor.shape, data))
    if binary:
        raise Invalid(f"{len(binary)} bytes belong to no input", path="body")
    asked = takes.tensors(given)
    request.inputs.clear()  # thousands of numbers: memory that is free at once is used again while it is warm
    return Reading(asked, request.id, request.parameters, request)


def _split(body: bytes, headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    length = headers.get(_HEADER_LENGTH)
    if length is None:
        return body, b""
    if not length.isdigit() or len(length) > _MOST_DIGITS or int(length) > len(body):
        raise Invalid(f"the header {_HEADER_LENGTH.decode()} is no length within the body", path="headers")
    return body[: int(length)], body[int(length) :]


def _binary(tensor: _Tensor, size: Any, binary: bytes) -> tuple[Any, bytes]:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
        raise Invalid(f"the input {tensor.name!r} has not {size} bytes", path=f"inputs.{tensor.name}")
    data, rest = binary[:size], binary[size:]
    return (texts_of(data, tensor.name) if tensor.datatype == TEXT else data), rest


def texts_of(data: bytes, name: str) -> list[Any]:
    """Texts that each have their length before them. Raises Invalid."""
    found, place = [], 0
    while place < len(data):
        if place + 4 > len(data) or place + 4 + (length := _LENGTH.unpack_from(data, place)[0]) > len(data):
            raise Invalid(f"the input {name!r} ends in the middle of a text", path=f"inputs.{name}")
        try:
            found.append(data[place + 4 : place + 4 + length].decode())
        except UnicodeDecodeError:
            raise Invalid(f"the input {name!r} has a text that is no UTF-8", path=f"inputs.{name}") from None
        place += 4 + length
    return found


def bytes_of(texts: Sequence[Any]) -> bytes:
    """The opposite of `texts_of`."""
    raw = [str(text).encode() for text in texts]
    return b"".join(part for text in raw for part in (_LENGTH.pack(len(text)), text))


def write(reading: Reading, answer: Answer, model: str, revision: Revision) -> Reply:
    """Write the answer: what was asked for, as JSON or binary, as was asked."""
    request: InferRequest = reading.context
    arrays = selected(answer.arrays, [(each.name, each.parameters) for each in request.outputs])
    everything_binary = request.parameters.get("binary_data_output") is True
    asked = {each.name: each.parameters.get("binary_data") for each in request.outputs}
    outputs: list[_Shown] = []
    binary: list[bytes] = []
    for each in arrays:
        wanted = asked.get(each.name)
        if wanted is True or (wanted is None and everything_binary):
            raw = bytes_of(each.data) if isinstance(each.data, list) else each.data
            outputs.append(_Shown(each.name, each.datatype, each.shape, {"binary_data_size": len(raw)}))
            binary.append(raw)
        else:
            outputs.append(_Shown(each.name, each.datatype, each.shape, data=each.values()))
    document = _InferResponse(model, str(revision.version), outputs, request.id)
    text = encode(document)
    if not binary:
        return Reply(text)
    headers = ((_HEADER_LENGTH, b"%d" % len(text)),)
    return Reply(b"".join((text, *binary)), b"application/octet-stream", headers)


def selected(arrays: list[Array], wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Array]:
    """The outputs that were asked for, all of them without any. Raises Invalid for what there is not."""
    if not wanted:
        return arrays
    by_name = {each.name: each for each in arrays}
    unknown = [name for name, _ in wanted if name not in by_name]
    if unknown:
        raise Invalid(f"the model has no outputs {unknown}", path="outputs", hint=f"it has {list(by_name)}")
    for name, parameters in wanted:
        offered = next((each for each in _NOT_OFFERED if each in parameters), None)
        if offered is not None:
            raise Invalid(f"{offered} is not offered", path=f"outputs.{name}")
    return [by_name[name] for name, _ in wanted]


def error(_code: str, message: str) -> bytes:
    """The protocol's only error."""
    return encode({"error": message})


DIALECT = Dialect("v2", read, write, error)

__all__ = ["DIALECT", "Array", "InferRequest", "bytes_of", "texts_of"]
